"""Finds what an id stands for, for commands, the search box and pages alike: whole or short, ours or an upstream's."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Uuid, null, select

from flaskapp.accounts.models import Account
from flaskapp.cases.models import Case
from flaskapp.current import flows
from flaskapp.db import DbSession, Markable
from flaskapp.flows import Subject
from flaskapp.logs import REQUEST_ID
from flaskapp.ops.labels import LABEL, label, synthetic_among
from flaskapp.subjects import states_of
from flaskapp.webhooks.models import Webhook
from flaskapp.webhooks.service import SUBJECT as WEBHOOK
from outbox import rq_side, timeline

CASE, MESSAGE, ACCOUNT = "case", "message", "account"
SHORT = 8
# Fewer digits of an id are no id, but a typing error.
FEWEST = 6
SHORT_ID = re.compile(rf"[0-9a-f]{{{FEWEST},32}}")
# 0012 is the end of a claim number, and no message.
NUMBER = re.compile(r"[1-9][0-9]{0,18}")
LAST_FOUR = re.compile(r"[0-9A-Za-z]{4}")
MOST = 20
# A claim number is stored encrypted, so its last four are looked for in what was filed last, and nowhere else.
NUMBERS_READ = 1_000
LARGEST_ID = 2**63 - 1


class NotFound(LookupError):
    """No such thing, or several; the text says which, to a person."""


@dataclass(frozen=True)
class Found:
    """Something with an id: a `kind` (the type of a subject, `case`, `message` or `account`), what it is in `words`,
    and `by` which id it was found."""

    kind: str
    id: str
    words: str
    by: str = "its id"

    @property
    def short(self) -> str:
        return self.id if self.kind == MESSAGE else self.id[:SHORT]

    @property
    def name(self) -> str:
        return f"{self.kind.replace('_', ' ')} {self.short}"


def find(session: DbSession, wanted: str, kinds: tuple[str, ...] = ()) -> list[Found]:
    """What an id may stand for, at most `MOST`; of these kinds where some are given."""
    wanted = wanted.strip()
    found = {(each.kind, each.id): each for each in reversed(list(candidates(session, wanted, kinds)))}
    return list(reversed(found.values()))[:MOST]


def find_one(session: DbSession, wanted: str, kinds: tuple[str, ...] = (), spoken: str = "thing with the id") -> Found:
    """The one thing that an id stands for. Raises NotFound where there is none of what is `spoken` of, or several."""
    found = find(session, wanted, kinds)
    if not found:
        raise NotFound(f"there is no {spoken} {wanted}")
    if len(found) > 1:
        names = ", ".join(f"{each.kind.replace('_', ' ')} {each.id}" for each in found)
        raise NotFound(f"{wanted} may be any of {len(found)}: {names}; give more of the id")
    return found[0]


def candidates(session: DbSession, wanted: str, kinds: tuple[str, ...]) -> Iterator[Found]:
    def is_wanted(kind: str) -> bool:
        return not kinds or kind in kinds

    bounds = uuid_bounds(wanted)
    for name, subject in flows().promises.items():
        if is_wanted(name):
            yield from by_own_id(session, name, subject, bounds)
            yield from by_upstream_id(session, name, subject, wanted)
            yield from by_last_four(session, name, subject, wanted)
    if bounds is not None and is_wanted(CASE):
        statement = select(Case).where(Case.id.between(*bounds)).limit(MOST)
        yield from of_cases(session, session.execute(statement).scalars().all())
    if bounds is not None and is_wanted(ACCOUNT):
        accounts = select(Account.id).where(Account.id.between(*bounds)).limit(MOST)
        yield from (Found(ACCOUNT, str(each), "sign-in account") for each in session.execute(accounts).scalars())
    if bounds is not None and is_wanted(WEBHOOK):
        webhooks = select(Webhook.id).where(Webhook.id.between(*bounds)).limit(MOST)
        yield from (Found(WEBHOOK, str(each), "receiver of webhooks") for each in session.execute(webhooks).scalars())
    if is_wanted(MESSAGE):
        yield from by_message(session, wanted)
    for about in timeline.requested_by(session, wanted, MOST) if REQUEST_ID.fullmatch(wanted) else []:
        if is_wanted(about.subject_type):
            words = about.subject_type.replace("_", " ") + label(session, about.subject_type, about.subject_id)
            yield Found(about.subject_type, about.subject_id, words, "the id of the request that asked for it")


def uuid_bounds(wanted: str) -> tuple[uuid.UUID, uuid.UUID] | None:
    """The first and the last id that begin like this; None for what is no part of an id."""
    digits = wanted.lower().replace("-", "")
    if not SHORT_ID.fullmatch(digits):
        return None
    return uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f"))


def by_own_id(
    session: DbSession, name: str, subject: Subject, bounds: tuple[uuid.UUID, uuid.UUID] | None
) -> Iterator[Found]:
    if bounds is not None:
        model = states_of(subject).model
        statement = rows_of(subject).where(model.id.between(*bounds)).limit(MOST)
        yield from (of_row(name, row) for row in session.execute(statement))


def by_upstream_id(session: DbSession, name: str, subject: Subject, wanted: str) -> Iterator[Found]:
    """By a column in which the row keeps the id that others know it by."""
    model = states_of(subject).model
    for column in subject.known_as:
        kept = getattr(model, column)
        value = as_type_of(kept, wanted)
        if value is not None:
            for row in session.execute(rows_of(subject).where(kept == value).limit(MOST)):
                yield of_row(name, row, column.replace("_", " "))


def as_type_of(column: Any, wanted: str) -> Any:
    """What to compare the column with; None where it cannot hold this."""
    if isinstance(column.type, BigInteger):
        return int(wanted) if wanted.isascii() and wanted.isdigit() and int(wanted) <= LARGEST_ID else None
    if isinstance(column.type, Uuid):
        bounds = uuid_bounds(wanted)
        return bounds[0] if bounds is not None and bounds[0] == bounds[1] else None
    return wanted if wanted and "\0" not in wanted else None


def by_last_four(session: DbSession, name: str, subject: Subject, wanted: str) -> Iterator[Found]:
    """By the last four of the claim number that the person was told, of what was filed last."""
    model = states_of(subject).model
    if not LAST_FOUR.fullmatch(wanted) or not hasattr(model, "filed"):
        return
    statement = rows_of(subject).add_columns(model.filed.label("filed")).where(model.filed.is_not(None))
    for row in session.execute(statement.order_by(model.finished_at.desc()).limit(NUMBERS_READ)):
        if str(row.filed.get("claim_number") or "")[-4:] == wanted:
            yield of_row(name, row, "the last four of its claim number")


def rows_of(subject: Subject) -> Any:
    states = states_of(subject)
    marked = states.model.synthetic_on if issubclass(states.model, Markable) else null()
    state = getattr(states.model, states.column)
    return select(states.model.id.label("id"), state.label("state"), marked.label("synthetic_on"))


def of_row(name: str, row: Any, by: str = "its id") -> Found:
    synthetic = LABEL if row.synthetic_on is not None else ""
    return Found(name, str(row.id), f"{name.replace('_', ' ')}, {row.state}{synthetic}", by)


def of_cases(session: DbSession, cases: Sequence[Case]) -> list[Found]:
    """Each with its kind, and whether it is closed or open: that comes last."""
    marked = synthetic_among(session, [(case.subject_type, case.subject_id) for case in cases])
    return [
        Found(
            CASE,
            str(case.id),
            f"case {case.kind}{LABEL if (case.subject_type, case.subject_id) in marked else ''},"
            f" {'closed' if case.closed_at else 'open'}",
        )
        for case in cases
    ]


def by_message(session: DbSession, wanted: str) -> Iterator[Found]:
    """By the id of a message, or by that of its job in RQ; also when its work is done."""
    job = rq_side.read_job_id(wanted) if wanted.isascii() else None
    number = str(job[0]) if job is not None else wanted
    if not NUMBER.fullmatch(number) or int(number) > LARGEST_ID:
        return
    about = timeline.subject_of(session, int(number))
    if about is not None:
        words = f"message about {about.subject_type.replace('_', ' ')} {about.subject_id[:SHORT]}"
        words += label(session, about.subject_type, about.subject_id)
        yield Found(MESSAGE, number, words, "its id" if job is None else "its job in RQ")
