"""Rows of the table, the measurements that make them, and the run that they belong to.

A measurement is a function that is given the ground and the run, and yields rows. Whatever is compared is measured in
the same run, round by round in turn, so that what else the machine does falls on all alike; medians count.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.ground import CORES, Ground

# Bars on two processes side by side: two cores are busy with one of them, PostgreSQL and the upstream.
CORES_FOR_TWO = 4


@dataclass(frozen=True)
class Row:
    """One line of the table. `bar` is a text, `met` None where nothing is judged; `ratio` is ours to the baseline.

    `unit` is that of `ours` and `baseline`; `against` says in words what the baseline is, or what else is to know.
    """

    name: str
    ours: float
    baseline: float | None
    ratio: float | None
    bar: str
    met: bool | None
    unit: str = ""
    against: str = ""


def ratio_of(ours: float, baseline: float) -> float:
    return ours / baseline if baseline else float("inf")


def at_least(name: str, ours: float, baseline: float, bar: float, unit: str, against: str, judged: bool = True) -> Row:
    ratio = ratio_of(ours, baseline)
    return Row(name, ours, baseline, ratio, f">= {bar:g} x", ratio >= bar if judged else None, unit, against)


def at_most(name: str, ours: float, baseline: float, bar: float, unit: str, against: str) -> Row:
    ratio = ratio_of(ours, baseline)
    return Row(name, ours, baseline, ratio, f"<= {bar:g} x", ratio <= bar, unit, against)


def no_more_than(name: str, ours: float, bar: float, unit: str, against: str = "") -> Row:
    """A bar that is no ratio."""
    return Row(name, ours, None, None, f"<= {bar:g} {unit}".rstrip(), ours <= bar, unit, against)


def no_less_than(name: str, ours: float, bar: float, unit: str, against: str = "") -> Row:
    return Row(name, ours, None, None, f">= {bar:g} {unit}".rstrip(), ours >= bar, unit, against)


def shown(name: str, ours: float, baseline: float | None, unit: str, against: str) -> Row:
    """A figure without a bar."""
    return Row(name, ours, baseline, ratio_of(ours, baseline) if baseline else None, "", None, unit, against)


@dataclass
class Run:
    """One run of the benchmarks. `rounds` and `lines` are what the plots show, by their titles."""

    repeats: int
    scale: float
    say: Callable[[str], None]
    rounds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    lines: dict[str, dict[str, list[tuple[float, float]]]] = field(default_factory=dict)
    known: dict[str, float] = field(default_factory=dict)

    def in_turn(
        self, title: str, competitors: Mapping[str, Callable[[], float]], repeats: int | None = None
    ) -> dict[str, float]:
        """The median of each competitor, by name, with the order turned round at every other round."""
        found: dict[str, list[float]] = {name: [] for name in competitors}
        for number in range(repeats or self.repeats):
            for name in list(competitors)[:: -1 if number % 2 else 1]:
                found[name].append(competitors[name]())
            medians = ", ".join(f"{name} {statistics.median(values):,.4g}" for name, values in found.items() if values)
            self.say(f"{title}, round {number + 1}: {medians}")
        self.rounds[title] = found
        return {name: statistics.median(values) for name, values in found.items()}

    def whole(self, number: float, least: int = 1) -> int:
        """A number of things, made smaller in a small run."""
        return max(least, round(number * self.scale))

    def seconds(self, seconds: float, least: float = 1.0) -> float:
        return max(least, seconds * self.scale)


Measure = Callable[[Ground, Run], Iterator[Row]]


@dataclass(frozen=True)
class Measurement:
    """`usual` is False for what runs only when it is named."""

    name: str
    measure: Measure
    usual: bool = True

    @property
    def what(self) -> str:
        return (self.measure.__doc__ or "").strip().splitlines()[0]


MEASUREMENTS: dict[str, Measurement] = {}


def measurement(name: str, usual: bool = True) -> Callable[[Measure], Measure]:
    """Enter a function under this name; its docstring says what it measures."""

    def enter(measure: Measure) -> Measure:
        MEASUREMENTS[name] = Measurement(name, measure, usual)
        return measure

    return enter


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def rate_until(done: Callable[[], bool], count: int, limit: float = 180.0) -> float:
    """So many things a second, from now until all are done."""
    began = time.perf_counter()
    while not done():
        assert time.perf_counter() - began < limit, f"not done after {limit:.0f} s"
        time.sleep(0.01)
    return count / (time.perf_counter() - began)


def as_json(row: Row) -> dict[str, Any]:
    """The fields that `results.json` promises. JSON knows nothing infinite: what never came is null."""
    fields = {name: getattr(row, name) for name in ("name", "ours", "baseline", "ratio", "bar", "met")}
    return {name: None if value == float("inf") else value for name, value in fields.items()}


def two_where_cores_allow() -> bool:
    return CORES >= CORES_FOR_TWO
