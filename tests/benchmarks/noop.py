"""Jobs whose call takes no time: what is left is the cost of doing it through the ledger, or through plain RQ."""

from __future__ import annotations

from flaskapp.flows import Work
from jobs.engine.retry import ALERT
from jobs.engine.runner import run
from jobs.engine.spec import JobSpec
from outbox.values import QueueSpec

# Deep enough that the relay is measured, not the limit on Redis.
BENCH = QueueSpec("bench", upstream="bench", threads=16, depth=1_000_000, concurrency=1_000_000)

NOOP = JobSpec(
    work=Work("tests.benchmarks.noop.through_the_ledger", BENCH, "bench", 86_400.0, 9 * 86_400.0),
    writes=True,
    schedule=ALERT,
    lease_seconds=lambda config: 60.0,
    call_seconds=lambda config: 1.0,
    load=lambda session, subject_id: subject_id,
    act=lambda call, work: None,
    record=lambda session, subject_id, answer: None,
    give_up=lambda session, subject_id, kind, details: None,
)


def through_the_ledger(message_id: int, fence: int) -> None:
    run(NOOP, message_id, fence)


def through_plain_rq(message_id: int, fence: int) -> None:
    """Nothing to do, and nothing to record."""
