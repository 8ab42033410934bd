"""Intents to file and their only writer: requested, created upstream, confirmed, failed."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import url_for
from sqlalchemy import func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from flaskapp import subjects
from flaskapp.accounts.service import (
    ACCOUNTS,
    NOBODY_FOR,
    Identity,
    ensure_account,
    icn_of,
    is_nobody,
    remember_person,
)
from flaskapp.cases.service import close_ended, note_cases, open_case
from flaskapp.clock import DAY_SECONDS, a_year_after, legal_date, next_midnight
from flaskapp.current import database_now, settings
from flaskapp.db import DbSession, db
from flaskapp.flows import Content, States, Subject, Work
from flaskapp.intent_to_file.models import FirstLook, IntentToFile
from flaskapp.intent_to_file.states import (
    BACKGROUND,
    BROKEN,
    CONFIRMED,
    DONE,
    ENDED_WORDS,
    FAILED,
    GONE_WORDS,
    INTENT_TO_FILE,
    PENDING,
    UNCHECKED_WORDS,
    UNCONFIRMED_WORDS,
    USED,
    USED_WORDS,
    VALID,
    WORDS,
)
from flaskapp.upstreams.errors import NO_ICN
from flaskapp.upstreams.lighthouse.claims import UpstreamITF
from outbox import NOW, QueueSpec, connect_plainly, write_history

INTENTS_TO_FILE = QueueSpec("intents_to_file", upstream="lighthouse_claims", threads=64, depth=200, concurrency=100)
SUBJECT = "intent_to_file"
# The deadline is the end of the legal day it was requested on, set when it is enqueued. Budgets run while the upstream
# answers; giving up after 30 days is the wall-clock cap over any outage.
GIVE_UP_SECONDS = 30 * DAY_SECONDS
CREATE = Work("jobs.intent_to_file.create_itf", INTENTS_TO_FILE, SUBJECT, DAY_SECONDS, GIVE_UP_SECONDS)
IDENTIFY = Work("jobs.intent_to_file.identify_person", ACCOUNTS, SUBJECT, DAY_SECONDS, GIVE_UP_SECONDS)
# A comparison has missed its deadline from the start, so it goes behind every creation. Nobody was promised it.
REFRESH = Work(
    "jobs.intent_to_file.refresh_itf",
    INTENTS_TO_FILE,
    SUBJECT,
    deadline_seconds=0.0,
    give_up_seconds=DAY_SECONDS,
    keeps_promise=False,
)
# The sender under which VANotify's templates for ITFs are configured.
SENDER = "itf"


# What the e-mails say instead of a day.
END_UNKNOWN = "not known yet"
# So long ago, a look says nothing about what the person has filed elsewhere since.
SAME_VISIT = timedelta(hours=1)
MOST_ROUNDS = 3


# All that a request needs to know, in one look: the account, whether the person has or had an ITF whose date may count,
# and when upstream was looked at.
STANDING = text("""
    SELECT outbox_now() AS now, a.identity IS NOT NULL AS identified, a.nobody_at, l.finished_at AS looked_at,
           EXISTS (SELECT 1 FROM intents_to_file f
                    WHERE f.account_id = :account_id AND f.type = :type AND f.expires_at > outbox_now()) AS has_one
      FROM (SELECT) AS always LEFT JOIN accounts a ON a.id = :account_id
           LEFT JOIN itf_first_looks l ON l.account_id = :account_id AND l.type = :type AND l.state = 'done'
""")
# The account is locked as `ensure_account` does it. What is sent depends on whether it is identified.
INSERT = f"""
    held AS (SELECT identity IS NOT NULL AS identified FROM accounts WHERE id = :account_id FOR KEY SHARE),
    account AS (INSERT INTO accounts (id) VALUES (:account_id) ON CONFLICT DO NOTHING),
    subject AS (
        INSERT INTO intents_to_file
            (id, account_id, type, path, state, asked_at, effective_date, expires_at, legal_midnight_at)
        SELECT :id, :account_id, :type, '{BACKGROUND}', '{PENDING}', :now, :now, :expires_at, :legal_midnight_at
         WHERE COALESCE((SELECT identified FROM held), false) = :identified
        ON CONFLICT DO NOTHING RETURNING id)
"""


class Contended(Exception):
    """Others kept creating and losing the same ITF while we looked; the caller has to try again."""


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
    all answer with the same ITF. Raises Contended if it disappears again and again while we look.

    For an account without an ICN it is a failed one: nothing can be filed, and a human has the date of the request.
    As long as the human has it, it is that one, whenever the person comes back.
    """
    for _ in range(MOST_ROUNDS):
        itf = find_valid(session, account_id, itf_type)
        if itf is not None:
            return itf
        left = subjects.find_left_without_icn(session, ITF, account_id, IntentToFile.type == itf_type)
        if left is not None:
            note_asked_again(session, left)
            return left
        ensure_account(session, account_id)
        created = insert_pending(session, account_id, itf_type)
        if created is not None:
            begin_itf(session, created)
            if is_nobody(session, account_id):
                record_itf_failed(session, str(created.id), "refused", {"reason": NO_ICN})
            else:
                enqueue_creation(session, created)
            return created
    raise Contended


@dataclass(frozen=True)
class Requested:
    """An ITF as it was just made, `now` by Postgres's clock. `end_known` as `is_end_known` says."""

    itf: IntentToFile
    now: datetime
    end_known: bool


def request_at_once(account_id: uuid.UUID, itf_type: str) -> Requested | None:
    """A new pending ITF with the message that creates it: one statement that looks, and one that is the transaction.
    None, with no ITF made, where it takes more: the person has or had one, or nothing can be filed for the account."""
    about = {"account_id": str(account_id), "type": itf_type}
    with connect_plainly(db.engine) as connection:
        standing = connection.execute(STANDING, about).one()
        now = standing.now.astimezone(UTC)
        nobody = not standing.identified and standing.nobody_at is not None and standing.nobody_at > now - NOBODY_FOR
        if standing.has_one or nobody:
            return None
        zone = settings().legal_time_zone
        dates = {"now": now, "expires_at": a_year_after(now, zone), "legal_midnight_at": next_midnight(now, zone)}
        values = {"id": str(uuid.uuid4()), "identified": bool(standing.identified), **about, **dates}
        work = CREATE if standing.identified else IDENTIFY
        until_midnight = (dates["legal_midnight_at"] - now).total_seconds()
        if work.begin(connection, ITF, INSERT, values, PENDING, deadline_seconds=until_midnight) is None:
            return None
    made = IntentToFile(
        id=values["id"], type=itf_type, state=PENDING, effective_date=now, expires_at=dates["expires_at"]
    )
    looked = standing.looked_at is not None and standing.looked_at >= now - SAME_VISIT
    return Requested(made, now, looked)


def expire_synthetic(session: DbSession, account_id: uuid.UUID) -> None:
    """A confirmed synthetic ITF is valid here until the next one is requested, and is not compared any more."""
    earlier = update(IntentToFile).where(IntentToFile.account_id == account_id, IntentToFile.synthetic_on.is_not(None))
    valid = earlier.where(IntentToFile.state == CONFIRMED, IntentToFile.expires_at > NOW)
    session.execute(valid.values(expires_at=NOW, refresh_due_at=None).execution_options(synchronize_session=False))


def note_asked_again(session: DbSession, failed: IntentToFile) -> None:
    """Nothing has changed since it failed: its one case says that the person came back."""
    note_cases(session, SUBJECT, str(failed.id), "the person requested it again: still nobody to file it for", "person")
    subjects.note(session, ITF, failed.id, "asked_again", "person")


def insert_pending(session: DbSession, account_id: uuid.UUID, itf_type: str) -> IntentToFile | None:
    """Dated now; None when somebody else has just made one."""
    now, zone = database_now(session), settings().legal_time_zone
    before = last_failed_or_broken(session, account_id, itf_type)
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


def last_failed_or_broken(session: DbSession, account_id: uuid.UUID, itf_type: str) -> IntentToFile | None:
    """The latest failed or broken ITF of the last year: its date is earlier than any new one's."""
    statement = (
        select(IntentToFile)
        .where(IntentToFile.account_id == account_id, IntentToFile.type == itf_type)
        .where(IntentToFile.state.in_((FAILED, BROKEN)), IntentToFile.expires_at > NOW)
        .order_by(IntentToFile.asked_at.desc())
        .limit(1)
    )
    return session.execute(statement).scalar_one_or_none()


def find_newer(session: DbSession, itf: IntentToFile) -> uuid.UUID | None:
    """The person's latest ITF of this type after this one, unless that certainly failed. Postgres refuses two that are
    valid; one that was used up or broke since was filed all the same."""
    later = select(IntentToFile.id).where(
        IntentToFile.account_id == itf.account_id,
        IntentToFile.type == itf.type,
        IntentToFile.asked_at > itf.asked_at,
        or_(IntentToFile.state != FAILED, IntentToFile.unconfirmed),
    )
    return session.execute(later.order_by(IntentToFile.asked_at.desc()).limit(1)).scalar_one_or_none()


def begin_itf(session: DbSession, itf: IntentToFile) -> None:
    """Begin the history of a new ITF, and note an earlier date that has to be defended."""
    subjects.begin(session, ITF, itf)
    if itf.follows_id is not None:
        note = f"the person requested it again: {itf.id} follows; the earlier date to defend is this one's"
        note_cases(session, SUBJECT, str(itf.follows_id), note, "person")
        subjects.note(session, ITF, itf.follows_id, "asked_again", "person", followed_by=str(itf.id))


def enqueue_creation(session: DbSession, itf: IntentToFile) -> None:
    """Enqueue the creation upstream or, while we do not know who the person is, that look-up first."""
    work = CREATE if icn_of(session, itf.account_id) is not None else IDENTIFY
    # If it is filed by then, upstream dates it on the legal day of the person's request.
    until_midnight = (itf.legal_midnight_at - database_now(session)).total_seconds()
    work.enqueue(session, str(itf.id), deadline_seconds=until_midnight)


def is_in_background(account_id: uuid.UUID, share: int) -> bool:
    """Whether this account is within the background's share of 100: always the same answer, in every process."""
    return account_id.int % 100 < share


# -- working ------------------------------------------------------------------


@dataclass(frozen=True)
class ITFWork:
    """What creating an ITF upstream needs, copied out of its row."""

    id: uuid.UUID
    state: str
    type: str
    account_id: uuid.UUID
    icn: str | None
    # Upstream's date of the newest one that a form has used: what is not newer is no answer to this request.
    used_up_to: datetime | None = None


@dataclass(frozen=True)
class Confirmation:
    """What the upstream holds, and `how` we know: created, found (it was there when we looked) or late."""

    upstream: UpstreamITF
    how: str


def load_itf(session: DbSession, itf_id: str) -> ITFWork:
    row = session.get_one(IntentToFile, uuid.UUID(itf_id))
    used = select(func.max(IntentToFile.upstream_created_at)).filter_by(account_id=row.account_id, type=row.type)
    used_up_to = session.execute(used.filter_by(state=USED)).scalar_one()
    return ITFWork(row.id, row.state, row.type, row.account_id, icn_of(session, row.account_id), used_up_to)


def record_identified(session: DbSession, itf_id: str, identity: Identity) -> None:
    """Now we know who it is: enqueue the creation."""
    itf: IntentToFile = subjects.lock(session, ITF, itf_id)
    remember_person(session, itf.account_id, identity)
    if itf.state == PENDING:
        subjects.note(session, ITF, itf_id, "identified", "worker")
        enqueue_creation(session, itf)


def record_confirmed(session: DbSession, itf_id: str, confirmation: Confirmation, actor: str = "worker") -> None:
    """The upstream holds it: the state, its dates, the e-mail and, where its date is too late, the case, together.

    `actor` is not the worker where it was not one of this ITF's own jobs that found it.
    """
    itf: IntentToFile = subjects.lock(session, ITF, itf_id)
    if itf.state != PENDING:
        return
    adopt_upstream(itf, confirmation.upstream)
    now = database_now(session)
    itf.how, itf.unconfirmed, itf.last_synced_at = confirmation.how, False, now
    late = is_dated_late(itf)
    notification = "confirmed_late" if late else "confirmed"
    subjects.end(session, ITF, itf, CONFIRMED, notification, actor, how=confirmation.how)
    itf.refresh_due_at = first_refresh(now)
    close_ended(session, SUBJECT, itf_id, f"confirmed ({confirmation.how})")
    if late:
        open_case(session, "dated_late", SUBJECT, itf_id, dates_of(itf))


def store_confirmed(
    session: DbSession, account_id: uuid.UUID, itf_type: str, upstream: UpstreamITF, path: str, actor: str
) -> bool:
    """Keep an ITF that upstream holds and we did not know; nobody is written to about it. False when somebody else has
    just made one, or it has expired."""
    now, zone = database_now(session), settings().legal_time_zone
    if upstream.expires_at <= now:
        return False
    ensure_account(session, account_id)
    created = insert_itf(
        session,
        account_id=account_id,
        type=itf_type,
        path=path,
        state=CONFIRMED,
        asked_at=now,
        effective_date=min(now, upstream.created_at),
        expires_at=upstream.expires_at,
        legal_midnight_at=next_midnight(now, zone),
        upstream_id=upstream.id,
        upstream_status=upstream.status,
        upstream_created_at=upstream.created_at,
        upstream_expires_at=upstream.expires_at,
        how="found",
        last_synced_at=now,
        used_at=when_used(session, account_id, itf_type, upstream),
        refresh_due_at=first_refresh(now),
        finished_at=now,
    )
    if created is None:
        return False
    write_history(session, SUBJECT, str(created.id), "intent_to_file.stored", moved_to=CONFIRMED, actor=actor)
    return True


def adopt_upstream(itf: IntentToFile, upstream: UpstreamITF) -> None:
    """Keep what upstream holds. The effective date only ever moves earlier, and then upstream's end is the end.

    If upstream dates it after the request, the earlier of both ends counts: nobody is promised a day too many.
    """
    itf.upstream_id, itf.upstream_status = upstream.id, upstream.status
    itf.upstream_created_at, itf.upstream_expires_at = upstream.created_at, upstream.expires_at
    if upstream.created_at < itf.effective_date:
        itf.effective_date, itf.expires_at = upstream.created_at, upstream.expires_at
    else:
        itf.expires_at = min(itf.expires_at, upstream.expires_at)


def when_used(session: DbSession, account_id: uuid.UUID, itf_type: str, upstream: UpstreamITF) -> datetime | None:
    """When a form used what upstream shows: it was taken for gone, and is seen again. None if it is a new one."""
    used = select(IntentToFile.used_at).filter_by(account_id=account_id, type=itf_type, state=USED)
    same = used.where(IntentToFile.upstream_created_at >= upstream.created_at)
    return session.execute(same.order_by(IntentToFile.asked_at.desc()).limit(1)).scalar_one_or_none()


def is_dated_late(itf: IntentToFile) -> bool:
    """Whether upstream dates it on a later calendar day than that of the person's request."""
    assert itf.upstream_created_at is not None
    zone = settings().legal_time_zone
    return legal_date(itf.upstream_created_at, zone) > legal_date(itf.asked_at, zone)


def dates_of(itf: IntentToFile) -> dict[str, str | None]:
    """The dates in question, as a case's details hold them."""
    zone = settings().legal_time_zone
    created = itf.upstream_created_at
    return {
        "asked_on": legal_date(itf.asked_at, zone).isoformat(),
        "upstream_dates_it": legal_date(created, zone).isoformat() if created else None,
        "evidence": f"flask itf evidence {itf.id}",
    }


def first_refresh(now: datetime) -> datetime:
    """Some time within the first cycle: ITFs confirmed all at once after an outage must not be compared all at once."""
    return now + timedelta(days=random.uniform(0, settings().itf_refresh_days))


def compose_about_itf(session: DbSession, itf: IntentToFile) -> Content:
    """The e-mail that says what became of the ITF."""
    return Content(SENDER, {"icn": icn_of(session, itf.account_id) or "", "phone": ""}, words_of(session, itf))


def words_of(session: DbSession, itf: IntentToFile) -> dict[str, str]:
    """The dates in the e-mails, as legal days. The end is left open until somebody has looked for an earlier one."""
    zone = settings().legal_time_zone
    recorded = itf.upstream_created_at or itf.asked_at
    timestamps = {
        "asked_date": itf.asked_at,
        "effective_date": itf.effective_date,
        "expiration_date": itf.expires_at,
        "recorded_date": recorded,
    }
    days = {name: f"{legal_date(timestamp, zone):%B %-d, %Y}" for name, timestamp in timestamps.items()}
    return days if is_end_known(session, itf) else {**days, "expiration_date": END_UNKNOWN}


def is_end_known(session: DbSession, itf: IntentToFile) -> bool:
    """Whether upstream was looked at: what it holds is adopted then, and if it held nothing, our own date is the end.

    A look shortly before the request counts: it was in the same visit. One that a form has used may be gone, so it has
    to be seen in this visit.
    """
    if itf.used_at is not None:
        lately = max(itf.used_at, database_now(session) - SAME_VISIT)
        return itf.last_synced_at is not None and itf.last_synced_at >= lately
    if itf.upstream_created_at is not None:
        return True
    look = select(FirstLook.id).filter_by(account_id=itf.account_id, type=itf.type, state=DONE)
    return session.execute(look.where(FirstLook.finished_at >= itf.asked_at - SAME_VISIT)).first() is not None


def words_of_valid(itf: IntentToFile, end_known: bool) -> str:
    """Where a valid one stands, to be shown. `end_known` as `is_end_known` says."""
    if itf.used_at is not None:
        return USED_WORDS
    return WORDS.get(itf.state, "") if end_known else UNCHECKED_WORDS


def sentence_about(session: DbSession, itf: IntentToFile) -> str:
    """Where any of them stands, to be shown."""
    if itf.state in GONE_WORDS:
        return UNCONFIRMED_WORDS if itf.unconfirmed else GONE_WORDS[itf.state]
    if itf.state == CONFIRMED and itf.expires_at <= database_now(session):
        return ENDED_WORDS
    return words_of_valid(itf, is_end_known(session, itf))


def status_url_of(itf: IntentToFile) -> str | None:
    """Only what may be valid is shown by itself."""
    return url_for("intent_to_file.show_itf", itf_type=itf.type) if itf.state in VALID else None


def let_followers_go(session: DbSession, itf_ids: list[str]) -> None:
    """Those that followed them have no earlier date to defend any more."""
    followers = update(IntentToFile).where(IntentToFile.follows_id.in_([uuid.UUID(each) for each in itf_ids]))
    session.execute(followers.values(follows_id=None).execution_options(synchronize_session=False))


ITF = Subject(
    SUBJECT,
    case_owner=lambda config: config.case_owner_intent_to_file,
    states=States(INTENT_TO_FILE, IntentToFile, began="asked_at", account="account_id"),
    event="intent_to_file",
    enqueue=enqueue_creation,
    compose=compose_about_itf,
    sentence=sentence_about,
    status_url=status_url_of,
    newer=find_newer,
    known_as=("upstream_id",),
    # A synchronous caller was informed by the answer, and nobody requested what a first look found. A broken one was
    # confirmed to the person before it broke: since then only a human accounts for it, and a closed case says that one
    # did.
    accounted="""
             WHEN c.state = 'broken' THEN CASE WHEN EXISTS (
                    SELECT 1 FROM cases k WHERE k.subject_type = 'intent_to_file' AND k.subject_id = c.id::text
                       AND k.kind = 'broken' AND k.closed_at IS NOT NULL) THEN 'notified' ELSE 'unaccounted' END
             WHEN c.path = 'synchronous' THEN 'notified'
             WHEN c.state IN ('confirmed', 'used') AND c.how = 'found' AND c.notification IS NULL THEN 'notified'""",
    # One that is late has a case of its own kind: past_midnight.
    overdue=False,
    needed="s.expires_at > outbox_now()",
    before_removal=let_followers_go,
)


def record_itf_failed(session: DbSession, itf_id: str, kind: str, details: dict[str, Any]) -> None:
    """We have given up: the state, the case and the notification, together. The date of the request stays on record."""
    itf: IntentToFile = subjects.lock(session, ITF, itf_id)
    if itf.state != PENDING:
        return
    itf.unconfirmed = kind == "may_exist_upstream"
    notification = "unconfirmed" if itf.unconfirmed else "failed"
    subjects.fail(session, ITF, itf, notification, kind, {**details, **dates_of(itf)})
