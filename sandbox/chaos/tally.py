"""The end of a chaos run: what was struck, how soon it worked again, what became of the promises, and one last line."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table

from sandbox.chaos.journeys import Promise
from sandbox.chaos.judge import Verdicts
from sandbox.chaos.storm import Fault


@dataclass(frozen=True)
class Bars:
    """What a run must reach: submissions, faults, kinds of faults, and seconds. `held_share` is the largest share of
    submissions that may be with humans in the end: of those at the clinic, a twentieth are refused or have no phone."""

    submissions: int
    faults: int
    kinds: int
    recovery_p50: float = 10.0
    held_share: float = 0.1


@dataclass(frozen=True)
class Tally:
    """`surprises` must be empty and are none of the four counts: odd answers, processes that ended by themselves, an
    audit that is not clean. `held` is how many of each flow a named human has."""

    promises: Sequence[Promise]
    faults: Sequence[Fault]
    verdicts: Verdicts
    unaccounted: int
    surprises: Sequence[str]
    held: Mapping[str, int]

    @property
    def recoveries(self) -> list[float]:
        return [fault.recovery for fault in self.faults] or [float("inf")]

    @property
    def kinds(self) -> int:
        return len({fault.kind for fault in self.faults})

    def line(self) -> str:
        found = self.verdicts
        return (
            f"chaos: {len(self.promises)} submissions, {len(self.faults)} faults of {self.kinds} kinds,"
            f" recovery p50 {statistics.median(self.recoveries):.1f} s max {max(self.recoveries):.1f} s,"
            f" lost {len(found.lost)}, duplicate {len(found.duplicate)}, untold {len(found.untold)},"
            f" unaccounted {self.unaccounted}"
        )

    def shortfalls(self, bars: Bars) -> Iterator[str]:
        """The reasons why this run does not pass; none when it passes."""
        p50 = statistics.median(self.recoveries)
        held, most = sum(self.held.values()), bars.held_share * len(self.promises)
        reached = (
            (len(self.promises) >= bars.submissions, f"{len(self.promises)} of {bars.submissions} submissions"),
            (len(self.faults) >= bars.faults, f"{len(self.faults)} of {bars.faults} faults"),
            (self.kinds >= bars.kinds, f"{self.kinds} of {bars.kinds} kinds of fault"),
            (p50 < bars.recovery_p50, f"recovery p50 {p50:.1f} s, to be under {bars.recovery_p50} s"),
            (max(self.recoveries) < math.inf, "after some fault nobody who posted was ever notified"),
            (held <= most, f"{held} left to humans, {most:.0f} at most"),
            (not self.verdicts.lost, f"{len(self.verdicts.lost)} lost"),
            (not self.verdicts.duplicate, f"{len(self.verdicts.duplicate)} duplicate"),
            (not self.verdicts.untold, f"{len(self.verdicts.untold)} untold"),
            (not self.unaccounted, f"{self.unaccounted} unaccounted"),
        )
        yield from (shortfall for holds, shortfall in reached if not holds)
        yield from self.surprises


def table_of_faults(faults: Sequence[Fault]) -> Table:
    """Each kind with its recoveries: seconds from when the struck thing was whole until somebody new was notified."""
    table = Table(box=SIMPLE_HEAD, title="What was struck", title_justify="left")
    table.add_column("fault")
    for name in ("struck", "recovery p50 s", "max s"):
        table.add_column(name, justify="right")
    by_kind: dict[str, list[float]] = defaultdict(list)
    for fault in faults:
        by_kind[fault.kind].append(fault.recovery)
    for kind, seconds in sorted(by_kind.items()):
        table.add_row(kind, str(len(seconds)), f"{statistics.median(seconds):.1f}", f"{max(seconds):.1f}")
    return table


def table_of_promises(tally: Tally, arrived: Mapping[str, float]) -> Table:
    """Each flow with its submissions, how many of them a human has, and how long it took until people were notified.

    `arrived` holds when each notification came, by key.
    """
    table = Table(box=SIMPLE_HEAD, title="What was requested", title_justify="left")
    table.add_column("flow")
    for name in ("submissions", "with a human", "notified after p50 s", "p99 s", "max s"):
        table.add_column(name, justify="right")
    for flow, count in sorted(Counter(promise.flow for promise in tally.promises).items()):
        made = [promise for promise in tally.promises if promise.flow == flow and promise.key in arrived]
        waits = sorted(arrived[promise.key] - promise.accepted_at for promise in made) or [float("inf")]
        percentiles = (waits[len(waits) // 2], waits[len(waits) * 99 // 100], waits[-1])
        table.add_row(flow, str(count), str(tally.held.get(flow, 0)), *(f"{seconds:.1f}" for seconds in percentiles))
    return table
