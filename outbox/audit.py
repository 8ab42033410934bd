"""What must always hold in the ledger itself, as SQL. Each finding names the message and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

from redis import Redis
from sqlalchemy import text

from outbox import rq_side
from outbox.values import QueueSpec
from outbox.write import Database


@dataclass(frozen=True)
class Fault:
    """A rule the ledger breaks: `rule` is a code, `message_id` the row it was found on."""

    rule: str
    message_id: int


# Each query returns message ids. The grace of a minute keeps work that is moving right now out of them.
RULES = {
    "try_without_running_message": """
        SELECT a.message_id FROM outbox_attempts a LEFT JOIN outbox_messages m
            ON m.id = a.message_id AND m.fence = a.fence AND m.state = 'running'
         WHERE a.status = 'try' AND m.id IS NULL AND a.started_at < outbox_now() - interval '1 minute'""",
    "running_without_try": """
        SELECT m.id FROM outbox_messages m LEFT JOIN outbox_attempts a
            ON a.message_id = m.id AND a.fence = m.fence AND a.status = 'try'
         WHERE m.state = 'running' AND a.id IS NULL""",
    "lease_long_over": """
        SELECT id FROM outbox_messages
         WHERE state = 'running' AND lease_expires_at < outbox_now() - interval '1 minute'""",
    "due_but_not_promoted": """
        SELECT id FROM outbox_messages WHERE state = 'later' AND due_at < outbox_now() - interval '1 minute'""",
    "ready_behind_open_gate": """
        SELECT m.id FROM outbox_messages m LEFT JOIN outbox_gates g ON g.upstream = m.upstream
         WHERE m.state = 'ready' AND g.closed_at IS NULL AND m.due_at < outbox_now() - interval '15 minutes'
           AND NOT EXISTS (SELECT 1 FROM outbox_messages p
                            WHERE p.queue = m.queue AND p.state IN ('published', 'running'))""",
}

OWED = text("""
    SELECT queue, state, count(*) AS messages, extract(epoch FROM outbox_now() - min(created_at))::float AS oldest
      FROM outbox_messages GROUP BY queue, state ORDER BY queue, state
""")


def find_faults(db: Database, limit: int = 100) -> list[Fault]:
    return [
        Fault(rule, row[0])
        for rule, query in RULES.items()
        for row in db.execute(text(f"{query} LIMIT {int(limit)}"), {}).all()
    ]


def compare_redis(db: Database, redis: Redis, queues: tuple[QueueSpec, ...]) -> dict[str, int]:
    """Pointers the ledger counts on against pointers Redis holds. Differences mend themselves within seconds."""
    counts = {"published": 0, "pointers": 0, "parked": 0, "failed_entries": 0}
    for queue in queues:
        waiting, started = rq_side.pointers_held(redis, queue.name)
        counts["pointers"] += sum(rq_side.read_job_id(item) is not None for item in waiting | started)
        counts["failed_entries"] += len(rq_side.failed_ids(redis, queue.name))
    states = "SELECT state, count(*) FROM outbox_messages WHERE state IN ('published', 'running', 'parked') GROUP BY 1"
    found = dict(db.execute(text(states), {}).all())
    counts["published"] = found.get("published", 0) + found.get("running", 0)
    counts["parked"] = found.get("parked", 0)
    return counts
