"""Asking for an ITF: find the valid one or make it, and owe its creation upstream."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from flaskapp.accounts.service import ensure_account, icn_of
from flaskapp.cases.service import note_cases
from flaskapp.clock import a_year_after, next_midnight
from flaskapp.current import database_now, settings
from flaskapp.db import DbSession
from flaskapp.intent_to_file.models import IntentToFile
from flaskapp.intent_to_file.states import (
    BACKGROUND,
    BROKEN,
    FAILED,
    PENDING,
    VALID,
)
from flaskapp.queues import ACCOUNTS, INTENTS_TO_FILE
from outbox.tables import NOW
from outbox.write import add, write_history

SUBJECT = "intent_to_file"
CREATE_JOB = "jobs.intent_to_file.create_itf"
IDENTIFY_JOB = "jobs.intent_to_file.identify_person"
# Budgets run in the upstream's up time; this is the wall-clock cap over any outage.
GIVE_UP_SECONDS = 30 * 24 * 3600.0
MOST_ROUNDS = 3


class Contended(Exception):
    """Others kept creating and losing the same ITF while we looked; the caller asks again."""


def find_valid(session: DbSession, account_id: uuid.UUID, itf_type: str) -> IntentToFile | None:
    """The person's valid ITF: pending or confirmed, and less than a year old."""
    statement = (
        select(IntentToFile)
        .where(IntentToFile.account_id == account_id, IntentToFile.type == itf_type)
        .where(IntentToFile.state.in_(VALID), IntentToFile.expires_at > NOW)
        .execution_options(populate_existing=True)
    )
    return session.execute(statement).scalar_one_or_none()


def request_itf(session: DbSession, account_id: uuid.UUID, itf_type: str) -> IntentToFile:
    """The person's valid ITF, or a new pending one with the message that creates it upstream.

    Insert and re-read are statements of their own: under any number of simultaneous log-ins one of them inserts and
    all answer with the same ITF. Raises Contended if it vanishes again and again under our eyes.
    """
    for _ in range(MOST_ROUNDS):
        itf = find_valid(session, account_id, itf_type)
        if itf is not None:
            return itf
        ensure_account(session, account_id)
        created = insert_pending(session, account_id, itf_type)
        if created is not None:
            return begin(session, created)
    raise Contended


def insert_pending(session: DbSession, account_id: uuid.UUID, itf_type: str) -> IntentToFile | None:
    """Dated now; None when somebody else has just made one."""
    now, zone = database_now(session), settings().legal_time_zone
    before = last_unsound(session, account_id, itf_type)
    return insert_itf(
        session,
        account_id=account_id,
        type=itf_type,
        path=BACKGROUND,
        state=PENDING,
        asked_at=now,
        effective_date=now,
        expires_at=a_year_after(now, zone),
        legal_midnight_at=next_midnight(now, zone),
        follows_id=before.id if before is not None else None,
    )


def insert_itf(session: DbSession, **values: Any) -> IntentToFile | None:
    statement = insert(IntentToFile).values(id=uuid.uuid4(), **values).on_conflict_do_nothing()
    created = session.execute(statement.returning(IntentToFile.id)).scalar_one_or_none()
    return session.get_one(IntentToFile, created) if created is not None else None


def last_unsound(session: DbSession, account_id: uuid.UUID, itf_type: str) -> IntentToFile | None:
    """The latest failed or broken ITF of the last year: its date is earlier than any new one's."""
    statement = (
        select(IntentToFile)
        .where(IntentToFile.account_id == account_id, IntentToFile.type == itf_type)
        .where(IntentToFile.state.in_((FAILED, BROKEN)), IntentToFile.expires_at > NOW)
        .order_by(IntentToFile.asked_at.desc())
        .limit(1)
    )
    return session.execute(statement).scalar_one_or_none()


def begin(session: DbSession, itf: IntentToFile) -> IntentToFile:
    """A new ITF is on record: say so in its history, defend an earlier date, and owe the work."""
    write_history(session, SUBJECT, str(itf.id), "intent_to_file.requested", moved_to=PENDING, actor="person")
    if itf.follows_id is not None:
        note = f"the person asked again: {itf.id} follows; the earlier date to defend is this one's"
        note_cases(session, SUBJECT, str(itf.follows_id), note, "person")
        detail = {"followed_by": str(itf.id)}
        write_history(
            session, SUBJECT, str(itf.follows_id), "intent_to_file.asked_again", actor="person", detail=detail
        )
    enqueue_creation(session, itf)
    return itf


def enqueue_creation(session: DbSession, itf: IntentToFile) -> None:
    """Enqueue the creation upstream; while nobody has told us who the person is, owe that question first."""
    known = icn_of(session, itf.account_id) is not None
    job, queue = (CREATE_JOB, INTENTS_TO_FILE) if known else (IDENTIFY_JOB, ACCOUNTS)
    add(
        session,
        job=job,
        queue=queue.name,
        upstream=queue.upstream,
        subject_type=SUBJECT,
        subject_id=str(itf.id),
        # Filed by then, it carries the legal day the person asked on.
        deadline_seconds=(itf.legal_midnight_at - database_now(session)).total_seconds(),
        give_up_seconds=GIVE_UP_SECONDS,
    )


def is_in_background(account_id: uuid.UUID, share: int) -> bool:
    """Whether this account is within the background's share of 100: the same answer at any time and anywhere."""
    return account_id.int % 100 < share
