"""Audit of the ledger itself: what must hold for every message and circuit breaker, as SQL, and how it is repaired.

Each function works in the caller's transaction and commits nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from redis import Redis
from sqlalchemy import text

from outbox import breakers, repair, rescue, rq_side
from outbox.values import BreakerSettings, QueueSpec
from outbox.write import Database


@dataclass(frozen=True)
class Known:
    """What the audit has to know of the application: `served`, the queue of each job, and `limits`, how many calls at
    once each upstream bears. Of an application that says nothing, rules about it find nothing. `rules` are its own,
    about periodic work: their queries and repairs take ids."""

    served: Mapping[str, QueueSpec] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    settings: BreakerSettings = breakers.DEFAULTS
    rules: tuple[LedgerRule, ...] = ()

    @property
    def values(self) -> dict[str, Any]:
        return {
            "jobs": list(self.served),
            "queues": [queue.name for queue in self.served.values()],
            "upstreams": [queue.upstream for queue in self.served.values()],
            "expected": list(self.limits),
            "limits": list(self.limits.values()),
            "cap": self.settings.cap_seconds,
        }


# Whether it did something. The key is a message id or an upstream.
RepairRule = Callable[[Database, Any, Known], bool]


@dataclass(frozen=True)
class LedgerRule:
    """One rule: `query` selects the messages or upstreams that break it, `words` say what that means to a human.

    `repair` sets it right, and `then` says what that comes to. Without a `repair`, `then` says what a human does.
    """

    name: str
    words: str
    query: str
    then: str
    repair: RepairRule | None = None


@dataclass(frozen=True)
class Fault:
    """A broken rule, and the message, the upstream or the periodic work it was found on."""

    rule: str
    message_id: int | None
    upstream: str | None = None
    work: str | None = None

    @property
    def about(self) -> str:
        if self.work is not None:
            return f"work {self.work}"
        return f"breaker {self.upstream}" if self.message_id is None else f"message {self.message_id}"


@dataclass(frozen=True)
class Difference:
    """Where Redis says something else than the ledger. The ledger is right."""

    rule: str
    queue: str
    job_id: str


def rescue_all(db: Database, message_id: int, known: Known) -> bool:
    return rescue.rescue_lost_in(db) > 0


def serve(db: Database, message_id: int, known: Known) -> bool:
    """Move it into the queue of its job. False for a job that nobody serves, and for one that is running."""
    job = db.execute(text("SELECT job FROM outbox_messages WHERE id = :id FOR UPDATE"), {"id": message_id}).scalar()
    queue = known.served.get(job) if job is not None else None
    return queue is not None and repair.serve(db, message_id, queue)


def ensure_expected(db: Database, upstream: str, known: Known) -> bool:
    """Make the breaker anew or give it its limit back. What a lost one knew is lost, so its upstream is tried with
    care."""
    breakers.ensure_breaker(db, upstream, known.limits[upstream], known.settings, lost=True)
    return True


# The grace of a minute keeps work that is moving right now out of the queries. Each returns message ids.
MESSAGE_RULES = (
    LedgerRule(
        "try_without_running_message",
        "an attempt is open, and its message is not running",
        """
        SELECT a.message_id FROM outbox_attempts a LEFT JOIN outbox_messages m
            ON m.id = a.message_id AND m.fence = a.fence AND m.state = 'running'
         WHERE a.status = 'try' AND m.id IS NULL AND a.started_at < outbox_now() - interval '1 minute'""",
        then="Its open attempts are ended as unknown, and it is looked up before it is sent again.",
        repair=lambda db, key, known: repair.end_tries(db, key),
    ),
    LedgerRule(
        "running_without_try",
        "it is running without an attempt",
        """
        SELECT m.id FROM outbox_messages m LEFT JOIN outbox_attempts a
            ON a.message_id = m.id AND a.fence = m.fence AND a.status = 'try'
         WHERE m.state = 'running' AND a.id IS NULL""",
        then="It waits again, and is looked up before it is sent.",
        repair=lambda db, key, known: repair.reclaim(db, key),
    ),
    LedgerRule(
        "lease_long_over",
        "its lease ended more than a minute ago, and it was not rescued",
        """
        SELECT id FROM outbox_messages
         WHERE state = 'running' AND lease_expires_at < outbox_now() - interval '1 minute'""",
        then="It is rescued: due again, and what it may have sent is looked up.",
        repair=rescue_all,
    ),
    LedgerRule(
        "due_but_not_promoted",
        "it is due and not promoted: no relay is at work",
        """
        SELECT id FROM outbox_messages WHERE state = 'later' AND due_at < outbox_now() - interval '1 minute'""",
        then="Start a relay.",
    ),
    LedgerRule(
        "ready_behind_closed_breaker",
        "it waits although its circuit breaker is closed: no relay is at work",
        """
        SELECT m.id FROM outbox_messages m LEFT JOIN outbox_breakers b ON b.upstream = m.upstream
         WHERE m.state = 'ready' AND b.opened_at IS NULL AND (b.upstream IS NULL) = (m.upstream IS NULL)
           AND m.due_at < outbox_now() - interval '15 minutes'
           AND COALESCE(b.closed_at, '-infinity') < outbox_now() - interval '1 minute'
           AND NOT EXISTS (SELECT 1 FROM outbox_breaker_holds h
                            WHERE h.upstream = m.upstream AND h.starts_at <= outbox_now()
                              AND LEAST(h.ends_at, h.lifted_at) > outbox_now() - interval '1 minute')
           AND NOT EXISTS (SELECT 1 FROM outbox_messages p
                            WHERE p.queue = m.queue AND p.state IN ('published', 'running'))""",
        then="Start a relay.",
    ),
    LedgerRule(
        "question_without_attempt",
        "it looks up something that was never tried",
        """
        SELECT id FROM outbox_messages m
         WHERE unresolved_since IS NOT NULL AND unresolved_why NOT IN ('restored', 'decided')
           AND NOT EXISTS (SELECT 1 FROM outbox_attempts a WHERE a.message_id = m.id)""",
        then="It is looked up until its budget ends, and then a human gets it.",
    ),
    # Not denied by two look-ups since: it would be made again without a question.
    LedgerRule(
        "question_lost",
        "its last write may have happened, and nothing says that it must be looked up",
        """
        SELECT m.id FROM outbox_messages m CROSS JOIN LATERAL (
               SELECT * FROM outbox_attempts a WHERE a.message_id = m.id AND a.purpose = 'write'
                ORDER BY a.id DESC LIMIT 1) w
         WHERE m.unresolved_since IS NULL AND m.fence IS NOT NULL AND m.state <> 'running'
           AND (w.status = 'unknown' OR (w.status = 'error' AND w.error_class = 'Duplicate'))
           AND (SELECT count(*) FROM outbox_attempts l
                 WHERE l.message_id = m.id AND l.id > w.id AND l.purpose = 'look_up'
                   AND l.answered AND l.error_class IS NULL AND l.error_detail IS NULL) < 2""",
        then="What it may have sent is looked up before it is sent again.",
        repair=lambda db, key, known: repair.ask_again(db, key),
    ),
    # Far beyond the longest delay, lease and limit there are.
    LedgerRule(
        "waits_for_ever",
        "it is due, published, leased or begun more than a day ahead, or its limits are more than sixty days ahead",
        """
        SELECT id FROM outbox_messages
         WHERE state <> 'parked'
           AND (GREATEST(due_at, budget_from, lease_expires_at,
                         CASE WHEN state = 'published' THEN published_at END) > outbox_now() + interval '1 day'
                OR GREATEST(deadline_at, give_up_at) > outbox_now() + interval '60 days')""",
        then="It is due now, with the longest limits there are.",
        repair=lambda db, key, known: repair.let_go_on(db, key),
    ),
    # Only where it is known who serves what.
    LedgerRule(
        "unserved",
        "its job, queue and upstream do not belong together",
        """
        SELECT m.id FROM outbox_messages m
         WHERE m.state <> 'parked' AND cardinality(CAST(:jobs AS text[])) > 0
           AND NOT EXISTS (
               SELECT 1 FROM unnest(CAST(:jobs AS text[]), CAST(:queues AS text[]), CAST(:upstreams AS text[]))
                          AS served (job, queue, upstream)
                WHERE served.job = m.job AND served.queue = m.queue
                  AND COALESCE(served.upstream, '') = COALESCE(m.upstream, ''))""",
        then="It waits in the queue of its job. A job that nobody serves is parked, and a human gets a case.",
        repair=serve,
    ),
)
# Each returns upstreams. A breaker and the record of its trips are written together, and what they say of the future is
# bounded; the minute of grace is for a clock that was put back. Use a hold to leave an upstream in peace for longer.
BREAKER_RULES = (
    LedgerRule(
        "breaker_and_trips_differ",
        "its circuit breaker and the record of its trips disagree",
        """
        SELECT upstream FROM outbox_breakers b WHERE (opened_at IS NOT NULL) <> EXISTS (
            SELECT 1 FROM outbox_breaker_trips t WHERE t.upstream = b.upstream AND t.closed_at IS NULL)""",
        then="The record of its trips says what the breaker says.",
        repair=lambda db, key, known: repair.match_trips(db, key),
    ),
    LedgerRule(
        "breaker_open_too_long",
        "its circuit breaker is open for longer than the cap allows",
        """
        SELECT upstream FROM outbox_breakers
         WHERE open_until > outbox_now() + make_interval(secs => :cap) + interval '1 minute'""",
        then="It stays open for as long as the cap allows, then is probed. Hold it to leave the upstream in peace for"
        " longer.",
        repair=lambda db, key, known: repair.shorten_trip(db, key, known.settings.cap_seconds),
    ),
    LedgerRule(
        "breaker_closed_in_future",
        "its circuit breaker is said to close in the future: nothing would pass until then",
        """
        SELECT upstream FROM outbox_breakers WHERE closed_at > outbox_now() + interval '1 minute'""",
        then="It closed just now, and its flow starts slowly.",
        repair=lambda db, key, known: repair.date_closing(db, key),
    ),
    LedgerRule(
        "breaker_missing",
        "its circuit breaker is not there: nothing is sent, and people who read get 503 with Retry-After",
        """
        SELECT upstream FROM unnest(CAST(:expected AS text[])) AS named (upstream)
         WHERE NOT EXISTS (SELECT 1 FROM outbox_breakers g WHERE g.upstream = named.upstream)""",
        then="It is there again and open; then one probe goes, and its flow starts slowly.",
        repair=ensure_expected,
    ),
    LedgerRule(
        "breaker_limit_differs",
        "the limit of its circuit breaker is not the one that its queue should have",
        """
        SELECT upstream FROM unnest(CAST(:expected AS text[]), CAST(:limits AS int[])) AS named (upstream, most)
          JOIN outbox_breakers g USING (upstream) WHERE g.concurrency_limit <> most""",
        then="Its limit is that of its queue again.",
        repair=ensure_expected,
    ),
)

# Real time, also where the ledger's clock was moved. What never ran is not missed: a new database has no sweep yet.
WORK_RULES = (
    LedgerRule(
        "sweep_stands_still",
        "the sweep has not run for five minutes, or work that one process does at a time found its lease taken so long",
        """
        SELECT name FROM outbox_leases
         WHERE passed_over_since < clock_timestamp() - interval '5 minutes'
            OR (name = 'sweep' AND ran_at < clock_timestamp() - interval '5 minutes')""",
        then="A human starts the scheduler and a worker, or ends the process that holds the lease.",
    ),
    # Looked for in ten minutes only: older than that, it was found before.
    LedgerRule(
        "feed_stands_still",
        "others are to be told what happened, and what happened five minutes ago was not read for them",
        """
        SELECT 'feed' FROM outbox_counted c
         WHERE c.source = 'feed_moves' AND EXISTS (
               SELECT 1 FROM outbox_history h
                WHERE h.at > outbox_now() - interval '15 minutes' AND h.at < outbox_now() - interval '5 minutes'
                  AND h.id > c.upto)""",
        then="A human ends the transaction that has been open for so long, or finds in the log why the sweep fails.",
    ),
)

# A pointer counts as lost when it has been missing for longer than the relay needs to find that out.
POINTERS = text("""
    SELECT queue, id, fence, state,
           state = 'published' AND published_at < outbox_now() - interval '1 minute' AS long_published
      FROM outbox_messages WHERE state IN ('published', 'running', 'parked')
""")

NOTHING_KNOWN = Known()


def find_faults(db: Database, limit: int = 100, known: Known = NOTHING_KNOWN) -> list[Fault]:
    """The broken rules of messages, at most `limit` of each, and of circuit breakers."""
    listed = [
        f"(SELECT '{rule.name}', f.id, NULL, NULL FROM ({rule.query} LIMIT {int(limit)}) f (id))"
        for rule in MESSAGE_RULES
    ]
    listed += [f"(SELECT '{rule.name}', NULL, f.key, NULL FROM ({rule.query}) f (key))" for rule in BREAKER_RULES]
    of_work = (*WORK_RULES, *known.rules)
    listed += [f"(SELECT '{rule.name}', NULL, NULL, f.key FROM ({rule.query}) f (key))" for rule in of_work]
    return [Fault(*row) for row in db.execute(text(" UNION ALL ".join(listed)), known.values).all()]


def count_faults(db: Database, found: list[Fault], limit: int = 100, known: Known = NOTHING_KNOWN) -> int:
    """How many faults there are, where at most `limit` of each rule were listed."""
    listed = Counter(fault.rule for fault in found)
    cut = [rule for rule in MESSAGE_RULES if listed[rule.name] >= limit]
    more = sum(
        db.execute(text(f"SELECT count(*) FROM ({rule.query}) every"), known.values).scalar_one() for rule in cut
    )
    return len(found) - sum(listed[rule.name] for rule in cut) + int(more)


def compare_redis(db: Database, redis: Redis, queues: tuple[QueueSpec, ...]) -> tuple[dict[str, int], list[Difference]]:
    """Counts of what the ledger and Redis hold, and every difference. Relay, grant and sweep repair those in a minute.

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
    """The ids of messages' jobs: periodic jobs have names of their own."""
    return {item for item in identifiers if rq_side.read_job_id(item) is not None}
