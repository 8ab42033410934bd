"""What the ledger's operations need of each flow, by subject type: one entry a flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flaskapp.db import DbSession
from flaskapp.form526 import documents
from flaskapp.form526 import service as form526
from flaskapp.form526.notices import owe_document_notice, owe_form_notice
from flaskapp.form526.states import DOCUMENT, SUBMISSION
from flaskapp.intent_to_file import record as itfs
from flaskapp.intent_to_file.service import owe_creation
from flaskapp.intent_to_file.states import INTENT_TO_FILE
from flaskapp.notifications import service as notices
from flaskapp.statemachine import StateMachine
from flaskapp.travel_claims import service as travel_claims
from flaskapp.travel_claims.states import TRAVEL_CLAIM
from flaskapp.travel_pay import record as travel_pay
from flaskapp.travel_pay.service import owe_step
from flaskapp.travel_pay.states import TRAVEL_PAY_CLAIM

# Whose end, if it came, came between these two moments: of who ended long ago nothing moves any more. None is no bound.
WITHIN = (
    "(CAST(:since AS timestamptz) IS NULL OR {ended} IS NULL OR {ended} >= :since)"
    " AND (CAST(:until AS timestamptz) IS NULL OR {ended} < :until)"
)


@dataclass(frozen=True)
class States:
    """How a flow's subjects stand: `query` selects id, state, notice, cycle, and whether an upstream is due to be asked
    after them (`watched`); of one subject where `:only` is set, and of who ended between `:since` and `:until`."""

    machine: StateMachine
    table: str
    query: str


Reopen = Callable[[DbSession, str, str], None]
Owe = Callable[[DbSession, str], None]
Tell = Callable[[DbSession, str, UUID | None], None]


@dataclass(frozen=True)
class Flow:
    """`reopen(session, subject_id, actor)` brings a subject back when its parked message is requeued.

    `owe(session, subject_id)` owes a pending subject its next step, `tell(session, subject_id, notice_id)` the notice
    its row says the person gets: for the repair of what was lost. A subject without states (a case, a poll) was
    promised to nobody and has no history to check.
    """

    reopen: Reopen
    states: States | None = None
    owe: Owe | None = None
    tell: Tell | None = None


def states_of(machine: StateMachine, table: str, column: str = "state", watched: str = "false") -> States:
    only = "(CAST(:only AS text) IS NULL OR id::text = :only)"
    shown = f"id::text AS id, {column} AS state, notice, cycle, {watched} AS watched"
    return States(machine, table, f"SELECT {shown} FROM {table} WHERE {only} AND {WITHIN.format(ended='finished_at')}")


def leave_as_it_is(session: DbSession, subject_id: str, actor: str) -> None:
    """An alert's subject is a case, open whatever became of the alert; a poll's is a batch, which has no state."""


def owing(lock: Callable[[DbSession, str], Any], owe: Callable[[DbSession, Any], Any]) -> Owe:
    return lambda session, subject_id: owe(session, lock(session, subject_id))


def telling(lock: Callable[[DbSession, str], Any], tell: Callable[[DbSession, Any, UUID | None], Any]) -> Tell:
    return lambda session, subject_id, notice_id: tell(session, lock(session, subject_id), notice_id)


FLOWS = {
    "travel_claim": Flow(
        travel_claims.reopen_claim,
        states_of(TRAVEL_CLAIM, "travel_claims"),
        owing(travel_claims.lock, travel_claims.owe_filing),
        telling(travel_claims.lock, travel_claims.owe_claim_notice),
    ),
    "intent_to_file": Flow(
        itfs.reopen_itf,
        states_of(INTENT_TO_FILE, "intents_to_file"),
        owing(itfs.lock, owe_creation),
        telling(itfs.lock, itfs.owe_itf_notice),
    ),
    "form526_submission": Flow(
        form526.reopen_submission,
        states_of(SUBMISSION, "form526_submissions"),
        owing(form526.lock, form526.owe_submission),
        telling(form526.lock, owe_form_notice),
    ),
    "form526_document": Flow(
        documents.reopen_document,
        states_of(DOCUMENT, "form526_document_submissions", "lighthouse_status", watched="poll_due_at IS NOT NULL"),
        owing(documents.lock, documents.owe_next),
        telling(documents.lock, owe_document_notice),
    ),
    "document_poll": Flow(reopen=leave_as_it_is),
    "travel_pay_claim": Flow(
        travel_pay.reopen_claim,
        states_of(TRAVEL_PAY_CLAIM, "travel_pay_claims"),
        owing(travel_pay.lock, owe_step),
        telling(travel_pay.lock, travel_pay.owe_claim_notice),
    ),
    "notification": Flow(reopen=notices.reopen_notice, owe=notices.owe_sending),
    "case": Flow(reopen=leave_as_it_is),
}
