"""What the ledger's operations need of each flow, by subject type: one entry a flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flaskapp.db import DbSession
from flaskapp.intent_to_file.record import reopen_itf
from flaskapp.notifications.service import reopen_notice
from flaskapp.travel_claims.service import reopen_claim


@dataclass(frozen=True)
class Flow:
    """`reopen(session, subject_id, actor)` brings a subject back when its parked message is requeued."""

    reopen: Callable[[DbSession, str, str], None]


def leave_as_it_is(session: DbSession, subject_id: str, actor: str) -> None:
    """An alert's subject is a case, which is open whatever became of the alert."""


FLOWS = {
    "travel_claim": Flow(reopen=reopen_claim),
    "intent_to_file": Flow(reopen=reopen_itf),
    "notification": Flow(reopen=reopen_notice),
    "case": Flow(reopen=leave_as_it_is),
}
