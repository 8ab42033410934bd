"""Forecast of deadlines: what waits, in the order it will go, against the rate at which work was done lately."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from outbox.holds import STANDS
from outbox.write import Database

RATE_MINUTES = 15

# All that waits for an upstream waits in one line, whatever its queue: the rate is the upstream's. While it is held,
# that is the rate before the hold, and nothing goes before the hold ends. Nobody knows when an outage ends, only when
# the next probe goes. Work that was enqueued with its deadline already passed has none to miss: it goes behind all
# other. The time and the rates are computed once, not for each of what may be a million waiting messages.
FORECAST = text(f"""
    WITH clock AS MATERIALIZED (
        SELECT outbox_now() AS now
    ), waiting AS (
        SELECT queue, upstream, due_at, deadline_at,
               deadline_at <= now AS is_late, deadline_at <> budget_from AS is_dated,
               row_number() OVER (PARTITION BY upstream ORDER BY (deadline_at <= now), deadline_at, id) AS place
          FROM outbox_messages, clock WHERE state <> 'parked'
    ), breakers AS (
        SELECT w.upstream, GREATEST(now, b.open_until, max(h.ends_at)) AS goes_at,
               COALESCE(min(h.starts_at), now) AS went_until
          FROM clock, (SELECT DISTINCT upstream FROM outbox_messages WHERE state <> 'parked') w
          LEFT JOIN outbox_breakers b ON b.upstream = w.upstream
          LEFT JOIN outbox_breaker_holds h ON h.upstream = w.upstream AND {STANDS}
         GROUP BY w.upstream, b.open_until, now
    ), rates AS MATERIALIZED (
        SELECT upstream, goes_at, NULLIF((
                   SELECT count(*) FROM outbox_attempts a
                    WHERE (a.upstream = breakers.upstream OR a.upstream IS NULL AND breakers.upstream IS NULL)
                      AND a.answered AND a.status = 'success' AND a.finished_at <= went_until
                      AND a.finished_at > went_until - make_interval(mins => :minutes)
               ) / (60.0 * :minutes), 0)::float AS per_second
          FROM breakers
    ), outlook AS (
        SELECT w.*, r.per_second, r.goes_at + make_interval(secs => w.place / r.per_second) AS done_at
          FROM waiting w JOIN rates r ON r.upstream = w.upstream OR r.upstream IS NULL AND w.upstream IS NULL
    )
    SELECT queue, count(*) AS waiting, round((COALESCE(max(per_second), 0) * 60)::numeric, 1)::float AS per_minute,
           count(*) FILTER (WHERE is_dated AND is_late) AS missed,
           count(*) FILTER (WHERE NOT is_late AND (
               done_at IS NULL OR deadline_at < GREATEST(done_at, due_at))) AS will_miss,
           round(extract(epoch FROM max(done_at) - now) / 60, 1)::float AS minutes_to_empty
      FROM outlook, clock GROUP BY queue, now ORDER BY queue
""")


@dataclass(frozen=True)
class Line:
    """One queue's outlook: how many messages wait, how many missed their deadline (`missed`), and how many will miss it
    at the present rate (`will_miss`).

    `per_minute` is the rate of the upstream, all its queues together. `minutes_to_empty` is None at a standstill.
    """

    queue: str
    waiting: int
    per_minute: float
    missed: int
    will_miss: int
    minutes_to_empty: float | None


def by_queue(db: Database) -> list[Line]:
    """The outlook of every queue in which something waits. Only reads.

    At a standstill all that waits will miss its deadline. Holds that begin later are not foreseen, nor the slow start
    after an outage.
    """
    return [Line(**row._mapping) for row in db.execute(FORECAST, {"minutes": RATE_MINUTES}).all()]
