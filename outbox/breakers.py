"""Circuit breakers: one durable row per upstream, shared by all processes.

*Closed*: everything passes. *Open*: nothing passes, until its time is up. *Half-open*: one probe goes; its answer
closes the breaker, and then the flow starts slowly.

The probe is a message and its fence. It is the probe exactly as long as that message is published or running under
that fence, so a dead worker or a lost pointer releases it without any lease of its own.

A missing breaker counts as open: nobody can say when its upstream may be called again, or how many calls at once it
can take.

Every function works in the caller's transaction and never commits. All durations are in seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text

from outbox.columns import in_state
from outbox.holds import IN_FORCE, LAST_END
from outbox.statements import prepared
from outbox.values import BreakerSettings, Caller, QueueSpec
from outbox.write import WAKE_CHANNEL, Database, write_history

# How many different people have to meet it, with no answer to anybody in between: no usable answer at all, or a refusal
# of our key. From one alone it may be about this one.
UNANSWERED_TO_OPEN, REFUSED_TO_OPEN = 3, 2
LARGEST_ID = 2**62
DEFAULTS = BreakerSettings()

# The breakers that exist, and those that should.
ALL = text(f"""
    SELECT a.*, ({IN_FORCE.format(upstream="a.upstream")}) AS held_until
      FROM (SELECT upstream, b.concurrency_limit IS NULL AS missing, b.opened_at, b.open_until, b.reason, b.trips,
                   b.closed_at, b.probe_message_id, b.concurrency_limit
              FROM outbox_breakers b
              FULL JOIN unnest(CAST(:upstreams AS text[])) AS named (upstream) USING (upstream)) a
     ORDER BY a.upstream
""")
# A new upstream's breaker is closed. If the upstream was in use before, its breaker was lost: it is open until a probe
# has been answered, and for the longest time an upstream may ask for if its recorded trips say that it was open.
MAKE = text("""
    WITH open_trip AS (
        SELECT opened_at, reason FROM outbox_breaker_trips WHERE upstream = :upstream AND closed_at IS NULL
    ), past AS (
        SELECT (SELECT opened_at FROM open_trip) AS opened_at, (SELECT reason FROM open_trip) AS reason,
               CAST(:lost AS boolean)
               OR EXISTS (SELECT 1 FROM outbox_breaker_trips WHERE upstream = :upstream)
               OR EXISTS (SELECT 1 FROM outbox_attempts WHERE upstream = :upstream AND answered) AS lost
    ), made AS (
        INSERT INTO outbox_breakers AS b (upstream, concurrency_limit, opened_at, open_until, reason, trips)
        SELECT :upstream, :limit, CASE WHEN lost THEN COALESCE(opened_at, outbox_now()) END,
               CASE WHEN lost THEN outbox_now() + make_interval(secs =>
                   CASE WHEN opened_at IS NULL THEN CAST(:base AS float) ELSE CAST(:cap AS float) END) END,
               CASE WHEN lost THEN COALESCE(reason, 'breaker was missing') END, CAST(lost AS int)
          FROM past
        ON CONFLICT (upstream) DO UPDATE SET concurrency_limit = EXCLUDED.concurrency_limit
         WHERE b.concurrency_limit <> EXCLUDED.concurrency_limit
        RETURNING b.upstream, b.opened_at, b.open_until, b.reason
    ), recorded AS (
        INSERT INTO outbox_breaker_trips (upstream, opened_at, reason)
        SELECT upstream, opened_at, COALESCE(reason, 'unknown') FROM made WHERE opened_at IS NOT NULL
        ON CONFLICT (upstream) WHERE closed_at IS NULL DO NOTHING
    )
    SELECT extract(epoch FROM open_until - outbox_now())::float FROM made
""")

# The breaker is locked before it is read. A statement counts what was there when it began, and a relay that was waiting
# for another one must count what that one has just claimed.
LOCK = prepared("SELECT FROM outbox_breakers WHERE upstream = :upstream FOR UPDATE")
# What is in flight, and what may follow: up to `bound` in all while closed, one probe when its time is up, or nothing.
ASK = prepared(f"""
    SELECT b.upstream IS NULL AS missing,
           ({IN_FORCE.format(upstream="b.upstream")}) IS NOT NULL AS held,
           b.opened_at IS NULL AS closed,
           b.open_until <= outbox_now() AND NOT EXISTS (
               SELECT 1 FROM outbox_messages m
                WHERE m.id = b.probe_message_id AND m.fence = b.probe_fence
                  AND {in_state("published", "running", column="m.state")}) AS wants_probe,
           b.probe_message_id,
           b.concurrency_limit AS bound,
           extract(epoch FROM outbox_now() - GREATEST(
               b.closed_at, ({LAST_END.format(upstream="b.upstream")})))::float AS closed_for,
           counted.published, counted.in_flight
      FROM (SELECT count(*) FILTER (WHERE m.state = 'published') AS published, count(*) AS in_flight
              FROM outbox_messages m
             WHERE m.queue = :queue AND m.state IN ('published', 'running')
               AND (CAST(:since AS timestamptz) IS NULL OR m.published_at >= :since)) AS counted
      LEFT JOIN outbox_breakers b ON b.upstream = :upstream
""")

# A Retry-After shorter than our own back-off does not let us come back sooner: one of 0 would be no back-off at all.
TRIP = text("""
    WITH tripped AS (
        UPDATE outbox_breakers
           SET opened_at = COALESCE(opened_at, outbox_now()),
               open_until = GREATEST(open_until, outbox_now() + make_interval(secs => LEAST(
                   CAST(:cap AS float),
                   GREATEST(CAST(:retry_after AS float), :base * power(2, LEAST(trips, 12)))))),
               trips = trips + 1, tripped_at = outbox_now(), reason = :reason, unanswered = '{}', refused = '{}',
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

# While it is open, calls that were under way may still bring a longer Retry-After than the call that opened it. That
# moves the end, and nothing else.
STAY_AWAY = text("""
    UPDATE outbox_breakers
       SET open_until = GREATEST(open_until, outbox_now() + make_interval(secs => LEAST(
               CAST(:cap AS float), CAST(:retry_after AS float))))
     WHERE upstream = :upstream AND opened_at IS NOT NULL AND (closed_at IS NULL OR closed_at <= :started_at)
""")

# Only a call that began after the breaker opened can close it: an old one that comes back late says nothing about now.
CLOSE = text("""
    WITH reset AS (
        UPDATE outbox_breakers
           SET opened_at = NULL, open_until = NULL, reason = NULL, trips = 0, unanswered = '{}', refused = '{}',
               closed_at = CASE WHEN opened_at IS NULL THEN closed_at ELSE outbox_now() END,
               probe_message_id = NULL, probe_fence = NULL
         WHERE upstream = :upstream AND (opened_at IS NOT NULL OR unanswered <> '{}')
           AND (opened_at IS NULL OR :started_at > opened_at)
        RETURNING upstream
    )
    UPDATE outbox_breaker_trips t SET closed_at = outbox_now()
      FROM reset WHERE t.upstream = reset.upstream AND t.closed_at IS NULL
    RETURNING t.id
""")

# While it is open, only its probe counts. Who is refused is also among the unanswered, which every answer empties.
NOTE_UNANSWERED = text("""
    UPDATE outbox_breakers
       SET unanswered = array_append(array_remove(unanswered, :who), :who),
           refused = CASE WHEN :refused THEN array_append(array_remove(refused, :who), :who) ELSE refused END
     WHERE upstream = :upstream AND (closed_at IS NULL OR closed_at <= :started_at)
       AND (opened_at IS NULL OR (probe_message_id, probe_fence) = (:message_id, :fence))
    RETURNING opened_at IS NOT NULL AS is_probe, cardinality(unanswered) AS unanswered,
              (SELECT count(*) FROM unnest(refused) each WHERE each = ANY(unanswered)) AS refused
""")
# The probe said nothing about the upstream: another may go at once.
PASS_ON = text("""
    UPDATE outbox_breakers SET open_until = outbox_now(), probe_fence = NULL
     WHERE upstream = :upstream AND (probe_message_id, probe_fence) = (:message_id, :fence)
""")

# Trips and holds may overlap; time under both is taken away once. After a clock that was put back, one may end before
# it began: it counts as no time at all.
CLOSED_SECONDS = text("""
    WITH stopped AS (
        SELECT opened_at AS starts_at, COALESCE(closed_at, outbox_now()) AS ends_at
          FROM outbox_breaker_trips WHERE upstream = :upstream
        UNION ALL
        SELECT starts_at, LEAST(ends_at, lifted_at) FROM outbox_breaker_holds WHERE upstream = :upstream
    ), merged AS (
        SELECT unnest(range_agg(tstzrange(GREATEST(starts_at, :since), LEAST(ends_at, outbox_now())))) AS part
          FROM stopped WHERE GREATEST(starts_at, :since) < LEAST(ends_at, outbox_now())
    )
    SELECT extract(epoch FROM outbox_now() - :since)::float
           - COALESCE(sum(extract(epoch FROM upper(part) - lower(part))), 0)::float FROM merged
""")


# The times in which upstreams could not be called, and that overlap the given period.
OUTAGES = text("""
    WITH shut AS (
        SELECT upstream, reason, opened_at, closed_at FROM outbox_breaker_trips
        UNION ALL
        SELECT upstream, 'held: ' || reason, starts_at, NULLIF(LEAST(ends_at, lifted_at, outbox_now()), outbox_now())
          FROM outbox_breaker_holds WHERE starts_at < LEAST(ends_at, lifted_at)
    )
    SELECT upstream, reason, opened_at, closed_at,
           round(extract(epoch FROM COALESCE(closed_at, outbox_now()) - opened_at))::int AS seconds
      FROM shut
     WHERE upstream = ANY(:upstreams) AND COALESCE(closed_at, outbox_now()) > :since
       AND opened_at < COALESCE(:until, outbox_now())
     ORDER BY opened_at
""")


LATELY = text("""
    SELECT * FROM (
        SELECT 'open' AS kind, opened_at AS began_at, closed_at AS ended_at, reason, NULL AS by
          FROM outbox_breaker_trips WHERE upstream = :upstream
        UNION ALL
        SELECT 'held', starts_at, NULLIF(LEAST(ends_at, lifted_at, outbox_now()), outbox_now()), reason, set_by
          FROM outbox_breaker_holds WHERE upstream = :upstream AND starts_at <= outbox_now()
    ) AS shut ORDER BY began_at DESC LIMIT :limit
""")
PROBE_NOW = text("""
    UPDATE outbox_breakers SET open_until = outbox_now()
     WHERE upstream = :upstream AND open_until > outbox_now() RETURNING upstream
""")


def limits_of(queues: Iterable[QueueSpec], sync_only: Iterable[str] = ()) -> dict[str, int]:
    """How many messages of each upstream may be in flight at once. Those in `sync_only` get synchronous calls only, and
    no messages, so any limit will do for them."""
    limits = {queue.upstream: queue.concurrency for queue in queues if queue.upstream is not None}
    return {**dict.fromkeys(sync_only, 1), **limits}


def ensure_breakers(
    db: Database,
    queues: Iterable[QueueSpec],
    sync_only: Iterable[str] = (),
    settings: BreakerSettings = DEFAULTS,
) -> None:
    """Make the breakers that are missing, for the upstream of every queue and for those in `sync_only`, and set their
    limits. One that was lost is open at first."""
    for upstream, limit in limits_of(queues, sync_only).items():
        ensure_breaker(db, upstream, limit, settings)


def ensure_breaker(
    db: Database, upstream: str, limit: int, settings: BreakerSettings, *, lost: bool = False
) -> float | None:
    """Make this breaker if it is missing, and set its limit; one that exists keeps its state.

    `lost` says that it existed before; otherwise its upstream's past shows that. Returns for how many seconds it is
    open, if it was made or its limit changed; None if it is closed or nothing was to be done.
    """
    patience = {"base": settings.open_seconds, "cap": settings.cap_seconds}
    values = {"upstream": upstream, "limit": limit, "lost": lost, **patience}
    open_for: float | None = db.execute(MAKE, values).scalar_one_or_none()
    return open_for


def trip(
    db: Database, caller: Caller, reason: str, settings: BreakerSettings, retry_after: float | None = None
) -> bool:
    """Open the breaker because its upstream said that it cannot answer. True when this is what opened it.

    It stays open for `settings.open_seconds`, twice as long after each probe that failed, and at least for
    `retry_after`, but never for more than `settings.cap_seconds`. A call that began before the breaker last closed
    changes nothing. While it is open only its probe counts, but the `retry_after` of any call is obeyed.
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
    """Keep an open breaker open for `retry_after` from now, or for the cap if that is less; never for a shorter time
    than it would be anyway."""
    if retry_after is not None:
        values = {"upstream": caller.upstream, "started_at": caller.started_at}
        db.execute(STAY_AWAY, {**values, "retry_after": retry_after, "cap": settings.cap_seconds})


def note_answer(db: Database, caller: Caller) -> bool:
    """Record that the upstream answered, even with a refusal. True when this closed an open breaker."""
    values = {"upstream": caller.upstream, "started_at": caller.started_at}
    return db.execute(CLOSE, values).one_or_none() is not None


def number_of(who: str) -> int:
    """Somebody's number at a breaker: negative, so none that a message has, and made of a digest."""
    digest = hashlib.blake2b(who.encode(), digest_size=8).digest()
    return -1 - int.from_bytes(digest, "big") % LARGEST_ID


def note_unanswered(
    db: Database,
    caller: Caller,
    settings: BreakerSettings,
    retry_after: float | None = None,
    *,
    person: str | None = None,
    refused: bool = False,
) -> bool:
    """Record a call that got no usable answer. True when this opened the breaker.

    `person` is whom the call was for, as a digest or an id: the same one counts once, however often and with however
    much work, since it may be about this one alone. What is for nobody counts by itself. With no answer to anybody in
    between, three open the breaker; where our key was `refused`, two. A probe closes nothing by it, and lets another
    go at once, whatever its `retry_after`; after three of these, or two, the breaker stays open for longer.
    """
    who = number_of(person) if person is not None else caller.message_id
    probe = {"upstream": caller.upstream, "message_id": caller.message_id, "fence": caller.fence}
    values = {**probe, "who": who, "refused": refused, "started_at": caller.started_at}
    row = db.execute(NOTE_UNANSWERED, values).one_or_none()
    if row is None:
        stay_away(db, caller, settings, retry_after)
    elif row.refused >= REFUSED_TO_OPEN:
        return trip(db, caller, "unauthorized", settings, retry_after)
    elif row.unanswered >= UNANSWERED_TO_OPEN:
        return trip(db, caller, "unanswered", settings, retry_after)
    elif row.is_probe:
        db.execute(PASS_ON, probe)
    return False


def capacity(
    db: Database, queue: QueueSpec, settings: BreakerSettings, since: datetime | None = None
) -> tuple[int, int | None]:
    """How many messages of this queue may be published now; for a probe also the id of the probe before it, or 0.

    The probe before it goes last of all. Locks the breaker to the end of the transaction, in which the messages are to
    be published. `since` only saves work: no message in flight may have been published before it.
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
    """Record which message is the probe, in the transaction that publishes it under this fence."""
    db.execute(
        text("UPDATE outbox_breakers SET probe_message_id = :id, probe_fence = :fence WHERE upstream = :upstream"),
        {"upstream": upstream, "id": message_id, "fence": fence},
    )


def all_breakers(db: Database, upstreams: Iterable[str]) -> list[Any]:
    """Every breaker's row, by upstream, with `held_until` while a hold is in force.

    Those of `upstreams` that have none are among them, with `missing` true: they count as open.
    """
    return list(db.execute(ALL, {"upstreams": list(upstreams)}).all())


def existing(db: Database) -> list[str]:
    """The upstreams that have a breaker, in the order of their names."""
    return list(db.execute(text("SELECT upstream FROM outbox_breakers ORDER BY upstream")).scalars())


def outages(db: Database, upstreams: Iterable[str | None], since: datetime, until: datetime | None) -> list[Row[Any]]:
    """When these upstreams' breakers were open or held, between `since` and `until` (aware; None is now), in order.

    Columns: `upstream`, `reason` (that of a hold begins with `held:`), `opened_at`, `closed_at` (null while it lasts)
    and `seconds`.
    """
    values = {"upstreams": list(upstreams), "since": since, "until": until}
    return list(db.execute(OUTAGES, values).all())


def lately(db: Database, upstream: str, limit: int) -> list[Row[Any]]:
    """The last times in which this upstream could not be called, newest first.

    Columns: `kind` (`open` or `held`), `began_at`, `ended_at` (null while it lasts), `reason`, and `by` of a hold.
    """
    return list(db.execute(LATELY, {"upstream": upstream, "limit": limit}).all())


def probe_now(db: Database, upstream: str, *, actor: str, reason: str) -> bool:
    """End the time of an open breaker, so that its probe goes at once; its answer decides as ever. Written in history.

    False when it is closed or half-open already: then there is nothing to wait for. Relays are woken when the caller
    commits. A hold is not ended by this.
    """
    if db.execute(PROBE_NOW, {"upstream": upstream}).one_or_none() is None:
        return False
    write_history(db, "breaker", upstream, "breaker.probed_now", actor=actor, detail={"reason": reason})
    db.execute(text(f"NOTIFY {WAKE_CHANNEL}"))
    return True


def closed_seconds(db: Database, upstream: str | None, since: datetime) -> float:
    """Seconds since `since` (aware) in which the upstream could be called: breaker closed, and no hold. A flow's budget
    runs in this time."""
    return float(db.execute(CLOSED_SECONDS, {"upstream": upstream, "since": since}).scalar_one())
