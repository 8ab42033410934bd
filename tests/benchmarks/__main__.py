"""`python -m tests.benchmarks`: every measurement, or those that are named; the table, and 1 when a bar is missed.

Results are written to `build/bench/`. Whatever is compared runs on the same servers, in turn, in the same run.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
import traceback
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from tests.benchmarks import report
from tests.benchmarks.ground import ROOT, Ground
from tests.benchmarks.rows import MEASUREMENTS, Measurement, Row, Run

FOLDER = ROOT / "build" / "bench"
# In the order in which they run.
MODULES = (
    "posting",
    "starting",
    "jobs",
    "relaying",
    "travelling",
    "growing",
    "consoles",
    "idling",
    "slow_upstreams",
    "capacity",
)
NEEDED = ("procrastinate", "pgqueuer", "asyncpg", "psycopg", "matplotlib")
MISSING = (
    "not installed: {}. `make bench` installs requirements-bench.txt; by hand:"
    " {} -m pip install -r requirements-bench.txt"
)


def arguments() -> argparse.Namespace:
    for name in MODULES:
        import_module(f"tests.benchmarks.{name}")
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="measurement", help="only these; see --list")
    parser.add_argument("--list", action="store_true", help="the names of all measurements, and what each measures")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything that is compared takes its turn")
    parser.add_argument("--scale", type=float, default=1.0, help="less than 1 for a short look; says nothing of bars")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the results go")
    given = parser.parse_args()
    unknown = set(given.names) - MEASUREMENTS.keys()
    if unknown:
        parser.error(f"no measurement is called {', '.join(sorted(unknown))}; there are {', '.join(MEASUREMENTS)}")
    return given


def main() -> int:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(MISSING.format(", ".join(missing), sys.executable), file=sys.stderr)
        return 2
    given = arguments()
    if given.list:
        for each in MEASUREMENTS.values():
            print(f"{each.name:<12} {each.what}{'' if each.usual else ' (only when it is named)'}")
        return 0
    chosen = [each for each in MEASUREMENTS.values() if each.name in given.names or (each.usual and not given.names)]
    began = time.monotonic()
    shutil.rmtree(given.folder, ignore_errors=True)
    given.folder.mkdir(parents=True)

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s    {text}", flush=True)

    run = Run(given.rounds, given.scale, say)
    rows: list[Row] = []
    broken: list[str] = []
    with Ground(given.folder / "servers") as ground:
        for place, each in enumerate(chosen, 1):
            print(f"{time.monotonic() - began:6.0f} s  [{place}/{len(chosen)}] {each.name}: {each.what}", flush=True)
            since = time.monotonic()
            broken += measured(each, ground, run, rows)
            say(f"{each.name} took {time.monotonic() - since:.0f} s")
    shutil.rmtree(given.folder / "servers" / "valkey", ignore_errors=True)
    print("\n" + report.write(given.folder, rows, run, time.monotonic() - began))
    import_module("tests.benchmarks.plots").draw(given.folder, rows, run)
    missed = report.missed(rows)
    for text in [*broken, *missed]:
        print(f"missed: {text}")
    print(f"{len(rows)} rows, {len(missed)} bars missed, {len(broken)} measurements broken; plots in {given.folder}")
    return 1 if missed or broken else 0


def measured(each: Measurement, ground: Ground, run: Run, rows: list[Row]) -> list[str]:
    """Append its rows as they come. A measurement that fails is no reason to lose the others; its name and why."""
    try:
        for row in each.measure(ground, run):
            rows.append(row)
            run.say("= " + ", ".join(report.cells(row)[:6]))
    except Exception as error:
        traceback.print_exc()
        return [f"{each.name} could not be measured: {type(error).__name__}: {error}"]
    return []


if __name__ == "__main__":
    sys.exit(main())
