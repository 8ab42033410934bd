"""Forecast of deadlines: what waits, in the order it will go, against the rate at which work was done lately."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text

from outbox.holds import STANDS
from outbox.write import Database

RATE_MINUTES = 15

# All that waits for an upstream waits in one line, whatever its queue: the rate is the upstream's. While it is held,
# that is the rate before the hold, and nothing goes before the hold ends. Nobody knows when an outage ends, only when
# the next probe goes. Work that was enqueued with its deadline already passed has none to miss: it goes behind all
# other.
#
# There may be a million messages, so they are read once, and not sorted: those whose time to the deadline differs by
# less than a hundredth are forecast as one group with the earliest deadline among them. `OFFSET 0` keeps the planner
# from expecting as many groups as there are deadlines, for which it would sort.
OUTLOOK = text(f"""
    WITH clock AS MATERIALIZED (
        SELECT outbox_now() AS now
    ), grouped AS MATERIALIZED (
        SELECT queue, upstream, state, is_late, is_dated, distance,
               count(*) AS messages, min(created_at) AS created_at, min(deadline_at) AS deadline_at, min(id) AS id,
               min(due_at) AS due_at,
               count(*) FILTER (WHERE deadline_at < due_at) AS due_too_late
          FROM (SELECT queue, upstream, state, created_at, deadline_at, due_at, id,
                       deadline_at <= now AS is_late, deadline_at <> budget_from AS is_dated,
                       CASE WHEN deadline_at > now
                            THEN floor(100 * ln(GREATEST(1, date_part('epoch', deadline_at - now)))) END AS distance
                  FROM outbox_messages, clock OFFSET 0) AS measured
         GROUP BY queue, upstream, state, is_late, is_dated, distance
    ), waiting AS (
        SELECT *, sum(messages) OVER (
                   PARTITION BY upstream ORDER BY is_late, distance, deadline_at, id ROWS UNBOUNDED PRECEDING
               )::float AS place
          FROM grouped WHERE state <> 'parked'
    ), breakers AS (
        SELECT w.upstream, GREATEST(now, b.open_until, max(h.ends_at)) AS goes_at,
               COALESCE(min(h.starts_at), now) AS went_until
          FROM clock, (SELECT DISTINCT upstream FROM waiting) w
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
        SELECT w.*, r.per_second, r.goes_at + make_interval(secs => w.place / r.per_second) AS done_at,
               -- So many of the group are done by its deadline.
               LEAST(w.messages, GREATEST(0, COALESCE(floor(
                   extract(epoch FROM w.deadline_at - r.goes_at)::float * r.per_second
               ) - (w.place - w.messages), 0))) AS in_time
          FROM waiting w JOIN rates r ON r.upstream = w.upstream OR r.upstream IS NULL AND w.upstream IS NULL
    ), lines AS (
        SELECT queue, sum(messages)::int AS waiting,
               round((COALESCE(max(per_second), 0) * 60)::numeric, 1)::float AS per_minute,
               COALESCE(sum(messages) FILTER (WHERE is_dated AND is_late), 0)::int AS missed,
               COALESCE(sum(GREATEST(messages - in_time, due_too_late)) FILTER (WHERE NOT is_late), 0)::int
                   AS will_miss,
               round(extract(epoch FROM max(done_at) - now) / 60, 1)::float AS minutes_to_empty
          FROM outlook, clock GROUP BY queue, now
    )
    SELECT queue, g.state, g.upstream, sum(g.messages)::int AS messages,
           extract(epoch FROM min(g.created_at))::float AS added, extract(epoch FROM min(g.due_at))::float AS due,
           extract(epoch FROM min(g.deadline_at))::float AS deadline, extract(epoch FROM now)::float AS counted,
           waiting, per_minute, missed, will_miss, minutes_to_empty
      FROM clock, grouped g LEFT JOIN lines USING (queue)
     GROUP BY queue, g.state, g.upstream, now, waiting, per_minute, missed, will_miss, minutes_to_empty
     ORDER BY queue, g.state, g.upstream
""")
LINE = ("queue", "waiting", "per_minute", "missed", "will_miss", "minutes_to_empty")


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


def by_state(db: Database) -> list[Row[Any]]:
    """For each queue, state and upstream: `queue`, `state`, `upstream`, `messages`, of the earliest of each when it was
    `added`, became `due` and has its `deadline`, when this was `counted` (seconds since 1970), and beside it the
    queue's outlook, null where only parked messages are left. Only reads, and reads everything in one pass."""
    return list(db.execute(OUTLOOK, {"minutes": RATE_MINUTES}).all())


def lines_in(rows: Sequence[Row[Any]]) -> list[Line]:
    """The outlooks in what `by_state` found, one for each queue in which something waits."""
    found = {row.queue: {name: getattr(row, name) for name in LINE} for row in rows if row.waiting is not None}
    return [Line(**line) for line in found.values()]


def by_queue(db: Database) -> list[Line]:
    """The outlook of every queue in which something waits. Only reads.

    At a standstill all that waits will miss its deadline. Holds that begin later are not foreseen, nor the slow start
    after an outage.
    """
    return lines_in(by_state(db))
