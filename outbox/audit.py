"""What must always hold in the ledger itself, as SQL. Each finding names the message and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from redis import Redis
from sqlalchemy import text

from outbox import rq_side
from outbox.values import QueueSpec
from outbox.write import Database

Served = Sequence[tuple[str, str, str | None]]


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
    "ready_behind_closed_breaker": """
        SELECT m.id FROM outbox_messages m LEFT JOIN outbox_breakers g ON g.upstream = m.upstream
         WHERE m.state = 'ready' AND g.opened_at IS NULL AND (g.upstream IS NULL) = (m.upstream IS NULL)
           AND m.due_at < outbox_now() - interval '15 minutes'
           AND COALESCE(g.closed_at, '-infinity') < outbox_now() - interval '1 minute'
           AND NOT EXISTS (SELECT 1 FROM outbox_breaker_holds h
                            WHERE h.upstream = m.upstream AND h.starts_at <= outbox_now()
                              AND LEAST(h.ends_at, h.lifted_at) > outbox_now() - interval '1 minute')
           AND NOT EXISTS (SELECT 1 FROM outbox_messages p
                            WHERE p.queue = m.queue AND p.state IN ('published', 'running'))""",
    "question_without_attempt": """
        SELECT id FROM outbox_messages m WHERE unresolved_since IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM outbox_attempts a WHERE a.message_id = m.id)""",
    # Its last write may have happened, and was not denied by two look-ups since: it would be made again unasked.
    "question_lost": """
        SELECT m.id FROM outbox_messages m CROSS JOIN LATERAL (
               SELECT * FROM outbox_attempts a WHERE a.message_id = m.id AND a.purpose = 'write'
                ORDER BY a.id DESC LIMIT 1) w
         WHERE m.unresolved_since IS NULL AND m.fence IS NOT NULL AND m.state <> 'running'
           AND (w.status = 'unknown' OR (w.status = 'error' AND w.error_class = 'Duplicate'))
           AND (SELECT count(*) FROM outbox_attempts l
                 WHERE l.message_id = m.id AND l.id > w.id AND l.purpose = 'look_up'
                   AND l.answered AND l.error_class IS NULL AND l.error_detail IS NULL) < 2""",
    # Far beyond the longest delay, lease and limit there are.
    "waits_for_ever": """
        SELECT id FROM outbox_messages
         WHERE state <> 'parked'
           AND (GREATEST(due_at, budget_from, lease_expires_at,
                         CASE WHEN state = 'published' THEN published_at END) > outbox_now() + interval '1 day'
                OR GREATEST(deadline_at, give_up_at) > outbox_now() + interval '60 days')""",
    # Where it is known who serves what.
    "unserved": """
        SELECT m.id FROM outbox_messages m
         WHERE m.state <> 'parked' AND cardinality(CAST(:jobs AS text[])) > 0
           AND NOT EXISTS (
               SELECT 1 FROM unnest(CAST(:jobs AS text[]), CAST(:queues AS text[]), CAST(:upstreams AS text[]))
                          AS served (job, queue, upstream)
                WHERE served.job = m.job AND served.queue = m.queue
                  AND COALESCE(served.upstream, '') = COALESCE(m.upstream, ''))""",
}
# Each query returns upstreams. The gate and the book of its trips are written together, and what they say of the
# future is bounded; the minute's grace is for a clock that was put back. Whoever wants more time holds the upstream.
BREAKER_RULES = {
    "breaker_and_trips_differ": """
        SELECT upstream FROM outbox_breakers g WHERE (opened_at IS NOT NULL) <> EXISTS (
            SELECT 1 FROM outbox_breaker_trips c WHERE c.upstream = g.upstream AND c.closed_at IS NULL)""",
    "breaker_open_too_long": """
        SELECT upstream FROM outbox_breakers
         WHERE open_until > outbox_now() + make_interval(secs => :cap) + interval '1 minute'""",
    "breaker_closed_in_future": """
        SELECT upstream FROM outbox_breakers WHERE closed_at > outbox_now() + interval '1 minute'""",
}

# Which gates there are to be, only whoever knows the queues can say.
BREAKER_MISSING, BREAKER_LIMIT_DIFFERS = "breaker_missing", "breaker_limit_differs"
LIMITS = text("SELECT upstream, concurrency_limit FROM outbox_breakers")

# A pointer counts as lost when it has been away for longer than the relay needs to miss it.
POINTERS = text("""
    SELECT queue, id, fence, state,
           state = 'published' AND published_at < outbox_now() - interval '1 minute' AS long_published
      FROM outbox_messages WHERE state IN ('published', 'running', 'parked')
""")

OUTSTANDING = text("""
    SELECT queue, state, count(*) AS messages, extract(epoch FROM outbox_now() - min(created_at))::float AS oldest
      FROM outbox_messages GROUP BY queue, state ORDER BY queue, state
""")


def find_faults(db: Database, limit: int = 100, served: Served = ()) -> list[Fault]:
    """The rules that messages break now, so many of each. `served` are the job, queue and upstream of all there is to
    do."""
    values = values_of(served)
    return [
        Fault(rule, row[0])
        for rule, query in RULES.items()
        for row in db.execute(text(f"{query} LIMIT {int(limit)}"), values).all()
    ]


def find_breaker_faults(db: Database, cap_seconds: float, limits: Mapping[str, int]) -> list[Fault]:
    """The rules that gates break now. `cap_seconds` is the longest one may be closed; there are to be those of the
    upstreams in `limits`, each with its limit."""
    broken = [
        Fault(rule, None, row.upstream)
        for rule, query in BREAKER_RULES.items()
        for row in db.execute(text(query), {"cap": cap_seconds}).all()
    ]
    found = {row.upstream: row.concurrency_limit for row in db.execute(LIMITS, {}).all()}
    missing = [Fault(BREAKER_MISSING, None, upstream) for upstream in limits if upstream not in found]
    differing = [name for name, limit in limits.items() if found.get(name, limit) != limit]
    return [*broken, *missing, *(Fault(BREAKER_LIMIT_DIFFERS, None, upstream) for upstream in differing)]


def values_of(served: Served) -> dict[str, list[str | None]]:
    columns: dict[str, list[str | None]] = {"jobs": [], "queues": [], "upstreams": []}
    for names in served:
        for column, name in zip(columns.values(), names, strict=True):
            column.append(name)
    return columns


def count_faults(db: Database, found: list[Fault], limit: int = 100, served: Served = ()) -> int:
    """How many there are, where so many of each rule were listed."""
    listed = Counter(fault.rule for fault in found)
    cut = [rule for rule in RULES if listed[rule] >= limit]
    more = sum(
        db.execute(text(f"SELECT count(*) FROM ({RULES[rule]}) every"), values_of(served)).scalar_one() for rule in cut
    )
    return len(found) - sum(listed[rule] for rule in cut) + int(more)


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
