"""Runner of every job, in three steps: grant, call, settle. No connection is held while the upstream works.

grant ─► load ─► act ──────► accepted · refused · later · unknown · duplicate
             └─► look up ──► accepted · not_found · unclear · later        (while a question is open)
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from cryptography.fernet import InvalidToken
from flask import current_app
from redis.exceptions import RedisError

from flaskapp.config import Config
from flaskapp.db import db, reading
from flaskapp.requeue import REOPEN_PATH
from flaskapp.upstreams.errors import (
    Duplicate,
    Rejected,
    Throttled,
    Unanswered,
    Unauthorized,
    Unavailable,
    Unexplained,
    UpstreamError,
)
from flaskapp.upstreams.transport.streamed import BodyBroken
from jobs.engine.asking import for_its_request
from jobs.engine.outcome import Outcome
from jobs.engine.settle import keep_answer, settle
from jobs.engine.spec import (
    Call,
    EarlierWrites,
    Found,
    HandBack,
    JobSpec,
    Loaded,
    NotFound,
    Obsolete,
    TooEarly,
    Unclear,
)
from jobs.engine.turns import Turns
from outbox import Grant, Sibling, attempts, grants, registries

log = logging.getLogger("jobs.engine.runner")

# However short the settings are, an attempt has this long to get to its write.
BEGIN_SECONDS = 5.0
KIND_OF_ERROR: dict[type[UpstreamError], str] = {
    Unavailable: "later",
    Unexplained: "later",
    Throttled: "later",
    Unauthorized: "later",
    Rejected: "refused",
    Duplicate: "duplicate",
    Unanswered: "unknown",
}


class Process:
    """This worker process as its jobs see it: its name in the ledger, its grants, and whether it is stopping."""

    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id
        self.stopping = threading.Event()
        # Why it stops, if an operator has to mend something.
        self.fault: str | None = None
        # Who may use the database now; all at once where nobody says otherwise.
        self.turns = Turns()
        self.lock = threading.Lock()
        self.grants: dict[int, Grant] = {}
        self.unbegun: dict[int, Grant] = {}
        self.kept: dict[int, Grant] = {}
        self.abandoned: list[Grant] = []
        self.moved_at = time.monotonic()

    def move(self) -> None:
        """Note that this process does what it is for."""
        self.moved_at = time.monotonic()

    def stop_for(self, fault: str) -> None:
        """Stop as at SIGTERM, and say why: a sentence with what to do."""
        if self.fault is None:
            self.fault = fault
            log.error(fault, extra={"event": "process.refused", "process_id": self.worker_id})
        self.stopping.set()

    def take(self, granted: Sequence[Grant]) -> None:
        """Take grants that no thread has begun yet."""
        with self.lock:
            self.grants |= {grant.attempt_id: grant for grant in granted}
            self.unbegun |= {grant.attempt_id: grant for grant in granted}

    def begin(self, grant: Grant) -> bool:
        """Whether the attempt may begin: not if it was taken back before. From here on its write may happen."""
        with self.lock:
            return self.unbegun.pop(grant.attempt_id, None) is not None

    def take_unbegun(self) -> list[Grant]:
        """Take back the grants whose attempts did not begin. They never will."""
        with self.lock:
            taken, self.unbegun = list(self.unbegun.values()), {}
            for grant in taken:
                self.grants.pop(grant.attempt_id, None)
            return taken

    def release(self, grant: Grant) -> None:
        with self.lock:
            self.grants.pop(grant.attempt_id, None)
            self.unbegun.pop(grant.attempt_id, None)
            self.kept.pop(grant.attempt_id, None)

    def keep(self, grant: Grant) -> None:
        """Keep a grant whose answer is in hand and cannot be recorded yet. Each beat prolongs its lease."""
        with self.lock:
            self.kept[grant.attempt_id] = grant

    def kept_grants(self) -> list[Grant]:
        with self.lock:
            return list(self.kept.values())

    def abandon(self, grant: Grant) -> None:
        """Keep a grant for which nothing could be recorded. The next beat that reaches Postgres gives it back, long
        before its lease ends."""
        with self.lock:
            self.abandoned.append(grant)

    def take_abandoned(self) -> list[Grant]:
        with self.lock:
            taken, self.abandoned = self.abandoned, []
            return taken

    def open_grants(self) -> list[Grant]:
        with self.lock:
            return list(self.grants.values())


@dataclass
class WriteGuard:
    """Guard of one attempt's writes: whether there was any, and whether another still fits into its time."""

    process: Process
    ends_at: float
    call_seconds: float
    used: bool = False

    def before_write(self) -> None:
        """Raise HandBack when the answer could come too late, or when this process is stopping."""
        if self.process.stopping.is_set() or time.monotonic() + self.call_seconds > self.ends_at:
            raise HandBack
        self.used = True


def writing_seconds(spec: JobSpec, config: Config) -> float:
    """How many seconds after its grant an attempt may still be with the upstream.

    After its lease another attempt may begin. And once *not found* confirms that a write did not happen, that write
    must not be on its way any more.
    """
    lease = spec.lease_seconds(config)
    if spec.look_up is None:
        return lease
    return min(lease, max(spec.confirm_after_seconds(config), spec.call_seconds(config) + BEGIN_SECONDS))


@dataclass(frozen=True)
class Granted:
    """One attempt that may be made now, the guard of its writes, and what its call needs, if that was read already."""

    spec: JobSpec
    grant: Grant
    write_guard: WriteGuard
    loaded: Loaded | None = None


def grant_all(pointers: Sequence[tuple[JobSpec, int, int]]) -> list[Granted | None]:
    """Grant an attempt for each pointer (spec, message id, fence) of one queue, in one statement.

    None where the pointer is stale or doubled, or its breaker is open. Begin the others at once: their leases run.
    """
    process: Process = current_app.extensions["process"]
    config: Config = current_app.extensions["config"]
    asked = [grants.Asked(number, fence, spec.lease_seconds(config), spec.writes) for spec, number, fence in pointers]
    with process.turns.take(pointers[0][0].work.queue.name):
        asked_at = time.monotonic()
        found = grants.grant_all(db.engine, asked, worker_id=process.worker_id)
        process.take([grant for grant in found if grant is not None])
        loaded = load_all([(spec, grant) for (spec, _, _), grant in zip(pointers, found, strict=True) if grant])
    return [
        Granted(
            spec,
            grant,
            WriteGuard(process, asked_at + writing_seconds(spec, config), spec.call_seconds(config)),
            loaded.get(grant.attempt_id),
        )
        if grant is not None
        else None
        for (spec, _, _), grant in zip(pointers, found, strict=True)
    ]


def load_all(granted: Sequence[tuple[JobSpec, Grant]]) -> dict[int, Loaded]:
    """What the calls of these attempts need, by their ids. What cannot be read for many is read for each by itself."""
    loaded: dict[int, Loaded] = {}
    specs = {spec.work.path: spec for spec, _ in granted if spec.load_all is not None}
    for path, spec in specs.items():
        assert spec.load_all is not None
        of_spec = [grant for each, grant in granted if each.work.path == path]
        try:
            with reading() as session:
                found = spec.load_all(session, [grant.subject_id for grant in of_spec])
        except Exception as error:
            log.warning("loaded one by one", extra={"event": "job.load_failed", "error": type(error).__name__})
            continue
        loaded |= {grant.attempt_id: found[grant.subject_id] for grant in of_spec if grant.subject_id in found}
    return loaded


def run(spec: JobSpec, message_id: int, fence: int) -> None:
    """Make one attempt at a message. Ends quietly when its pointer is stale or doubled, or its breaker is open."""
    (granted,) = grant_all([(spec, message_id, fence)])
    if granted is None:
        return
    try:
        outcome = make_attempt(granted)
        if outcome is not None:
            finish(spec, granted.grant, outcome)
    finally:
        let_go(granted.grant)


def make_attempt(granted: Granted, away: Callable[[], AbstractContextManager[None]] = nullcontext) -> Outcome | None:
    """Call the upstream; None when the grant was taken back before. `away` is held during the call."""
    process: Process = current_app.extensions["process"]
    if not process.begin(granted.grant):
        return None
    config: Config = current_app.extensions["config"]
    return attempt(granted.spec, granted.grant, config, granted.write_guard, granted.loaded, away)


def let_go(grant: Grant) -> None:
    """The attempt is over, for this thread too."""
    process: Process = current_app.extensions["process"]
    process.release(grant)
    db.session.remove()


@dataclass(frozen=True)
class Job:
    """What the dotted path of a message names. RQ calls it with the pointer; it makes one attempt as its spec says."""

    spec: JobSpec

    def __call__(self, message_id: int, fence: int) -> None:
        run(self.spec, message_id, fence)


@for_its_request
def finish(spec: JobSpec, grant: Grant, outcome: Outcome, again: bool = False) -> None:
    """Settle, and keep at least the answer if that fails. Nothing is raised to RQ, which would show the text.

    `again`: a settle was tried before, and may have landed.
    """
    try:
        settle(spec, grant, outcome, again)
        if outcome.kind not in ("accepted", "obsolete"):
            show_parked(grant)
    except Exception as error:
        log.exception(
            "settle failed", extra={"event": "job.settle_failed", "job": spec.work.path, "message_id": grant.message_id}
        )
        try:
            keep_answer(spec, grant, outcome, error)
        except Exception:
            log.exception("left to rescue", extra={"event": "job.left_to_rescue", "message_id": grant.message_id})
            current_app.extensions["process"].abandon(grant)


def show_parked(grant: Grant) -> None:
    """Show a parked message on the dashboard at once. While Redis is away, the sweep shows it later."""
    process: Process = current_app.extensions["process"]
    with suppress(RedisError, OSError), process.turns.take(grant.queue):
        registries.show_if_parked(db.engine, current_app.extensions["redis"], grant.message_id, REOPEN_PATH)


@for_its_request
def attempt(
    spec: JobSpec,
    grant: Grant,
    config: Config,
    write_guard: WriteGuard,
    loaded: Loaded | None = None,
    away: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Outcome:
    """Load what the call needs, give the connection back, and call. However that ends, it becomes an Outcome."""
    try:
        if loaded is not None and has_no_siblings(spec, grant):
            work, earlier, late_answer = loaded(), earlier_writes(spec, grant, [], config), None
        else:
            with write_guard.process.turns.take(grant.queue):
                work, earlier, late_answer = prepare(spec, grant, config)
        if late_answer is not None:
            return Outcome("accepted", answer=late_answer, from_upstream=False)
        if work is None:
            return Outcome("obsolete")
        call = Call(current_app.extensions["upstreams"], config, write_guard.before_write)
        with away():
            if grant.purpose == "look_up":
                return run_look_up(spec, grant, call, work, earlier)
            return run_act(spec, call, work, earlier)
    except HandBack:
        return Outcome("handed_back")
    except Obsolete:
        return Outcome("obsolete")
    except TooEarly as early:
        return Outcome("later", reason=str(early))
    except UpstreamError as error:
        return Outcome(kind_of(error, grant), error=error)
    except InvalidToken as error:
        return unreadable(spec, grant, write_guard, error)
    except BodyBroken as error:
        if isinstance(error.__cause__, InvalidToken):
            return unreadable(spec, grant, WriteGuard(write_guard.process, 0, 0), error.__cause__)
        # It had begun, but no whole request went out: nothing was done upstream.
        log.exception(
            "body broken", extra={"event": "job.body_broken", "job": spec.work.path, "message_id": grant.message_id}
        )
        return Outcome("broken", error=error)
    except Exception as error:
        # A fault of our own. If it wrote, that may have happened; if not, it may be tried again.
        log.exception(
            "job failed", extra={"event": "job.failed", "job": spec.work.path, "message_id": grant.message_id}
        )
        return Outcome("unknown" if write_guard.used else "broken", error=error)


def unreadable(spec: JobSpec, grant: Grant, write_guard: WriteGuard, error: InvalidToken) -> Outcome:
    """Something stored that no key of ours opens. Trying again with the same keys never helps."""
    log.error(
        "what is stored cannot be opened",
        extra={"event": "keys.cannot_open", "job": spec.work.path, "message_id": grant.message_id},
        exc_info=error,
    )
    return Outcome("unknown" if write_guard.used else "unreadable", error=error)


def kind_of(error: UpstreamError, grant: Grant) -> str:
    """The kind of outcome for an upstream's error. A look-up never ends a message: if it fails, another follows."""
    kind = KIND_OF_ERROR[type(error)]
    return "later" if grant.purpose != "write" and kind in ("unknown", "duplicate") else kind


def prepare(spec: JobSpec, grant: Grant, config: Config) -> tuple[Any, EarlierWrites, Any]:
    """The subject, our earlier writes, and an answer that came late to another attempt. Keeps no connection."""
    with reading() as session:
        work = spec.load(session, grant.subject_id)
        siblings = [] if has_no_siblings(spec, grant) else attempts.siblings(session, grant.message_id)
    late = next((item for item in siblings if item.status == "success"), None)
    late_answer = spec.from_ids(late.upstream_ids) if late is not None else None
    return work, earlier_writes(spec, grant, siblings, config), late_answer


def has_no_siblings(spec: JobSpec, grant: Grant) -> bool:
    """Whether no earlier attempt has to be read before the call."""
    return grant.first or not spec.writes


def earlier_writes(spec: JobSpec, grant: Grant, siblings: list[Sibling], config: Config) -> EarlierWrites:
    """Our earlier writes; `confirmable` once the upstream must have finished with the last of them."""
    writes = [item for item in siblings if item.purpose == "write"]
    made_at = [item.started_at for item in writes]
    lost = grant.from_lost_time or spec.work.look_first
    if lost and grant.restored_to is not None and grant.lost_at is not None:
        made_at += [grant.restored_to, grant.lost_at]
    age = (grant.started_at - max(made_at)).total_seconds() if made_at else 0.0
    return EarlierWrites(
        first_write_at=min(made_at, default=None),
        why=grant.unresolved_why,
        ever_unknown=len(made_at) > len(writes) or any(item.status == "unknown" for item in writes),
        confirmable=age > spec.confirm_after_seconds(config),
    )


def run_act(spec: JobSpec, call: Call, work: Any, earlier: EarlierWrites) -> Outcome:
    """Make the call. A *duplicate* answers it where it must be somebody else's; the outcome still shows that error."""
    try:
        return Outcome("accepted", answer=spec.act(call, work))
    except Duplicate as error:
        answer = None if earlier.ever_unknown else spec.already_there(work)
        if answer is None:
            raise
        return Outcome("accepted", answer=answer, error=error)


def run_look_up(spec: JobSpec, grant: Grant, call: Call, work: Any, earlier: EarlierWrites) -> Outcome:
    """Look up whether an unanswered write happened. *Not found* counts only late enough, and only twice in a row."""
    if spec.look_up is None:
        return Outcome("unclear", reason="no look-up exists")
    if grant.in_doubt and not spec.searchable:
        return Outcome("unsearchable", reason="restored from a backup, and no look-up could find it")
    finding = spec.look_up(call, work, earlier)
    if isinstance(finding, Found):
        return Outcome("accepted", answer=finding.answer)
    if isinstance(finding, NotFound):
        return Outcome("not_found") if earlier.confirmable else Outcome("unclear", reason="too early to tell")
    assert isinstance(finding, Unclear)
    return Outcome("unclear", reason=finding.reason)
