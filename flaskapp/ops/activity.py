"""What each flow did in the last day and week, from the stored counters: a funnel and plots for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from markupsafe import Markup
from sqlalchemy import text

from flaskapp.current import database_now, flows
from flaskapp.db import DbSession, transaction
from flaskapp.ops.plots import Line, bar, in_words, plot

FUNNEL = ("accepted", "filed", "told", "delivered")
FAILURES = ("failed", "undeliverable")
# How long each step of a plot is, what it is made of, and how long ago the plot begins.
DAY = ("the last day", "minute", timedelta(minutes=15), timedelta(days=1))
WEEK = ("the last week", "hour", timedelta(hours=2), timedelta(days=7))

COUNTED = text("""
    SELECT subject_type, event, date_bin(:step, began_at, :origin) AS step,
           CASE event WHEN 'waiting' THEN max(count) ELSE sum(count) END::float AS number,
           CASE event WHEN 'waiting' THEN max(seconds) ELSE sum(seconds) END AS seconds
      FROM work_counts WHERE width = :width AND began_at >= :origin GROUP BY 1, 2, 3
""")
LAST_COUNTED = text("SELECT max(began_at) FROM work_counts WHERE width = 'minute'")


@dataclass(frozen=True)
class Stage:
    """One stage of a funnel: how many reached it, and the share of those that were accepted."""

    name: str
    count: int
    bar: Markup


@dataclass(frozen=True)
class Seen:
    """What a flow did in a time: its funnel, how many failed, the mean seconds from request to filed, how many wait at
    most, and a plot of each."""

    name: str
    funnel: list[Stage]
    failures: int
    mean_seconds: float | None
    waiting: int
    plots: dict[str, Markup]


class Counts:
    """The counters of one time, by subject, event and step."""

    def __init__(self, session: DbSession, span: tuple[str, str, timedelta, timedelta], now: datetime) -> None:
        _, width, step, ago = span
        origin = now.replace(minute=0, second=0, microsecond=0) - ago
        self.steps = [origin + step * number for number in range(int((now - origin) / step) + 1)]
        values = {"width": width, "step": step, "origin": origin}
        self.found = {(row.subject_type, row.event, row.step): row for row in session.execute(COUNTED, values).all()}

    def line(self, subject: str, event: str) -> list[float | None]:
        """How often it happened in each step; None for steps in which nobody counted."""
        counted = [self.found.get((subject, "waiting", step)) is not None for step in self.steps]
        rows = [self.found.get((subject, event, step)) for step in self.steps]
        return [row.number if row else 0.0 if known else None for row, known in zip(rows, counted, strict=True)]

    def seconds(self, subject: str) -> list[float | None]:
        """The mean seconds from request to filed in each step; None where nothing was filed."""
        rows = [self.found.get((subject, "filed", step)) for step in self.steps]
        return [row.seconds / row.number if row else None for row in rows]

    def total(self, subject: str, *events: str) -> int:
        return int(sum(value or 0 for event in events for value in self.line(subject, event)))


def seen(counts: Counts, subject: str) -> Seen:
    accepted, filed, waiting = (counts.line(subject, event) for event in ("accepted", "filed", "waiting"))
    failed = [
        None if one is None or other is None else one + other
        for one, other in zip(*(counts.line(subject, event) for event in FAILURES), strict=True)
    ]
    times, steps = counts.seconds(subject), counts.steps
    done = counts.total(subject, "filed")
    whole = max(1, *(counts.total(subject, name) for name in FUNNEL))
    totals = {name: counts.total(subject, name) for name in FUNNEL}
    seconds = sum(row.seconds for (of, event, _), row in counts.found.items() if (of, event) == (subject, "filed"))
    return Seen(
        subject,
        [Stage(name, count, bar(count / whole)) for name, count in totals.items()],
        counts.total(subject, *FAILURES),
        seconds / done if done else None,
        int(max((value for value in waiting if value is not None), default=0)),
        {
            "rates": plot(
                [Line("accepted", accepted), Line("filed", filed)],
                f"{in_words('Accepted', accepted, steps)}. {in_words('Filed', filed, steps)}",
            ),
            "times": plot([Line("seconds", times)], in_words("Time to filed", times, steps, " s")),
            "waiting": plot([Line("waiting", waiting)], in_words("Waiting", waiting, steps)),
            "failures": plot([Line("failed", failed)], in_words("Failed", failed, steps)),
        },
    )


def activity() -> Mapping[str, Any]:
    """The values of the panel: both times, each with what every flow did that did anything."""
    with transaction() as session:
        now = database_now(session)
        counted_at = session.execute(LAST_COUNTED).scalar()
        spans: Sequence[tuple[str, list[Seen]]] = [
            (span[0], [seen(counts, name) for name in flows().submissions])
            for span in (DAY, WEEK)
            for counts in [Counts(session, span, now)]
        ]
    age = None if counted_at is None else (now - counted_at).total_seconds()
    return {"spans": spans, "age": age}
