"""What the ledger's operations need of each flow, by subject type: one entry a flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flaskapp.db import DbSession
from flaskapp.form526.documents import reopen_document
from flaskapp.form526.service import reopen_submission
from flaskapp.form526.states import DOCUMENT, SUBMISSION
from flaskapp.intent_to_file.record import reopen_itf
from flaskapp.intent_to_file.states import INTENT_TO_FILE
from flaskapp.notifications.service import reopen_notice
from flaskapp.statemachine import StateMachine
from flaskapp.travel_claims.service import reopen_claim
from flaskapp.travel_claims.states import TRAVEL_CLAIM
from flaskapp.travel_pay.record import reopen_claim as reopen_travel_pay_claim
from flaskapp.travel_pay.states import TRAVEL_PAY_CLAIM


@dataclass(frozen=True)
class States:
    """How a flow's subjects stand: `query` selects id, state, notice, cycle, and whether an upstream is due to be asked
    after them (`watched`); of one subject where `:only` is set."""

    machine: StateMachine
    query: str


@dataclass(frozen=True)
class Flow:
    """`reopen(session, subject_id, actor)` brings a subject back when its parked message is requeued.

    A subject without states (a case, a poll) was promised to nobody and has no history to check.
    """

    reopen: Callable[[DbSession, str, str], None]
    states: States | None = None


def states_of(machine: StateMachine, table: str, column: str = "state", watched: str = "false") -> States:
    only = "CAST(:only AS text) IS NULL OR id::text = :only"
    shown = f"id::text AS id, {column} AS state, notice, cycle, {watched} AS watched"
    return States(machine, f"SELECT {shown} FROM {table} WHERE {only}")


def leave_as_it_is(session: DbSession, subject_id: str, actor: str) -> None:
    """An alert's subject is a case, open whatever became of the alert; a poll's is a batch, which has no state."""


FLOWS = {
    "travel_claim": Flow(reopen_claim, states_of(TRAVEL_CLAIM, "travel_claims")),
    "intent_to_file": Flow(reopen_itf, states_of(INTENT_TO_FILE, "intents_to_file")),
    "form526_submission": Flow(reopen_submission, states_of(SUBMISSION, "form526_submissions")),
    "form526_document": Flow(
        reopen_document,
        states_of(DOCUMENT, "form526_document_submissions", "lighthouse_status", watched="poll_due_at IS NOT NULL"),
    ),
    "document_poll": Flow(reopen=leave_as_it_is),
    "travel_pay_claim": Flow(reopen_travel_pay_claim, states_of(TRAVEL_PAY_CLAIM, "travel_pay_claims")),
    "notification": Flow(reopen=reopen_notice),
    "case": Flow(reopen=leave_as_it_is),
}
