"""Parts that a flow's job is made of. The runner turns them into grant, call and settle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flaskapp.config import LEASE_MARGIN_SECONDS as LEASE_MARGIN_SECONDS
from flaskapp.config import Config
from flaskapp.db import DbSession
from flaskapp.flows import Work
from flaskapp.upstreams import Upstreams
from jobs.engine.retry import Schedule


class HandBack(Exception):
    """Raised before a write that no longer fits into the lease, or when the process is stopping."""


class Obsolete(Exception):
    """Raised instead of a write that is no longer needed: nothing was sent, and nothing is left to do."""


class TooEarly(Exception):
    """Raised instead of a call that has to wait for something else; its text says for what."""


@dataclass(frozen=True)
class Call:
    """What a call may use. It calls `before_write` right before every write to the upstream."""

    upstreams: Upstreams
    config: Config
    before_write: Callable[[], None]


@dataclass(frozen=True)
class EarlierWrites:
    """Our earlier writes of this message. Times are UTC, from Postgres's clock.

    After a restore from a backup there may have been others, in the time that was lost: then `why` is
    `restores.RESTORED`, or the person may have filed the same before. They count as unknown, made from the beginning of
    that time to its end.

    `confirmable`: the upstream must have finished with the last one, so *not found* says that it did not happen.
    """

    first_write_at: datetime | None
    why: str | None
    ever_unknown: bool
    confirmable: bool


@dataclass(frozen=True)
class Found:
    """A look-up found the write; `answer` is what the write would have answered."""

    answer: Any


@dataclass(frozen=True)
class NotFound:
    """A look-up answered that the write is not there."""


@dataclass(frozen=True)
class Unclear:
    """A look-up answered, but not whether the write happened; `reason` is a code."""

    reason: str


Finding = Found | NotFound | Unclear
# What was read of a subject, and is opened by the thread that needs it: `load` without the database.
Loaded = Callable[[], Any]


def record_nothing(session: DbSession, subject_id: str, kind: str, details: dict[str, Any]) -> None:
    """Give-up of disposable work: it is dropped, and whoever needs its answer asks again."""


def check_nothing(session: DbSession, subject_id: str, answer: Any) -> None:
    """Check of an answer that can always be true."""


@dataclass(frozen=True)
class JobSpec:
    """One kind of job.

    `load` copies out what the call needs, or returns None when nothing is left to do. `act` makes the call. `look_up`
    says whether an unanswered write happened. `already_there` is what a *duplicate* of this work answers as long as no
    reply to us was lost, and None where something of ours can be there all the same: then it is looked up. A job that
    is not `searchable` has no look-up that could find a write: a human gets its duplicates. `check` raises Conflict
    when an answer cannot be true. `record` and `give_up` write the flow's rows inside the settle. `ids` and `from_ids`
    turn an answer into what its attempt keeps, encrypted, and back. `reconsider` draws again what the flow concluded
    from earlier attempts, after a late answer to one of its writes: what was accepted, or None for a refusal or a
    *duplicate*. `is_final` says whether a refusal ends the work or is retried like any failure. `let_go` records that
    nothing was left to do. `disposable` work that cannot be done is dropped instead of parked: nobody was promised it.

    Where there are many at once, `load_all` does in few statements what `load` does, by their ids; those that it leaves
    out are loaded by themselves. `record_all` does what `record` does, for pairs of a subject's id and the answer to
    its first attempt; it locks their rows in this order.
    """

    work: Work
    writes: bool
    schedule: Schedule
    lease_seconds: Callable[[Config], float]
    call_seconds: Callable[[Config], float]
    load: Callable[[DbSession, str], Any]
    act: Callable[[Call, Any], Any]
    record: Callable[[DbSession, str, Any], None]
    give_up: Callable[[DbSession, str, str, dict[str, Any]], None]
    look_up: Callable[[Call, Any, EarlierWrites], Finding] | None = None
    already_there: Callable[[Any], Any] = lambda work: None
    searchable: bool = True
    confirm_after_seconds: Callable[[Config], float] = lambda config: 0.0
    ids: Callable[[Any], dict[str, str]] = lambda answer: {}
    from_ids: Callable[[dict[str, str]], Any] = lambda ids: None
    check: Callable[[DbSession, str, Any], None] = check_nothing
    reconsider: Callable[[DbSession, str, Any], None] = lambda session, subject_id, accepted: None
    is_final: Callable[[Exception | None], bool] = lambda refusal: True
    let_go: Callable[[DbSession, str], None] = lambda session, subject_id: None
    disposable: bool = False
    load_all: Callable[[DbSession, Sequence[str]], Mapping[str, Loaded]] | None = None
    record_all: Callable[[DbSession, Sequence[tuple[str, Any]]], None] | None = None
