"""Values that pass between the ledger and its callers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from outbox.write import DECIDED, RESTORED


@dataclass(frozen=True)
class QueueSpec:
    """One kind of work. A queue serves one upstream, so its threads are that upstream's bulkhead.

    `threads` is for each worker process. `depth` bounds the pointers that Redis holds, about what the workers take in a
    minute. `concurrency` bounds the messages in flight across all workers.
    """

    name: str
    upstream: str | None
    threads: int
    depth: int
    concurrency: int = 200


@dataclass(frozen=True)
class BreakerSettings:
    """For how long nothing is sent to a failing upstream, in seconds.

    A breaker opens for `open_seconds`, and for twice as long each time its probe fails, up to `cap_seconds`. After it
    has closed, two messages may be in flight, and twice as many after every `slow_start_seconds`.
    """

    open_seconds: float = 15.0
    cap_seconds: float = 900.0
    slow_start_seconds: float = 5.0


class Caller(Protocol):
    """A call as its upstream's breaker knows it: a message's attempt, or a synchronous call."""

    @property
    def upstream(self) -> str | None: ...
    @property
    def message_id(self) -> int: ...
    @property
    def fence(self) -> int: ...
    @property
    def started_at(self) -> datetime: ...


@dataclass(frozen=True)
class Grant:
    """Permission for one attempt, until `lease_expires_at` and only under `fence`. Times are aware."""

    message_id: int
    fence: int
    attempt_id: int
    purpose: str
    job: str
    args: list[Any]
    queue: str
    upstream: str | None
    subject_type: str
    subject_id: str
    charged_attempts: int
    look_up_count: int
    not_found_count: int
    unresolved_since: datetime | None
    unresolved_why: str | None
    created_at: datetime
    budget_from: datetime
    give_up_at: datetime
    started_at: datetime
    lease_expires_at: datetime
    worker_id: str
    # No attempt was made at this message before, so there is none to read while this one is under way.
    first: bool
    # From when to when the database knows nothing of what happened, by a restore from a backup; None without one.
    restored_to: datetime | None = None
    lost_at: datetime | None = None
    # Of the request that asked for it, or for what it follows from.
    request_id: str | None = None

    @property
    def in_doubt(self) -> bool:
        """Whether it may have been sent in a time that was lost, and is looked up for that reason."""
        return self.unresolved_why == RESTORED

    @property
    def from_lost_time(self) -> bool:
        """The same, or a human had it since and wants it sent unless it is found."""
        return self.unresolved_why in (RESTORED, DECIDED)

    @property
    def reopened(self) -> bool:
        """Whether it was reopened after it was parked: then its budget began again."""
        return self.budget_from != self.created_at


@dataclass(frozen=True)
class Ending:
    """How one attempt ended, as its row will say. The caller has removed personal data from `error_detail`."""

    status: str
    answered: bool = False
    http_status: int | None = None
    error_class: str | None = None
    error_detail: str | None = None
    upstream_ids: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sibling:
    """An attempt at the same message. Times are aware."""

    id: int
    purpose: str
    status: str
    started_at: datetime
    finished_at: datetime | None
    upstream_ids: dict[str, str]
