"""What must always hold in the ledger itself, as SQL. Each finding names the message and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from redis import Redis
from sqlalchemy import text

from outbox import rq_side
from outbox.values import QueueSpec
from outbox.write import Database


@dataclass(frozen=True)
class Fault:
    """A rule the ledger breaks, and the message or the upstream's gate it was found on."""

    rule: str
    message_id: int | None
    upstream: str | None = None

    @property
    def about(self) -> str:
        return f"gate {self.upstream}" if self.message_id is None else f"message {self.message_id}"


@dataclass(frozen=True)
class Difference:
    """Where Redis says something else than the ledger, which alone is believed."""

    rule: str
    queue: str
    job_id: str


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
         WHERE m.state = 'ready' AND g.closed_at IS NULL AND (g.upstream IS NULL) = (m.upstream IS NULL)
           AND m.due_at < outbox_now() - interval '15 minutes'
           AND COALESCE(g.opened_at, '-infinity') < outbox_now() - interval '1 minute'
           AND NOT EXISTS (SELECT 1 FROM outbox_gate_holds h
                            WHERE h.upstream = m.upstream AND h.starts_at <= outbox_now()
                              AND LEAST(h.ends_at, h.lifted_at) > outbox_now() - interval '1 minute')
           AND NOT EXISTS (SELECT 1 FROM outbox_messages p
                            WHERE p.queue = m.queue AND p.state IN ('published', 'running'))""",
    "question_without_attempt": """
        SELECT id FROM outbox_messages m WHERE unresolved_since IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM outbox_attempts a WHERE a.message_id = m.id)""",
}
# Each query returns upstreams. The gate and the book of its closings are written together, and what they say of the
# future is bounded; the minute's grace is for a clock that was put back. Whoever wants more time holds the upstream.
GATE_RULES = {
    "gate_and_closings_differ": """
        SELECT upstream FROM outbox_gates g WHERE (closed_at IS NOT NULL) <> EXISTS (
            SELECT 1 FROM outbox_gate_closings c WHERE c.upstream = g.upstream AND c.opened_at IS NULL)""",
    "gate_closed_too_long": """
        SELECT upstream FROM outbox_gates
         WHERE closed_until > outbox_now() + make_interval(secs => :cap) + interval '1 minute'""",
    "gate_opened_in_future": """
        SELECT upstream FROM outbox_gates WHERE opened_at > outbox_now() + interval '1 minute'""",
}

# Which gates there are to be, only whoever knows the queues can say.
GATE_MISSING, GATE_LIMIT_DIFFERS = "gate_missing", "gate_limit_differs"
LIMITS = text("SELECT upstream, concurrency_limit FROM outbox_gates")

# A pointer counts as lost when it has been away for longer than the relay needs to miss it.
POINTERS = text("""
    SELECT queue, id, fence, state,
           state = 'published' AND published_at < outbox_now() - interval '1 minute' AS long_published
      FROM outbox_messages WHERE state IN ('published', 'running', 'parked')
""")

OWED = text("""
    SELECT queue, state, count(*) AS messages, extract(epoch FROM outbox_now() - min(created_at))::float AS oldest
      FROM outbox_messages GROUP BY queue, state ORDER BY queue, state
""")


def find_faults(db: Database, cap_seconds: float, limit: int = 100) -> list[Fault]:
    """The rules broken now; `cap_seconds` is the longest a gate may be closed."""
    found = [
        Fault(rule, row[0])
        for rule, query in RULES.items()
        for row in db.execute(text(f"{query} LIMIT {int(limit)}"), {}).all()
    ]
    return found + [
        Fault(rule, None, row.upstream)
        for rule, query in GATE_RULES.items()
        for row in db.execute(text(query), {"cap": cap_seconds}).all()
    ]


def find_gate_faults(db: Database, limits: Mapping[str, int]) -> list[Fault]:
    """Where the gates are not those of these upstreams, each with its limit."""
    found = {row.upstream: row.concurrency_limit for row in db.execute(LIMITS, {}).all()}
    missing = [Fault(GATE_MISSING, None, upstream) for upstream in limits if upstream not in found]
    differing = [name for name, limit in limits.items() if found.get(name, limit) != limit]
    return missing + [Fault(GATE_LIMIT_DIFFERS, None, upstream) for upstream in differing]


def compare_redis(db: Database, redis: Redis, queues: tuple[QueueSpec, ...]) -> tuple[dict[str, int], list[Difference]]:
    """Counts of what the ledger and Redis hold, and each difference: relay, grant and sweep mend them in a minute.

    Redis is read first: what it held then and the ledger does not know now is certainly outdated. Raises RedisError.
    """
    held = {queue.name: rq_side.pointers_held(redis, queue.name) for queue in queues}
    failed = {queue.name: ours(rq_side.failed_ids(redis, queue.name)) for queue in queues}
    rows = db.execute(POINTERS, {}).all()
    counts = {"published": 0, "pointers": 0, "parked": 0, "failed_entries": 0}
    found: list[Difference] = []
    for queue in failed:
        known = {rq_side.job_id(row.id, row.fence): row for row in rows if row.queue == queue}
        parked = {identifier for identifier, row in known.items() if row.state == "parked"}
        pointers = ours(held[queue][0] | held[queue][1])
        rules = {
            "pointer_missing": {item for item, row in known.items() if row.long_published} - pointers,
            # A requeue on the dashboard waits under the fence of the parked message.
            "pointer_stale": pointers - known.keys(),
            "parked_not_shown": parked - failed[queue] - pointers,
            "shown_not_parked": failed[queue] - parked,
        }
        found += [Difference(rule, queue, item) for rule, items in rules.items() for item in sorted(items)]
        counts["published"] += len(known) - len(parked)
        counts["pointers"] += len(pointers)
        counts["parked"] += len(parked)
        counts["failed_entries"] += len(failed[queue])
    return counts, found


def ours(identifiers: set[str]) -> set[str]:
    """Those of messages: periodic jobs have names of their own."""
    return {item for item in identifiers if rq_side.read_job_id(item) is not None}
