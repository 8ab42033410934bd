"""`python -m sandbox day`: one Monday in minutes on the real system, and whether it went as the constants predict.

The rate of its busiest hour is real; only the hours are shorter. First it measures what one dyno of each kind bears:
how long a submission takes while nobody else comes, and how many a second are told out of a backlog. From these
constants, and from when people came, it predicts the backlog and the time until they are told. Then it compares. It
exits 0 only if nothing was lost, done twice, left untold or unaccounted for, and the prediction held.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sandbox import promises
from sandbox.chaos.audited import complaints
from sandbox.chaos.command import DRAIN_SECONDS, LAST_ANSWERS_SECONDS, arrivals, drain, played, watched
from sandbox.chaos.crowd import Closed, Crowd
from sandbox.chaos.evidence import Evidence, gather
from sandbox.chaos.fleet import Fleet
from sandbox.chaos.ground import Ground
from sandbox.chaos.journeys import FLOWS, Promise
from sandbox.chaos.judge import judge
from sandbox.chaos.witness import Witness
from sandbox.faults import Control
from sandbox.servers import EmbeddedPostgres
from sandbox.system import System

FOLDER = Path(".run/day")
MINUTES, PEAK = 5.0, 20.0
# Of a thousand submissions of a Monday, how many come in each hour: an assumption, see docs/capacity.md.
MONDAY = (4, 3, 3, 3, 5, 12, 32, 68, 98, 108, 104, 88, 72, 82, 78, 66, 48, 34, 26, 22, 18, 13, 8, 5)
ALONE_TIMES, BACKLOG, BACKLOG_PER_SECOND, MOST_SECONDS = 3, 240, 1_000.0, 240.0
# The prediction holds when what was measured is at most so many times as large, or larger by less than this.
TIMES, ROOM_SECONDS, ROOM_SUBMISSIONS = 2.0, 2.0, 20.0
LINE_SECONDS = 10.0
STEP_SECONDS = 0.1


@dataclass(frozen=True)
class Constants:
    """What one dyno of each kind bears here: submissions that are told a second out of a backlog, those that are
    accepted a second, and the seconds a submission of each flow takes while nobody else comes."""

    told_per_second: float
    accepted_per_second: float
    alone: Mapping[str, float]


@dataclass(frozen=True)
class Course:
    """How a day went, or was to go: the largest backlog, and seconds from the answer until a person was told."""

    backlog: float
    p50: float
    p99: float


class Dynos(Fleet):
    """One dyno of each kind as shipped, on a PostgreSQL that waits for its disk."""

    more: Mapping[str, str] = {}

    def __init__(self, root: Path, folder: Path, say: Callable[[str], None]) -> None:
        super().__init__(root, folder, say)
        self.postgres = EmbeddedPostgres(folder / "postgres")

    def _processes(self) -> None:
        System._processes(self)


class Monday(Crowd):
    """People who come as on a Monday that lasts `seconds`, `peak` a second in its busiest hour."""

    def __init__(self, doors: Sequence[str], control_url: str, seconds: float, peak: float) -> None:
        super().__init__(doors, control_url, peak)
        self.seconds = seconds
        self.peak = peak
        self.began = 0.0
        self._numbers = itertools.count()

    def when(self, number: float) -> float:
        """When the submission of this number comes, in seconds after midnight: infinite if it is not on this day."""
        hour = self.seconds / len(MONDAY)
        for place, share in enumerate(MONDAY):
            come = self.peak * share / max(MONDAY) * hour
            if number < come:
                return (place + number / come) * hour
            number -= come
        return math.inf

    def start(self) -> None:
        self.began = time.monotonic()
        super().start()

    def _turn(self) -> None:
        with self._lock:
            turn = self.began + self.when(next(self._numbers))
        midnight = self.began + self.seconds
        # Many hands hold turns that are far ahead at night: whose turn is tomorrow waits until the others had theirs.
        if self._closed.wait(max(0.0, min(turn, midnight) - time.monotonic())) or turn > midnight:
            self._closed.set()
            raise Closed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long the day takes")
    parser.add_argument("--peak", type=float, default=PEAK, help="submissions a second in its busiest hour")
    parser.set_defaults(folder=FOLDER)


def run(arguments: argparse.Namespace) -> int:
    """Play it in this folder's checkout: 0 when everything was kept and went as predicted, 130 after Ctrl-C, else 1."""
    seconds = 60 * arguments.minutes

    def play(folder: Path, console: Console) -> tuple[str, int]:
        with (
            Dynos(Path.cwd(), folder, console.print) as fleet,
            watched(fleet, seconds + 3 * MOST_SECONDS),
            closing(Control(fleet.upstreams["control"])) as control,
            closing(Witness(fleet.database_url)) as witness,
        ):
            ground = Ground(fleet, control)
            ground.prepare()
            constants, before = calibrated(ground, witness, console)
            day = Monday(fleet.doors, fleet.upstreams["control"], seconds, arguments.peak)
            lived(ground, day, witness, console)
            evidence = gather(fleet.database_url, control, [*before, *day.promises])
            (folder / "promises.json").write_text(json.dumps([asdict(each) for each in day.promises]))
            return told_of(fleet, day, constants, evidence, console)

    return played(play, arguments.folder)


# -- constants ----------------------------------------------------------------


def calibrated(ground: Ground, witness: Witness, console: Console) -> tuple[Constants, list[Promise]]:
    """The constants of this machine, and what was promised while they were measured."""
    fleet = ground.fleet
    crowd = Crowd(fleet.doors, fleet.upstreams["control"], BACKLOG_PER_SECOND)
    console.print("Measuring: one submission of each flow at a time ...")
    for flow in FLOWS:
        for _ in range(ALONE_TIMES):
            assert crowd.submit(flow) is not None, f"nobody answered a submission of {flow}"
            drain(ground, witness, MOST_SECONDS)
    alone_count = len(crowd.promises)
    console.print(f"Measuring: a backlog of {BACKLOG} submissions ...")
    worker = fleet.crew["worker"]
    worker.terminate()
    began = time.monotonic()
    crowd.start()
    while len(crowd.promises) < alone_count + BACKLOG:
        time.sleep(STEP_SECONDS)
    crowd.close()
    accepted = BACKLOG / (time.monotonic() - began)
    crowd.finish(LAST_ANSWERS_SECONDS)
    worker.start()
    drain(ground, witness, MOST_SECONDS)
    evidence = gather(fleet.database_url, ground.control, crowd.promises)
    arrived = arrivals(evidence)
    waits: dict[str, list[float]] = defaultdict(list)
    for promise in crowd.promises[:alone_count]:
        waits[promise.flow].append(arrived[promise.key] - promise.accepted_at)
    alone = {flow: sorted(found)[len(found) // 2] for flow, found in waits.items()}
    constants = Constants(pace_of(crowd.promises[alone_count:], arrived), accepted, alone)
    console.print(
        f"One dyno of each kind: {constants.accepted_per_second:.1f} accepted and {constants.told_per_second:.1f} told"
        f" a second; alone, told after {', '.join(f'{flow} {wait:.1f} s' for flow, wait in alone.items())}"
    )
    return constants, list(crowd.promises)


def pace_of(backlog: Sequence[Promise], arrived: Mapping[str, float]) -> float:
    """How many of a backlog were told a second, in the middle of its time: its start and its end are slower."""
    times = sorted(arrived[promise.key] for promise in backlog if promise.key in arrived)
    first, last = len(times) // 10, len(times) * 9 // 10
    return (last - first) / max(times[last] - times[first], 0.001)


# -- the day ------------------------------------------------------------------


def lived(ground: Ground, day: Monday, witness: Witness, console: Console) -> None:
    """Everybody comes, and everything outstanding is finished."""
    day.start()
    said = 0.0
    while time.monotonic() < day.began + day.seconds:
        ground.fleet.tend(set())
        time.sleep(STEP_SECONDS)
        if time.monotonic() - said >= LINE_SECONDS:
            said = time.monotonic()
            clock = 24 * (said - day.began) / day.seconds
            outstanding = (witness.counts() or (0, 0, 0))[1]
            console.print(f"{clock:5.1f} h  {len(day.promises)} posted, {outstanding} messages outstanding")
    day.finish(LAST_ANSWERS_SECONDS)
    drain(ground, witness, DRAIN_SECONDS)


def expected(promises_made: Sequence[Promise], constants: Constants) -> tuple[Course, dict[str, float]]:
    """Backlog and waits by the constants: one queue that is served at a steady pace, behind the time of each flow.

    And the predicted wait of each promise, by its key.
    """
    free_at, most, waits = 0.0, 0.0, {}
    for promise in sorted(promises_made, key=lambda promise: promise.accepted_at):
        begins = max(promise.accepted_at, free_at)
        free_at = begins + 1 / constants.told_per_second
        waits[promise.key] = begins - promise.accepted_at + constants.alone[promise.flow]
    leaves = {promise.key: promise.accepted_at + waits[promise.key] for promise in promises_made}
    most = largest_backlog(promises_made, leaves)
    return Course(most, *middle_and_end(list(waits.values()))), waits


def largest_backlog(promises_made: Sequence[Promise], told_at: Mapping[str, float]) -> float:
    """How many had an answer and were not told yet, at the most."""
    steps = [(promise.accepted_at, 1) for promise in promises_made]
    steps += [(told_at[promise.key], -1) for promise in promises_made if promise.key in told_at]
    most = now = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return float(most)


def middle_and_end(waits: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(waits) or [float("inf")]
    return ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]


def shortfalls(measured: Course, predicted: Course) -> list[str]:
    """In what the day went worse than predicted."""
    found = []
    for what, room in (("backlog", ROOM_SUBMISSIONS), ("p50", ROOM_SECONDS), ("p99", ROOM_SECONDS)):
        was, was_to_be = getattr(measured, what), getattr(predicted, what)
        if was > max(TIMES * was_to_be, was_to_be + room):
            found.append(f"{what}: {was:.1f}, predicted {was_to_be:.1f}")
    return found


def told_of(fleet: Dynos, day: Monday, constants: Constants, evidence: Evidence, console: Console) -> tuple[str, int]:
    """Print the day by its hours; its last line and the exit code."""
    arrived = arrivals(evidence)
    predicted, waits = expected(day.promises, constants)
    real = {each.key: arrived[each.key] - each.accepted_at for each in day.promises if each.key in arrived}
    measured = Course(largest_backlog(day.promises, arrived), *middle_and_end(list(real.values())))
    console.print(hours(day, waits, real))
    verdicts = judge(evidence)
    report, _ = promises.audit(fleet)
    unaccounted = int(report["unaccounted"])
    wrong = {"lost": verdicts.lost, "duplicate": verdicts.duplicate, "untold": verdicts.untold}
    reasons = [f"{what}: {each}" for what, found in wrong.items() for each in found]
    reasons += [f"odd answer: {each}" for each in day.odd]
    reasons += [f"{name} ended by itself" for name in fleet.ended]
    reasons += complaints(report)
    reasons += [f"unaccounted: {unaccounted}"] if unaccounted else []
    reasons += shortfalls(measured, predicted)
    for reason in reasons[:20]:
        console.print(f"[red]not reached[/]: {reason}", soft_wrap=True)
    line = (
        f"day: {len(day.promises)} submissions, {day.peak:g}/s at the peak; backlog {measured.backlog:.0f} (predicted"
        f" {predicted.backlog:.0f}), told after p50 {measured.p50:.1f} s ({predicted.p50:.1f}) p99 {measured.p99:.1f} s"
        f" ({predicted.p99:.1f}); lost {len(verdicts.lost)}, duplicate {len(verdicts.duplicate)}, untold"
        f" {len(verdicts.untold)}, unaccounted {unaccounted}"
    )
    return line, 1 if reasons else 0


def hours(day: Monday, predicted: Mapping[str, float], real: Mapping[str, float]) -> Table:
    """Every two hours of the day: who came, and after how many seconds they were told, as predicted and in truth."""
    table = Table(box=SIMPLE_HEAD, title="The day", title_justify="left")
    for name in ("hours", "submissions", "a second", "told after p50 s", "predicted", "p99 s", "predicted"):
        table.add_column(name, justify="right")
    if not day.promises:
        return table
    first = min(promise.accepted_at for promise in day.promises)
    length = day.seconds / 12
    for number in range(12):
        came = [each for each in day.promises if number <= (each.accepted_at - first) / length < number + 1]
        was = middle_and_end([real[each.key] for each in came if each.key in real])
        was_to_be = middle_and_end([predicted[each.key] for each in came])
        figures = (was[0], was_to_be[0], was[1], was_to_be[1])
        table.add_row(
            f"{2 * number}-{2 * number + 2}",
            str(len(came)),
            f"{len(came) / length:.1f}",
            *(f"{seconds:.1f}" if came else "-" for seconds in figures),
        )
    return table
