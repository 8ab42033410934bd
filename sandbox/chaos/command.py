"""`make chaos`: the whole product under load while it is killed, frozen, flushed and lied to; then a tally.

It exits 0 only if nothing was lost, done twice, left untold or unaccounted for, and the run reached its bars.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import psycopg2
import redis
from rich.console import Console

from flaskapp.config import ConfigError
from sandbox import promises
from sandbox.chaos.audited import complaints
from sandbox.chaos.board import Board
from sandbox.chaos.crowd import Crowd
from sandbox.chaos.evidence import Evidence, gather
from sandbox.chaos.fleet import Fleet
from sandbox.chaos.ground import Ground
from sandbox.chaos.judge import held_promises, judge
from sandbox.chaos.storm import Storm
from sandbox.chaos.strikes import Aim, aims_for
from sandbox.chaos.tally import Bars, Tally, table_of_faults, table_of_promises
from sandbox.chaos.witness import Witness
from sandbox.demo import INTERRUPTED, PLAIN_WIDTH, fresh
from sandbox.faults import Control, Refused
from sandbox.run import STOPS, interrupt
from sandbox.server import ServerError
from sandbox.unprivileged import Unsafe

FOLDER = Path(".run/chaos")
SECONDS, SUBMISSIONS = 300.0, 10_000
# More faults than the bar requires.
FAULTS = 56
# A shorter run than this strikes every so many seconds and leaves out what lasts too long. It has no bar for the
# recovery, because its machine may have other work.
SHORT_SECONDS = 150.0
SHORT_GAP_SECONDS = 3.0
# Few people come, so one who is refused fifteen times is a large share of them.
SHORT_HELD_SHARE = 0.3
# People post for most of the time: a tenth more than required, and to the end if that was not enough. Then the
# outstanding work is finished.
POSTING, MARGIN = 0.88, 1.1
LAST_QUIET_SECONDS = 5.0
DRAIN_SECONDS, LAST_ANSWERS_SECONDS = 90.0, 20.0
LOOK_SECONDS = 0.1
# A run that has not ended so long after its time never will.
WATCHDOG_SECONDS = 240.0
SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser, submissions: int = SUBMISSIONS, folder: Path = FOLDER) -> None:
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long it takes without start and tally")
    parser.add_argument("--seed", type=int, help="the order of the faults; drawn and printed when not given")
    parser.add_argument(
        "--least-submissions", type=int, default=submissions, help="the bar, and what the pace is computed from"
    )
    parser.set_defaults(folder=folder)


def run(arguments: argparse.Namespace) -> int:
    """Run it in this folder's checkout: 0 when everything was kept and every bar reached, 130 after Ctrl-C, else 1."""
    short = arguments.seconds < SHORT_SECONDS
    least = arguments.least_submissions
    bars = Bars(least, 12, 8, math.inf, SHORT_HELD_SHARE) if short else Bars(least, 50, 12)

    def play(folder: Path, console: Console) -> tuple[str, int]:
        with (
            Fleet(Path.cwd(), folder, console.print) as fleet,
            watched(fleet, arguments.seconds + WATCHDOG_SECONDS),
            closing(Control(fleet.upstreams["control"])) as control,
        ):
            faults = faults_in(arguments.seconds)
            return endure(Ground(fleet, control), aims_for(short), faults, bars, arguments, console)

    return played(play, arguments.folder)


def played(play: Callable[[Path, Console], tuple[str, int]], folder: Path) -> int:
    """Play it in this folder, emptied before, and print its last line; the exit code, also after Ctrl-C or a failure
    to start."""
    for number in STOPS:
        signal.signal(number, interrupt)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    try:
        with fresh(folder) as emptied:
            line, code = play(emptied, console)
    except KeyboardInterrupt:
        console.print("Interrupted; everything is stopped.")
        return INTERRUPTED
    except (ConfigError, ServerError, Unsafe, OSError, Refused, psycopg2.Error, redis.RedisError) as error:
        print(f"surefile: {error}", file=sys.stderr, flush=True)
        return 1
    print(line, flush=True)
    return code


@contextmanager
def watched(fleet: Fleet, seconds: float) -> Iterator[None]:
    """End everything after so many seconds. The kernel ends what we started when we end; only a frozen process would
    not end, so those are killed first."""

    def end() -> None:
        print(f"surefile: not at its end after {seconds:.0f} s", file=sys.stderr, flush=True)
        for process in fleet.crew.processes.values():
            process.signal(signal.SIGKILL)
        os._exit(1)

    watchdog = threading.Timer(seconds, end)
    watchdog.daemon = True
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()


def endure(
    ground: Ground,
    aims: Mapping[str, Aim],
    faults: int,
    bars: Bars,
    arguments: argparse.Namespace,
    console: Console,
) -> tuple[str, int]:
    """Post and strike so many times, finish the outstanding work, and judge: the last line, and the exit code."""
    fleet = ground.fleet
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    console.print(f"seed {seed}: with `--seed {seed}` it strikes in the same order")
    with closing(Witness(fleet.database_url)) as witness:
        crowd = Crowd(fleet.doors, fleet.upstreams["control"], pace_of(arguments))
        storm = Storm(ground, crowd, witness, random.Random(seed), aims)
        with Board(console, crowd, storm, witness):
            weather(ground, crowd, storm, witness, arguments, faults)
        evidence = gather(fleet.database_url, ground.control, crowd.promises)
    # Beside the logs, for people who read them: who came, and what each was promised.
    (fleet.folder / "promises.json").write_text(json.dumps([asdict(promise) for promise in evidence.promises]))
    return tell(fleet, crowd, storm, evidence, bars, console)


def pace_of(arguments: argparse.Namespace) -> float:
    return float(MARGIN * arguments.least_submissions / (POSTING * arguments.seconds))


def weather(
    ground: Ground, crowd: Crowd, storm: Storm, witness: Witness, arguments: argparse.Namespace, faults: int
) -> None:
    """Posting and faults side by side, then quiet until nothing is outstanding."""
    ground.prepare()
    crowd.start()
    began, posting = time.monotonic(), POSTING * arguments.seconds
    storm.rage(posting - LAST_QUIET_SECONDS, faults)
    ground.heal()
    # A short run may have a busy machine: its people post until they are enough.
    last = math.inf if arguments.seconds < SHORT_SECONDS else began + arguments.seconds
    while time.monotonic() < began + posting or (
        len(crowd.promises) < arguments.least_submissions and time.monotonic() < last
    ):
        ground.fleet.tend(set())
        time.sleep(LOOK_SECONDS)
    crowd.close()
    drain(ground, witness, DRAIN_SECONDS)
    crowd.finish(LAST_ANSWERS_SECONDS)
    storm.settle()
    drain(ground, witness, DRAIN_SECONDS)


def faults_in(seconds: float) -> int:
    posting = POSTING * seconds
    return round(posting / SHORT_GAP_SECONDS) if seconds < SHORT_SECONDS else round(FAULTS * seconds / SECONDS)


def drain(ground: Ground, witness: Witness, seconds: float) -> None:
    """Wait until no work is outstanding and no document under way. What takes longer is judged as it stands."""
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        ground.fleet.tend(set())
        counts = witness.counts()
        if counts is not None and counts[1:] == (0, 0):
            return
        time.sleep(LOOK_SECONDS)


def tell(fleet: Fleet, crowd: Crowd, storm: Storm, evidence: Evidence, bars: Bars, console: Console) -> tuple[str, int]:
    report, _ = promises.audit(fleet)
    surprises = [
        *(f"odd answer: {each}" for each in crowd.odd),
        *(f"{name} ended by itself" for name in fleet.ended),
        *complaints(report),
    ]
    unaccounted = int(report["unaccounted"])
    tally = Tally(evidence.promises, storm.faults, judge(evidence), unaccounted, surprises, held_promises(evidence))
    console.print(table_of_faults(storm.faults))
    console.print(table_of_promises(tally, arrivals(evidence)))
    console.print(
        f"requests repeated: {', '.join(f'{why} ×{times}' for why, times in crowd.troubles.items()) or 'never'}"
    )
    wrong = {"lost": tally.verdicts.lost, "duplicate": tally.verdicts.duplicate, "untold": tally.verdicts.untold}
    for what, found in wrong.items():
        for each in found[:SHOWN]:
            console.print(f"[red]{what}[/]: {each}", soft_wrap=True)
    shortfalls = list(tally.shortfalls(bars))
    for shortfall in shortfalls[:SHOWN]:
        console.print(f"[red]not reached[/]: {shortfall}", soft_wrap=True)
    if shortfalls:
        console.print(f"logs: {fleet.folder / 'logs'}")
    return tally.line(), 1 if shortfalls else 0


def arrivals(evidence: Evidence) -> Mapping[str, float]:
    """When each notification arrived, by the key of its promise and this machine's clock."""
    subjects = {(row["flow"], row["id"]): row["key"] for row in evidence.subjects}
    notifications = {
        row["id"]: subjects.get((row["subject_type"], row["subject_id"])) for row in evidence.notifications
    }
    taken: dict[str, float] = {}
    for send in evidence.sends:
        key = notifications.get(send["reference"])
        if key is not None and send["at"] is not None:
            taken.setdefault(key, datetime.fromisoformat(send["at"]).timestamp())
    return taken
