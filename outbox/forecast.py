"""Will the deadlines hold? What waits, in the order it will go, against the rate at which work was done lately."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from outbox.write import Database

RATE_MINUTES = 15

# A queue's rate is what its upstream's attempts brought to an end; what has no deadline left to miss is counted apart.
FORECAST = text("""
    WITH waiting AS (
        SELECT queue, upstream, deadline_at,
               row_number() OVER (PARTITION BY queue ORDER BY (deadline_at <= outbox_now()), deadline_at, id) AS place
          FROM outbox_messages WHERE state IN ('later', 'ready', 'published', 'running')
    ), rate AS (
        SELECT a.upstream, count(*) / (60.0 * :minutes) AS per_second
          FROM outbox_attempts a
         WHERE a.status IN ('success', 'expired') AND a.finished_at > outbox_now() - make_interval(mins => :minutes)
           AND a.started_at > outbox_now() - make_interval(mins => :minutes) - interval '1 day'
         GROUP BY a.upstream
    )
    SELECT w.queue, count(*) AS waiting, round(COALESCE(max(r.per_second), 0) * 60, 1)::float AS per_minute,
           count(*) FILTER (WHERE w.deadline_at <= outbox_now()) AS missed,
           count(*) FILTER (WHERE w.deadline_at > outbox_now() AND (r.per_second IS NULL OR w.deadline_at
                 < outbox_now() + make_interval(secs => (w.place / r.per_second)::float))) AS will_miss,
           round((count(*) / NULLIF(max(r.per_second), 0) / 60)::numeric, 1)::float AS minutes_to_empty
      FROM waiting w LEFT JOIN rate r ON r.upstream IS NOT DISTINCT FROM w.upstream
     GROUP BY w.queue ORDER BY w.queue
""")


@dataclass(frozen=True)
class Line:
    """One queue's outlook: `will_miss` at the present rate, `missed` already; at a standstill it is never empty."""

    queue: str
    waiting: int
    per_minute: float
    missed: int
    will_miss: int
    minutes_to_empty: float | None


def forecast(db: Database) -> list[Line]:
    """Every queue in which something waits. At a standstill whatever waits will miss its deadline."""
    return [Line(**row._mapping) for row in db.execute(FORECAST, {"minutes": RATE_MINUTES}).all()]
