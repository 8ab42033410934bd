"""One durable gate per upstream: closed while it fails, opened by the answer of a single probe, then a slow start.

The probe is a message and its fence. It is held exactly as long as that message is published or running under that
fence, so a dead worker or a lost pointer releases it without any lease of its own.

A gate that is not there is closed: nobody can say when its upstream may be asked again, or for how much at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import text

from outbox.holds import IN_FORCE, LAST_END
from outbox.values import BreakerSettings, Caller, QueueSpec
from outbox.write import Database

UNANSWERED_TO_OPEN = 3
DEFAULTS = BreakerSettings()

# Those there are, and those there should be.
ALL = text(f"""
    SELECT a.*, ({IN_FORCE.format(upstream="a.upstream")}) AS held_until
      FROM (SELECT upstream, g.concurrency_limit IS NULL AS missing, g.opened_at, g.open_until, g.reason, g.trips,
                   g.closed_at, g.probe_message_id, g.concurrency_limit
              FROM outbox_breakers g FULL JOIN unnest(CAST(:upstreams AS text[])) AS named (upstream) USING (upstream)) a
     ORDER BY a.upstream
""")
# A new upstream's gate is open. One whose upstream was in use before was lost: it is closed until a probe has been
# answered, and for as long as any upstream may ask for if the book says that it was closed.
MAKE = text("""
    WITH open_trip AS (
        SELECT opened_at, reason FROM outbox_breaker_trips WHERE upstream = :upstream AND closed_at IS NULL
    ), past AS (
        SELECT (SELECT opened_at FROM open_trip) AS opened_at, (SELECT reason FROM open_trip) AS reason,
               CAST(:lost AS boolean)
               OR EXISTS (SELECT 1 FROM outbox_breaker_trips WHERE upstream = :upstream)
               OR EXISTS (SELECT 1 FROM outbox_attempts WHERE upstream = :upstream AND answered) AS lost
    ), made AS (
        INSERT INTO outbox_breakers AS g (upstream, concurrency_limit, opened_at, open_until, reason, trips)
        SELECT :upstream, :limit, CASE WHEN lost THEN COALESCE(opened_at, outbox_now()) END,
               CASE WHEN lost THEN outbox_now() + make_interval(secs =>
                   CASE WHEN opened_at IS NULL THEN CAST(:base AS float) ELSE CAST(:cap AS float) END) END,
               CASE WHEN lost THEN COALESCE(reason, 'gate was missing') END, CAST(lost AS int)
          FROM past
        ON CONFLICT (upstream) DO UPDATE SET concurrency_limit = EXCLUDED.concurrency_limit
         WHERE g.concurrency_limit <> EXCLUDED.concurrency_limit
        RETURNING g.upstream, g.opened_at, g.open_until, g.reason
    ), booked AS (
        INSERT INTO outbox_breaker_trips (upstream, opened_at, reason)
        SELECT upstream, opened_at, COALESCE(reason, 'unknown') FROM made WHERE opened_at IS NOT NULL
        ON CONFLICT (upstream) WHERE closed_at IS NULL DO NOTHING
    )
    SELECT extract(epoch FROM open_until - outbox_now())::float FROM made
""")

# A gate is locked before it is asked: a statement counts what was there when it began, and whoever waited for another
# relay must count what that one has just claimed.
LOCK = text("SELECT FROM outbox_breakers WHERE upstream = :upstream FOR UPDATE")
# What is out there, and what may follow: `bound` in all through an open gate, a probe if its time is up, or nothing.
ASK = text(f"""
    SELECT g.upstream IS NULL AS missing,
           ({IN_FORCE.format(upstream="g.upstream")}) IS NOT NULL AS held,
           g.opened_at IS NULL AS closed,
           g.open_until <= outbox_now() AND NOT EXISTS (
               SELECT 1 FROM outbox_messages m
                WHERE m.id = g.probe_message_id AND m.fence = g.probe_fence
                  AND m.state IN ('published', 'running')) AS wants_probe,
           g.probe_message_id,
           g.concurrency_limit AS bound,
           extract(epoch FROM outbox_now() - GREATEST(
               g.closed_at, ({LAST_END.format(upstream="g.upstream")})))::float AS closed_for,
           counted.published, counted.in_flight
      FROM (SELECT count(*) FILTER (WHERE m.state = 'published') AS published, count(*) AS in_flight
              FROM outbox_messages m
             WHERE m.queue = :queue AND m.state IN ('published', 'running')
               AND (CAST(:since AS timestamptz) IS NULL OR m.published_at >= :since)) AS counted
      LEFT JOIN outbox_breakers g ON g.upstream = :upstream
""")

# A Retry-After shorter than our own patience is no leave to come back sooner: one of 0 would be no back-off at all.
TRIP = text("""
    WITH tripped AS (
        UPDATE outbox_breakers
           SET opened_at = COALESCE(opened_at, outbox_now()),
               open_until = GREATEST(open_until, outbox_now() + make_interval(secs => LEAST(
                   CAST(:cap AS float),
                   GREATEST(CAST(:retry_after AS float), :base * power(2, LEAST(trips, 12)))))),
               trips = trips + 1, reason = :reason, unanswered = '{}',
               probe_message_id = COALESCE(probe_message_id, CAST(:message_id AS bigint)), probe_fence = NULL
         WHERE upstream = :upstream
           AND (closed_at IS NULL OR closed_at <= :started_at)
           AND (opened_at IS NULL OR (probe_message_id, probe_fence) = (:message_id, :fence))
        RETURNING upstream, opened_at
    )
    INSERT INTO outbox_breaker_trips (upstream, opened_at, reason)
    SELECT upstream, opened_at, :reason FROM tripped
    ON CONFLICT (upstream) WHERE closed_at IS NULL DO NOTHING
    RETURNING id
""")

# While it is closed, others that were under way may still be asked to stay away longer than whoever closed it: that
# moves the end, and nothing else.
STAY_AWAY = text("""
    UPDATE outbox_breakers
       SET open_until = GREATEST(open_until, outbox_now() + make_interval(secs => LEAST(
               CAST(:cap AS float), CAST(:retry_after AS float))))
     WHERE upstream = :upstream AND opened_at IS NOT NULL AND (closed_at IS NULL OR closed_at <= :started_at)
""")

# Only news younger than the closing opens a gate: an old call that comes back late says nothing about now.
CLOSE = text("""
    WITH reset AS (
        UPDATE outbox_breakers
           SET opened_at = NULL, open_until = NULL, reason = NULL, trips = 0, unanswered = '{}',
               closed_at = CASE WHEN opened_at IS NULL THEN closed_at ELSE outbox_now() END,
               probe_message_id = NULL, probe_fence = NULL
         WHERE upstream = :upstream AND (opened_at IS NOT NULL OR unanswered <> '{}')
           AND (opened_at IS NULL OR :started_at > opened_at)
        RETURNING upstream
    )
    UPDATE outbox_breaker_trips c SET closed_at = outbox_now()
      FROM reset WHERE c.upstream = reset.upstream AND c.closed_at IS NULL
    RETURNING c.id
""")

NOTE_UNANSWERED = text("""
    UPDATE outbox_breakers SET unanswered = array_append(array_remove(unanswered, :message_id), :message_id)
     WHERE upstream = :upstream AND (closed_at IS NULL OR closed_at <= :started_at)
    RETURNING cardinality(unanswered), probe_message_id, probe_fence
""")

# Closings and holds may overlap; what lies under both is taken away once. After a clock that stepped back, one may end
# before it began: no time at all.
CLOSED_SECONDS = text("""
    WITH tripped AS (
        SELECT opened_at AS starts_at, COALESCE(closed_at, outbox_now()) AS ends_at
          FROM outbox_breaker_trips WHERE upstream = :upstream
        UNION ALL
        SELECT starts_at, LEAST(ends_at, lifted_at) FROM outbox_breaker_holds WHERE upstream = :upstream
    ), merged AS (
        SELECT unnest(range_agg(tstzrange(GREATEST(starts_at, :since), LEAST(ends_at, outbox_now())))) AS part
          FROM shut WHERE GREATEST(starts_at, :since) < LEAST(ends_at, outbox_now())
    )
    SELECT extract(epoch FROM outbox_now() - :since)::float
           - COALESCE(sum(extract(epoch FROM upper(part) - lower(part))), 0)::float FROM merged
""")


def limits_of(queues: Iterable[QueueSpec], sync_only: Iterable[str] = ()) -> dict[str, int]:
    """The upstreams that have gates, those only ever visited among them, each with its limit."""
    limits = {queue.upstream: queue.concurrency for queue in queues if queue.upstream is not None}
    return {**dict.fromkeys(sync_only, 1), **limits}


def ensure_breakers(
    db: Database,
    queues: Iterable[QueueSpec],
    sync_only: Iterable[str] = (),
    settings: BreakerSettings = DEFAULTS,
) -> None:
    """A gate for the upstream of every queue and for those only ever visited; one that was lost is closed at first."""
    for upstream, limit in limits_of(queues, sync_only).items():
        ensure_breaker(db, upstream, limit, settings)


def ensure_breaker(
    db: Database, upstream: str, limit: int, settings: BreakerSettings, *, lost: bool = False
) -> float | None:
    """That this gate is there, with this limit: one that is there already stands as it did.

    `lost` says that it was there before; else its upstream's past tells. Returns for how many seconds one that was
    made now, or whose limit was set back, is closed.
    """
    patience = {"base": settings.open_seconds, "cap": settings.cap_seconds}
    values = {"upstream": upstream, "limit": limit, "lost": lost, **patience}
    closed_for: float | None = db.execute(MAKE, values).scalar_one_or_none()
    return closed_for


def trip(
    db: Database, caller: Caller, reason: str, settings: BreakerSettings, retry_after: float | None = None
) -> bool:
    """Shut the gate after a failed attempt; True when this is what closed it. Seconds throughout.

    A failure that began before the gate last opened is old news. While it is closed only its probe may speak, but a
    `retry_after` of anybody is heeded.
    """
    row = db.execute(
        TRIP,
        {
            "upstream": caller.upstream,
            "message_id": caller.message_id,
            "fence": caller.fence,
            "started_at": caller.started_at,
            "reason": reason,
            "retry_after": retry_after,
            "base": settings.open_seconds,
            "cap": settings.cap_seconds,
        },
    ).one_or_none()
    if row is None:
        stay_away(db, caller, settings, retry_after)
    return row is not None


def stay_away(db: Database, caller: Caller, settings: BreakerSettings, retry_after: float | None) -> None:
    """Leave a closed gate's upstream alone for so many seconds from now, within the cap, if that is longer."""
    if retry_after is not None:
        values = {"upstream": caller.upstream, "started_at": caller.started_at}
        db.execute(STAY_AWAY, {**values, "retry_after": retry_after, "cap": settings.cap_seconds})


def note_answer(db: Database, caller: Caller) -> bool:
    """The upstream is alive, refusals included; True when this answer opened a closed gate."""
    values = {"upstream": caller.upstream, "started_at": caller.started_at}
    return db.execute(CLOSE, values).one_or_none() is not None


def note_unanswered(db: Database, caller: Caller, settings: BreakerSettings, retry_after: float | None = None) -> bool:
    """Outages mostly look like time-outs: three different messages running close the gate, a probe's one does."""
    values = {"upstream": caller.upstream, "message_id": caller.message_id, "started_at": caller.started_at}
    row = db.execute(NOTE_UNANSWERED, values).one_or_none()
    if row is None:
        return False
    is_probe = (row.probe_message_id, row.probe_fence) == (caller.message_id, caller.fence)
    if row.cardinality >= UNANSWERED_TO_OPEN or is_probe:
        return trip(db, caller, "unanswered", settings, retry_after)
    stay_away(db, caller, settings, retry_after)
    return False


def capacity(
    db: Database, queue: QueueSpec, settings: BreakerSettings, since: datetime | None = None
) -> tuple[int, int | None]:
    """How many messages may be published now and, for a probe, which message was the last one and goes last.

    Nothing that is out may have been published before `since`.
    """
    if queue.upstream is not None:
        db.execute(LOCK, {"upstream": queue.upstream})
    row = db.execute(ASK, {"upstream": queue.upstream, "queue": queue.name, "since": since}).one()
    left = queue.depth - row.published
    if queue.upstream is None:
        return left, None
    if row.missing or row.held:
        return 0, None
    if not row.closed:
        return (min(1, left), row.probe_message_id or 0) if row.wants_probe else (0, None)
    bound = row.bound
    if row.closed_for is not None and row.closed_for < 10 * settings.slow_start_seconds:
        bound = min(bound, int(2 ** (1 + row.closed_for / settings.slow_start_seconds)))
    return min(left, bound - row.in_flight), None


def name_probe(db: Database, upstream: str, message_id: int, fence: int) -> None:
    db.execute(
        text("UPDATE outbox_breakers SET probe_message_id = :id, probe_fence = :fence WHERE upstream = :upstream"),
        {"upstream": upstream, "id": message_id, "fence": fence},
    )


def all_breakers(db: Database, upstreams: Iterable[str]) -> list[Any]:
    """How each gate stands, those there should be and are not among them: `missing`, and as good as closed."""
    return list(db.execute(ALL, {"upstreams": list(upstreams)}).all())


def closed_seconds(db: Database, upstream: str | None, since: datetime) -> float:
    """Seconds the gate stood open since a moment: what a flow's budget runs in."""
    return float(db.execute(CLOSED_SECONDS, {"upstream": upstream, "since": since}).scalar_one())
