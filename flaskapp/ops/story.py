"""The story of a submission or a notification as one timeline, for `flask show` and for its page: what was received,
every attempt, states, breakers shut meanwhile, notifications, cases and acts of operators; and what happens next.

It holds nothing that is encrypted at rest.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select

from flaskapp.accounts.models import Account
from flaskapp.cases.models import Case
from flaskapp.crypto import EncryptedJSON
from flaskapp.current import flows
from flaskapp.db import DbSession
from flaskapp.flows import Subject
from flaskapp.notifications.models import Notification
from flaskapp.ops.find import SHORT, WEBHOOK, Found, of_cases, of_row, rows_of
from flaskapp.ops.labels import LABEL
from flaskapp.subjects import states_of
from flaskapp.webhooks import standing
from outbox import breakers, messages, timeline

NOTIFICATION = "notification"
RELATED = 20
PURPOSES = {"write": "sent", "look_up": "looked up", "read": "read", "give_up": "gave up"}
# History names these itself, in words of the ledger.
DETAIL_SHOWN = ("reason", "kind", "notification", "why", "how", "step", "although", "newer", "resolution", "case")


@dataclass(frozen=True)
class Event:
    """Something that happened: when, to what (empty for the subject itself), in words, by whom, for how long."""

    at: datetime
    words: str
    by: str = ""
    about: str = ""
    seconds: float | None = None
    tone: str = ""


@dataclass(frozen=True)
class Next:
    """What will happen, and when if that is known; `message` is the work that does it, `parked` if nobody will."""

    words: str
    at: datetime | None = None
    message: int | None = None
    parked: bool = False


@dataclass
class Story:
    """Everything about one subject. `facts` are the plain columns of its row; empty where the row is gone."""

    subject_type: str
    subject_id: str
    state: str | None
    facts: dict[str, Any]
    events: list[Event] = field(default_factory=list)
    coming: list[Next] = field(default_factory=list)
    related: list[Found] = field(default_factory=list)
    cases: list[Found] = field(default_factory=list)

    @property
    def synthetic(self) -> bool:
        """Whether we filed it ourselves, for a test person."""
        return "synthetic_on" in self.facts


def tell(session: DbSession, subject_type: str, subject_id: str) -> Story:
    """The story of this subject, also where its row is gone and only its records are left."""
    subject = flows().promises.get(subject_type)
    row = row_of(session, subject, subject_id)
    state = getattr(row, states_of(subject).column) if row is not None and subject is not None else None
    if subject_type == WEBHOOK:
        receiver = standing.receiver(session, uuid.UUID(subject_id))
        state = receiver.state if receiver is not None else None
    story = Story(subject_type, subject_id, state, facts_of(subject, row))
    parts = [(subject_type, subject_id, ""), *notifications_of(session, subject_type, subject_id)]
    upstreams: set[str] = set()
    for part_type, part_id, about in parts:
        attempts = timeline.attempts_for(session, part_type, part_id)
        waiting = messages.of_subject(session, part_type, part_id)
        upstreams |= {each.upstream for each in (*attempts, *waiting) if each.upstream is not None}
        story.events += [of_attempt(each, about) for each in attempts]
        story.events += [of_history(each, about) for each in timeline.history_of(session, part_type, part_id)]
        story.coming += [coming(session, each, about) for each in waiting]
    story.events += shut_meanwhile(session, upstreams, story, row)
    story.events.sort(key=lambda event: event.at)
    story.cases = cases_of(session, parts)
    story.related = related_to(session, subject_type, subject, row)
    story.coming = story.coming or [nothing_coming(story, row)]
    return story


def row_of(session: DbSession, subject: Subject | None, subject_id: str) -> Any:
    if subject is None:
        return None
    try:
        return session.get(states_of(subject).model, uuid.UUID(subject_id))
    except ValueError:
        return None


def facts_of(subject: Subject | None, row: Any) -> dict[str, Any]:
    """The plain columns of the row that say something: nothing encrypted, no digests, nothing that may be personal."""
    if row is None or subject is None:
        return {}
    return {
        column.key: getattr(row, column.key)
        for column in row.__mapper__.columns
        if not isinstance(column.type, EncryptedJSON)
        and not column.key.endswith("_digest")
        and column.key not in subject.content
        and getattr(row, column.key) not in (None, False)
    }


def notifications_of(session: DbSession, subject_type: str, subject_id: str) -> list[tuple[str, str, str]]:
    """Type, id and short name of every notification about a subject, oldest first."""
    statement = select(Notification.id, Notification.kind).filter_by(subject_type=subject_type, subject_id=subject_id)
    found = session.execute(statement.order_by(Notification.created_at, Notification.id)).all()
    return [(NOTIFICATION, str(each.id), f"notification {each.kind} {str(each.id)[:SHORT]}") for each in found]


# -- what happened --------------------------------------------------------------


def of_attempt(attempt: Any, about: str) -> Event:
    """One attempt: what was done where, what came of it, how long it took, and which worker made it."""
    did = f"{PURPOSES[attempt.purpose]}" + (f" at {attempt.upstream}" if attempt.upstream else "")
    answer = [f"HTTP {attempt.http_status}" if attempt.http_status else "", attempt.error_class or ""]
    answer += [attempt.error_detail or "", "answered late" if attempt.late else ""]
    said = ", ".join(filter(None, answer))
    result = "still open" if attempt.status == "try" else attempt.status
    words = f"{did} ({attempt.job.rpartition('.')[2]}): {result}" + (f" ({said})" if said else "")
    seconds = (attempt.finished_at - attempt.started_at).total_seconds() if attempt.finished_at else None
    tone = {"success": "good", "error": "bad", "unknown": "doubt", "expired": "bad"}.get(attempt.status, "")
    return Event(attempt.started_at, words, f"worker {attempt.worker_id}", about, seconds, tone)


def of_history(row: Any, about: str) -> Event:
    """One row of history: a move of the state in words, or what happened by its name."""
    what = row.what.rpartition(".")[2].replace("_", " ")
    if row.what.endswith(".requested"):
        words = "received"
    elif row.moved_from is not None or row.moved_to is not None:
        words = f"{row.moved_from or 'nothing'} → {row.moved_to}"
    elif row.what.partition(".")[0] in ("case", "message"):
        words = f"{row.what.partition('.')[0]} {what}"
    else:
        words = what
    return Event(row.at, f"{words}{said_in(row.detail)}", row.actor, about, tone="state" if row.moved_to else "")


def said_in(detail: Mapping[str, Any]) -> str:
    """What of a row's detail a person reads; ids in short."""
    shown = [f"request {detail['request_id']}"] if "request_id" in detail else []
    shown += [f"{name} {in_short(detail[name])}" for name in DETAIL_SHOWN if detail.get(name)]
    return f" ({', '.join(shown)})" if shown else ""


def in_short(value: Any) -> str:
    try:
        return str(uuid.UUID(str(value)))[:SHORT]
    except ValueError:
        return str(value)


def shut_meanwhile(session: DbSession, upstreams: set[str], story: Story, row: Any) -> Iterator[Event]:
    """The times in which an upstream of this work could not be called, from its beginning until it ended."""
    if not story.events:
        return
    since = min(event.at for event in story.events)
    until = getattr(row, "finished_at", None)
    for each in breakers.outages(session, sorted(upstreams), since, until):
        lasted = "" if each.closed_at else ", and still is"
        words = f"{each.upstream} could not be called: {each.reason}{lasted}"
        yield Event(each.opened_at, words, "circuit breaker", "", float(each.seconds), "shut")


# -- what happens next ----------------------------------------------------------


def coming(session: DbSession, message: Any, about: str) -> Next:
    """What becomes of a message that is outstanding."""
    does = message.job.rpartition(".")[2].replace("_", " ")
    does = f"{about}: {does}" if about else does
    if message.state == "parked":
        words = f"{does} is parked ({message.parked_reason}): nobody tries it until an operator requeues it"
        return Next(words, None, message.id, True)
    if message.state == "running":
        return Next(f"{does}: a worker is at it; it is taken back at the latest", message.lease_expires_at, message.id)
    doubt = "; it may have been done, so it is looked up before it is sent again" if message.unresolved_since else ""
    shut = waits_for(session, message.upstream)
    if shut is not None:
        return Next(
            f"{does}: waits until {message.upstream} may be called again, {shut[0]}{doubt}", shut[1], message.id
        )
    if message.state == "later":
        return Next(f"{does}: tried next{doubt}", message.due_at, message.id)
    waits = "in a worker's queue" if message.state == "published" else "waits for its turn"
    return Next(f"{does}: {waits}{doubt}", None, message.id)


def waits_for(session: DbSession, upstream: str | None) -> tuple[str, datetime | None] | None:
    """Why an upstream is not called just now, and until when; None when it is."""
    if upstream is None:
        return None
    for each in breakers.all_breakers(session, [upstream]):
        if each.upstream == upstream:
            if each.missing:
                return "its breaker is missing", None
            if each.held_until is not None:
                return "it is held", each.held_until
            if each.opened_at is not None:
                return f"its breaker is open ({each.reason})", each.open_until
    return None


def nothing_coming(story: Story, row: Any) -> Next:
    """What to say where no work is outstanding."""
    polled = getattr(row, "poll_due_at", None) or getattr(row, "refresh_due_at", None)
    if polled is not None:
        return Next("its upstream is asked again what became of it", polled)
    if any(case.words.endswith("open") for case in story.cases):
        return Next("nothing by itself: a human has its case")
    if row is None:
        gone = "nothing: its row is gone, and only these records are left"
        return Next(gone if story.state is None else "nothing is due")
    if story.state == "pending":
        return Next("nothing is outstanding, although it is pending: `flask audit --repair`")
    return Next("nothing: it is over")


# -- what belongs to it ---------------------------------------------------------


def cases_of(session: DbSession, parts: list[tuple[str, str, str]]) -> list[Found]:
    about = or_(*((Case.subject_type == kind) & (Case.subject_id == each) for kind, each, _ in parts))
    return of_cases(session, session.execute(select(Case).where(about).order_by(Case.opened_at)).scalars().all())


def related_to(session: DbSession, subject_type: str, subject: Subject | None, row: Any) -> list[Found]:
    """What it is about, what is about it, and the newest other submissions of the same person."""
    if row is None or subject is None:
        return []
    if subject_type == NOTIFICATION:
        told = flows().promises.get(row.subject_type)
        about = row_of(session, told, row.subject_id)
        state = getattr(about, states_of(told).column) if about is not None and told is not None else "gone"
        words = f"{row.subject_type.replace('_', ' ')}, {state}{LABEL if row.synthetic_on is not None else ''}"
        return [Found(row.subject_type, row.subject_id, words, "what it tells of")]
    accounts, digests = person_of(session, row)
    return of_person(session, accounts, digests, row)


def of_person(session: DbSession, accounts: set[Any], digests: set[str], row: Any = None) -> list[Found]:
    """The newest submissions of each type of these accounts and digests, and those that a row names or that name it;
    without the row itself."""
    found: list[Found] = []
    for name, other in flows().submissions.items():
        model = states_of(other).model
        same = [*joined(model, row)] if row is not None else []
        same += [model.account_id.in_(accounts)] if accounts and hasattr(model, "account_id") else []
        same += [model.person_digest.in_(digests)] if digests and hasattr(model, "person_digest") else []
        if same:
            statement = rows_of(other).where(or_(*same))
            statement = statement.where(model.id != row.id) if row is not None else statement
            began = getattr(model, states_of(other).began)
            listed = session.execute(statement.order_by(began.desc()).limit(RELATED))
            found += [of_row(name, each, "of the same person") for each in listed]
    return found


def person_of(session: DbSession, row: Any) -> tuple[set[Any], set[str]]:
    """The accounts and the digests of the row's person, as far as we know that they are one."""
    accounts = {row.account_id} if hasattr(row, "account_id") else set()
    digests = {row.person_digest} if hasattr(row, "person_digest") else set()
    known = or_(Account.id.in_(accounts), Account.icn_digest.in_(digests))
    digests |= set(session.execute(select(Account.icn_digest).where(known)).scalars()) - {None}
    if digests:
        accounts |= set(session.execute(select(Account.id).where(Account.icn_digest.in_(digests))).scalars())
    return accounts, digests


def joined(model: Any, row: Any) -> Iterator[Any]:
    """Conditions for rows of a model that this row names, or that name it."""
    for column in model.__table__.columns:
        if any(key.column.table is row.__table__ for key in column.foreign_keys):
            yield column == row.id
    for column in row.__table__.columns:
        if any(key.column.table is model.__table__ for key in column.foreign_keys):
            yield model.id == getattr(row, column.key)
