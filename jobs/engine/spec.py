"""What a flow's job is made of. The runner turns these parts into grant, call and settle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flaskapp.config import Config
from flaskapp.db import DbSession
from flaskapp.queues import QueueSpec
from flaskapp.upstreams import Upstreams
from jobs.engine.retry import Schedule


class HandBack(Exception):
    """Raised before a write that would not fit in the lease any more, or when the process is stopping."""


class Obsolete(Exception):
    """Raised in place of a write that nobody needs any more: nothing was sent, and nothing is left to do."""


class TooEarly(Exception):
    """Raised in place of a call that has to wait for something else; its text says for what."""


@dataclass(frozen=True)
class Call:
    """What a call may use. `before_write` is to be called right before every write to the upstream."""

    upstreams: Upstreams
    config: Config
    before_write: Callable[[], None]


@dataclass(frozen=True)
class EarlierWrites:
    """What our earlier writes of this message left behind. Moments are UTC, from Postgres's clock."""

    first_write_at: datetime | None
    why: str | None
    ever_unknown: bool
    settled: bool


@dataclass(frozen=True)
class Found:
    """A look-up found it; `answer` is what the write would have answered."""

    answer: Any


@dataclass(frozen=True)
class NotFound:
    """A look-up answered, and it is not there."""


@dataclass(frozen=True)
class Unclear:
    """A look-up answered, but not what we asked; `reason` is a code."""

    reason: str


Finding = Found | NotFound | Unclear


@dataclass(frozen=True)
class JobSpec:
    """One kind of job.

    `load` copies out what the call needs, or None when nothing is left to do. `act` makes the call. `look_up` says
    whether an unanswered write happened. `check` raises Conflict where an answer cannot be true. `record` and `give_up`
    write the flow's rows inside the settle. `ids` and `from_ids` turn an answer into what its attempt keeps, encrypted,
    and back. `is_final` says whether a refusal ends the work or is tried again like any failure. `let_go` records that
    nothing was left to do. `disposable` work that cannot be done is dropped instead of parked: nobody was promised it.
    """

    path: str
    queue: QueueSpec
    writes: bool
    schedule: Schedule
    lease_seconds: Callable[[Config], float]
    call_seconds: Callable[[Config], float]
    load: Callable[[DbSession, str], Any]
    act: Callable[[Call, Any], Any]
    record: Callable[[DbSession, str, Any], None]
    give_up: Callable[[DbSession, str, str, dict[str, Any]], None]
    look_up: Callable[[Call, Any, EarlierWrites], Finding] | None = None
    confirm_after_seconds: Callable[[Config], float] = lambda config: 0.0
    ids: Callable[[Any], dict[str, str]] = lambda answer: {}
    from_ids: Callable[[dict[str, str]], Any] = lambda ids: None
    check: Callable[[DbSession, str, Any], None] = lambda session, subject_id, answer: None
    is_final: Callable[[Exception | None], bool] = lambda refusal: True
    let_go: Callable[[DbSession, str], None] = lambda session, subject_id: None
    disposable: bool = False
