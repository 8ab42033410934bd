"""What the ledger's operations need of each flow, by subject type: one entry a flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flaskapp.db import DbSession
from flaskapp.form526 import documents
from flaskapp.form526 import service as form526
from flaskapp.form526.notifications import enqueue_document_notification, enqueue_form_notification
from flaskapp.form526.states import DOCUMENT, SUBMISSION
from flaskapp.intent_to_file import record as itfs
from flaskapp.intent_to_file.service import enqueue_creation
from flaskapp.intent_to_file.states import INTENT_TO_FILE
from flaskapp.notifications import service as notifications
from flaskapp.statemachine import StateMachine
from flaskapp.travel_claims import service as travel_claims
from flaskapp.travel_claims.states import TRAVEL_CLAIM
from flaskapp.travel_pay import record as travel_pay
from flaskapp.travel_pay.service import enqueue_step
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
Enqueue = Callable[[DbSession, str], None]
Tell = Callable[[DbSession, str, UUID | None], None]


@dataclass(frozen=True)
class Flow:
    """`reopen(session, subject_id, actor)` brings a subject back when its parked message is requeued.

    `owe(session, subject_id)` owes a pending subject its next step, `tell(session, subject_id, notification_id)` the notice
    its row says the person gets: for the repair of what was lost. A subject without states (a case, a poll) was
    promised to nobody and has no history to check.
    """

    reopen: Reopen
    states: States | None = None
    enqueue: Enqueue | None = None
    tell: Tell | None = None


def states_of(machine: StateMachine, table: str, column: str = "state", watched: str = "false") -> States:
    only = "(CAST(:only AS text) IS NULL OR id::text = :only)"
    shown = f"id::text AS id, {column} AS state, notice, cycle, {watched} AS watched"
    return States(machine, table, f"SELECT {shown} FROM {table} WHERE {only} AND {WITHIN.format(ended='finished_at')}")


def leave_as_it_is(session: DbSession, subject_id: str, actor: str) -> None:
    """An alert's subject is a case, open whatever became of the alert; a poll's is a batch, which has no state."""


def enqueuing(lock: Callable[[DbSession, str], Any], enqueue: Callable[[DbSession, Any], Any]) -> Enqueue:
    return lambda session, subject_id: enqueue(session, lock(session, subject_id))


def telling(lock: Callable[[DbSession, str], Any], tell: Callable[[DbSession, Any, UUID | None], Any]) -> Tell:
    return lambda session, subject_id, notification_id: tell(session, lock(session, subject_id), notification_id)


FLOWS = {
    "travel_claim": Flow(
        travel_claims.reopen_claim,
        states_of(TRAVEL_CLAIM, "travel_claims"),
        enqueuing(travel_claims.lock, travel_claims.enqueue_filing),
        telling(travel_claims.lock, travel_claims.enqueue_claim_notification),
    ),
    "intent_to_file": Flow(
        itfs.reopen_itf,
        states_of(INTENT_TO_FILE, "intents_to_file"),
        enqueuing(itfs.lock, enqueue_creation),
        telling(itfs.lock, itfs.enqueue_itf_notification),
    ),
    "form526_submission": Flow(
        form526.reopen_submission,
        states_of(SUBMISSION, "form526_submissions"),
        enqueuing(form526.lock, form526.enqueue_submission),
        telling(form526.lock, enqueue_form_notification),
    ),
    "form526_document": Flow(
        documents.reopen_document,
        states_of(DOCUMENT, "form526_document_submissions", "lighthouse_status", watched="poll_due_at IS NOT NULL"),
        enqueuing(documents.lock, documents.enqueue_next),
        telling(documents.lock, enqueue_document_notification),
    ),
    "document_poll": Flow(reopen=leave_as_it_is),
    "travel_pay_claim": Flow(
        travel_pay.reopen_claim,
        states_of(TRAVEL_PAY_CLAIM, "travel_pay_claims"),
        enqueuing(travel_pay.lock, enqueue_step),
        telling(travel_pay.lock, travel_pay.enqueue_claim_notification),
    ),
    "notification": Flow(reopen=notifications.reopen_notification, enqueue=notifications.enqueue_sending),
    "case": Flow(reopen=leave_as_it_is),
}
