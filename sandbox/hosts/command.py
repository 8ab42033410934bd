"""`make chaos-hosts`: the product on many hosts of this one machine, which are cut off, frozen, slowed and failed over.

It exits 0 only if nothing was lost, done twice, left untold or unaccounted for, and the run reached its bars. Where
the machine allows no network namespaces, or has no pgbouncer, it says so and exits with 0: nothing was tried.
"""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from rich.console import Console

from sandbox.chaos import command as chaos
from sandbox.chaos.tally import Bars
from sandbox.faults import Control
from sandbox.hosts.fleet import HostsFleet
from sandbox.hosts.ground import HostsGround
from sandbox.hosts.network import Network, NotAllowed, check_allowed
from sandbox.hosts.strikes import AIMS
from sandbox.pgbouncer import find_pgbouncer

FOLDER = Path(".run/chaos-hosts")
SECONDS, SUBMISSIONS = 420.0, 3_000
# Each kind once, and a few twice.
FAULTS, LEAST_FAULTS, LEAST_KINDS = 26, 20, 10
RECOVERY_P50_SECONDS = 15.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    chaos.add_arguments(parser, SUBMISSIONS, FOLDER)
    parser.add_argument("--faults", type=int, default=FAULTS, help="how many times it strikes")
    parser.set_defaults(seconds=SECONDS)


def run(arguments: argparse.Namespace) -> int:
    """0 when everything was kept and every bar reached, or nothing could be tried; 130 after Ctrl-C, else 1."""
    try:
        check_allowed()
    except NotAllowed as reason:
        print(f"skipped: {reason}", flush=True)
        return 0
    if find_pgbouncer() is None:
        print("skipped: PgBouncer is not installed; the distribution's package is called pgbouncer", flush=True)
        return 0
    bars = Bars(
        arguments.least_submissions,
        min(LEAST_FAULTS, arguments.faults),
        min(LEAST_KINDS, arguments.faults),
        RECOVERY_P50_SECONDS,
    )

    def play(folder: Path, console: Console) -> tuple[str, int]:
        with (
            Network() as network,
            HostsFleet(Path.cwd(), folder, console.print, network) as fleet,
            chaos.watched(fleet, arguments.seconds + chaos.WATCHDOG_SECONDS),
            closing(Control(fleet.upstreams["control"])) as control,
        ):
            return chaos.endure(HostsGround(fleet, control), AIMS, arguments.faults, bars, arguments, console)

    return chaos.played(play, arguments.folder)
