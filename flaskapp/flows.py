"""What the ledger's operations need of each flow, by subject type: one entry a flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flaskapp.db import DbSession
from flaskapp.form526.documents import reopen_document
from flaskapp.form526.service import reopen_submission
from flaskapp.intent_to_file.record import reopen_itf
from flaskapp.notifications.service import reopen_notice
from flaskapp.travel_claims.service import reopen_claim
from flaskapp.travel_pay.record import reopen_claim as reopen_travel_pay_claim


@dataclass(frozen=True)
class Flow:
    """`reopen(session, subject_id, actor)` brings a subject back when its parked message is requeued."""

    reopen: Callable[[DbSession, str, str], None]


def leave_as_it_is(session: DbSession, subject_id: str, actor: str) -> None:
    """An alert's subject is a case, open whatever became of the alert; a poll's is a batch, which has no state."""


FLOWS = {
    "travel_claim": Flow(reopen=reopen_claim),
    "intent_to_file": Flow(reopen=reopen_itf),
    "form526_submission": Flow(reopen=reopen_submission),
    "form526_document": Flow(reopen=reopen_document),
    "document_poll": Flow(reopen=leave_as_it_is),
    "travel_pay_claim": Flow(reopen=reopen_travel_pay_claim),
    "notification": Flow(reopen=reopen_notice),
    "case": Flow(reopen=leave_as_it_is),
}
