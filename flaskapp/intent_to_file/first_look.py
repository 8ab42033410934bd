"""First look: before a page shows a person whom we never looked up, upstream is asked for an ITF from elsewhere. So it
is for whoever has one that a form has used: it is theirs as long as upstream shows it.

The request only enqueues that look, and then waits a short time for its result in our own database. Without one, what
is shown claims no more than we know: see `routes.item`.
"""

from __future__ import annotations

import math
import time
import uuid
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from flaskapp import subjects
from flaskapp.accounts.service import (
    ACCOUNTS,
    Identity,
    ensure_account,
    icn_of,
    is_nobody,
    remember_nobody,
    remember_person,
)
from flaskapp.clock import DAY_SECONDS
from flaskapp.current import database_now, settings
from flaskapp.db import DbSession, db, durably, reading
from flaskapp.flows import States, Subject, Work
from flaskapp.intent_to_file.models import FirstLook, IntentToFile
from flaskapp.intent_to_file.service import (
    INTENTS_TO_FILE,
    SAME_VISIT,
    Confirmation,
    find_valid,
    record_confirmed,
    store_confirmed,
    when_used,
)
from flaskapp.intent_to_file.states import BACKGROUND, CONFIRMED, DONE, DROPPED, FIRST_LOOK, PENDING
from flaskapp.intent_to_file.upkeep import record_read
from flaskapp.upstreams.lighthouse.claims import UpstreamITF
from flaskapp.upstreams.transport.http import seconds_left
from flaskapp.web.passthrough import bulkhead
from outbox import NOW, prepared, sql

SUBJECT = "itf_first_look"
# Somebody is waiting for it, so it goes before all creations: their deadline is midnight. After a minute nobody is
# waiting any more, and it goes behind what people were promised. Nobody was promised a look, so one that cannot be made
# is dropped; the next visit enqueues it again.
DEADLINE_SECONDS = 60.0
LOOK = Work("jobs.first_look.look_for_itf", INTENTS_TO_FILE, SUBJECT, DEADLINE_SECONDS, DAY_SECONDS)
IDENTIFY = Work("jobs.first_look.identify_visitor", ACCOUNTS, SUBJECT, DEADLINE_SECONDS, DAY_SECONDS)
# Who changed an ITF, as its history says: none of its own jobs.
ACTOR = "first look"
FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 0.02, 0.25

LOOK_STANDS = prepared(f"""
    SELECT l.state <> 'pending' OR {sql.held_up(f"'{SUBJECT}'", "l.id::text")}
           OR {sql.open_reason(":upstream")} IS NOT NULL OR {sql.held_until(":upstream")} IS NOT NULL
           OR EXISTS (SELECT 1 FROM intents_to_file f
                       WHERE f.account_id = l.account_id AND f.type = l.type AND f.state = 'confirmed'
                         AND f.used_at IS NULL AND f.expires_at > outbox_now()) AS over
      FROM itf_first_looks l WHERE l.account_id = :account_id AND l.type = :type
""")


# -- the request --------------------------------------------------------------


def look_first(account_id: uuid.UUID, itf_type: str, owed: bool = False) -> None:
    """Have this person looked up, unless that is done, and wait a little for the result. Where first looks are turned
    off, only one that is `owed` is made, and not waited for."""
    seconds = settings().itf_first_look_seconds
    if seconds > 0 or owed:
        ends_at = time.monotonic() + seconds
        if durably(lambda session: owe_look(session, account_id, itf_type)) and seconds > 0:
            db.session.remove()
            wait_for_look(account_id, itf_type, ends_at)


def owe_look(session: DbSession, account_id: uuid.UUID, itf_type: str) -> bool:
    """Enqueue the look that is missing; whether one is outstanding now. Idempotent, so it may be rerun."""
    itf = find_valid(session, account_id, itf_type)
    if stands(itf) or is_nobody(session, account_id):
        return False
    key = {"account_id": account_id, "type": itf_type}
    ensure_account(session, account_id)
    statement = insert(FirstLook).values(id=uuid.uuid4(), state=PENDING, **key).on_conflict_do_nothing()
    created = session.execute(statement.returning(FirstLook.id)).scalar_one_or_none()
    found = select(FirstLook).filter_by(**key).with_for_update().execution_options(populate_existing=True)
    look = session.execute(found).scalar_one()
    if created is not None:
        subjects.begin(session, FIRST_LOOK_SUBJECT, look)
        enqueue_look(session, look)
    elif look.state != PENDING and not is_fresh(session, look, itf):
        look.found, look.finished_at, look.asked_at = None, None, database_now(session)
        look.cycle += 1
        subjects.move(session, FIRST_LOOK_SUBJECT, look, PENDING, "person")
        enqueue_look(session, look)
    return look.state == PENDING


def stands(itf: IntentToFile | None) -> bool:
    """Whether upstream holds it, and no form has used it since."""
    return itf is not None and itf.state == CONFIRMED and itf.used_at is None


def is_fresh(session: DbSession, look: FirstLook, itf: IntentToFile | None) -> bool:
    """Whether it was made in the visit of the request or, where none is under way, in this one. One made before the ITF
    was used says nothing."""
    if look.state != DONE or look.finished_at is None:
        return False
    visit: timedelta = SAME_VISIT
    since = itf.asked_at if itf is not None and itf.state == PENDING else database_now(session)
    used_at = itf.used_at if itf is not None else None
    return look.finished_at >= since - visit and (used_at is None or look.finished_at >= used_at)


def enqueue_look(session: DbSession, look: FirstLook) -> None:
    """Enqueue the look or, while we do not know who the person is, that look-up first."""
    work = LOOK if icn_of(session, look.account_id) is not None else IDENTIFY
    work.enqueue(session, str(look.id))


def wait_for_look(account_id: uuid.UUID, itf_type: str, ends_at: float) -> None:
    """Return when the result is there, or at `ends_at` (monotonic seconds), or as soon as waiting is useless: while a
    breaker on the way is open, or the look waits for a retry, or the request's own time is used up.

    Only a few callers wait at once in a process. No connection is held between two looks at our database.
    """
    ends_at = min(ends_at, time.monotonic() + seconds_left(math.inf))
    with bulkhead().take(SUBJECT) as free:
        pause = FIRST_PAUSE_SECONDS
        while free and not is_over(account_id, itf_type):
            left = ends_at - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(pause, left))
            pause = min(MOST_PAUSE_SECONDS, pause * 1.5)


def is_over(account_id: uuid.UUID, itf_type: str) -> bool:
    values = {"account_id": account_id, "type": itf_type, "upstream": LOOK.queue.upstream}
    with reading() as session:
        over: bool | None = session.execute(LOOK_STANDS, values).scalar_one_or_none()
    return over is not False


# -- working ------------------------------------------------------------------


def load_look(session: DbSession, look_id: str) -> FirstLook | None:
    """The look, if nobody knows the answer yet."""
    look = session.get_one(FirstLook, uuid.UUID(look_id))
    if look.state != PENDING or holds_confirmed(session, look):
        return None
    session.expunge(look)
    return look


def holds_confirmed(session: DbSession, look: FirstLook) -> bool:
    """Whether upstream has answered another job meanwhile: a creation looks as well."""
    return stands(find_valid(session, look.account_id, look.type))


def record_visitor(session: DbSession, look_id: str, identity: Identity | None) -> None:
    """Now we know who it is, and the look follows; None is nobody, and there is nothing to look for."""
    look: FirstLook = subjects.lock(session, FIRST_LOOK_SUBJECT, look_id)
    if look.state != PENDING:
        return
    if identity is None:
        remember_nobody(session, look.account_id)
        finish(session, look, None)
    else:
        remember_person(session, look.account_id, identity)
        enqueue_look(session, look)


def record_look(session: DbSession, look_id: str, seen: UpstreamITF | None) -> None:
    """Keep what upstream holds, or that it holds none. A pending request of the person is answered by it."""
    look: FirstLook = subjects.lock(session, FIRST_LOOK_SUBJECT, look_id)
    if look.state != PENDING:
        return
    itf = find_valid(session, look.account_id, look.type)
    if itf is not None and itf.used_at is not None:
        record_read(session, str(itf.id), seen, ACTOR)
    elif seen is not None and not is_for_another(session, itf, seen):
        keep_found(session, look, seen)
    finish(session, look, seen is not None)


def is_for_another(session: DbSession, itf: IntentToFile | None, seen: UpstreamITF) -> bool:
    """Whether a request is under way, and this is the one that a form has used: it does not answer the request."""
    return itf is not None and when_used(session, itf.account_id, itf.type, seen) is not None


def keep_found(session: DbSession, look: FirstLook, seen: UpstreamITF) -> None:
    itf = find_valid(session, look.account_id, look.type)
    if itf is None and not store_confirmed(session, look.account_id, look.type, seen, BACKGROUND, ACTOR):
        # The person has requested one in this instant.
        itf = find_valid(session, look.account_id, look.type)
    if itf is not None:
        record_confirmed(session, str(itf.id), Confirmation(seen, "found"), ACTOR)


def finish(session: DbSession, look: FirstLook, found: bool | None) -> None:
    """End it with an answer or, with None, without one."""
    look.found, look.finished_at = found, NOW
    subjects.move(session, FIRST_LOOK_SUBJECT, look, DROPPED if found is None else DONE, "worker")


def let_look_go(session: DbSession, look_id: str) -> None:
    """There was nothing left to look for, or it could not be done."""
    look: FirstLook = subjects.lock(session, FIRST_LOOK_SUBJECT, look_id)
    if look.state == PENDING:
        finish(session, look, True if holds_confirmed(session, look) else None)


FIRST_LOOK_SUBJECT = Subject(
    SUBJECT,
    case_owner=lambda config: config.case_owner_intent_to_file,
    states=States(FIRST_LOOK, FirstLook, notification="CAST(NULL AS text)", began="asked_at", account="account_id"),
    event="itf_first_look",
    enqueue=enqueue_look,
    # Nobody was promised it: a late one harms nobody.
    overdue=False,
    is_submission=False,
)
