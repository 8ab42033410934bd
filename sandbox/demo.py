"""`make demo`: one scripted story through every outcome, then a table of what became of each promise.

It exits 0 only if every promise was kept. This is judged by Postgres, the phone and the upstreams' books.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
from rich.console import Console

from flaskapp.config import ConfigError
from sandbox import (
    promises,
    promises_claims,
    promises_documents,
    promises_form526,
    promises_itf,
    promises_travel_pay,
    story_form526,
    story_travel_pay,
)
from sandbox.board import Board, table_of
from sandbox.faults import Control, Refused
from sandbox.promises import Verdict, Witnesses
from sandbox.run import STOPS, interrupt
from sandbox.server import ServerError
from sandbox.stage import Promise, Scene, Stage, Stuck
from sandbox.story import introduce, newcomers, scenes
from sandbox.story_claims import ClaimPromise
from sandbox.story_form526 import FormPromise
from sandbox.story_itf import AWAY, ITFPromise
from sandbox.story_travel_pay import TravelPayPromise
from sandbox.system import System
from sandbox.unprivileged import Unsafe

FOLDER = Path(".run/demo")
INTERRUPTED = 130
PLAIN_WIDTH = 240
# Servers to tell the story on, instead of our own.
SERVERS = ("DATABASE_URL", "DATABASE_DIRECT_URL", "REDIS_URL", "REDIS_VERIFY_TLS")

# Hours become seconds. The rules stay as they are; only the clocks that they wait for run faster.
COMPRESSED = {
    "RETRY_SCALE": "0.05",
    "VEIS_TOTAL_SECONDS": "5",
    "BTSSS_TOTAL_SECONDS": "5",
    "BTSSS_CONFIRM_SECONDS": "6",
    "BTSSS_CLOCK_SKEW_SECONDS": "1",
    "VANOTIFY_TOTAL_SECONDS": "5",
    "VANOTIFY_CONFIRM_SECONDS": "6",
    "ACCOUNTS_TOTAL_SECONDS": "5",
    "LIGHTHOUSE_TOTAL_SECONDS": "5",
    "LIGHTHOUSE_CONFIRM_SECONDS": "6",
    "FORM526_TOTAL_SECONDS": "5",
    "FORM526_CONFIRM_SECONDS": "6",
    "DOCUMENT_UPLOAD_SECONDS": "5",
    "DOCUMENT_STATUS_SECONDS": "5",
    "DOCUMENT_POLL_MINUTES": "0.05",
    "TRAVEL_PAY_TOTAL_SECONDS": "5",
    "TRAVEL_PAY_CONFIRM_SECONDS": "6",
    "TRAVEL_PAY_WAIT_SECONDS": str(story_travel_pay.WAIT_SECONDS),
    "STS_TOTAL_SECONDS": "5",
    "VA_PROFILE_TOTAL_SECONDS": "5",
    "METRICS_KEEP_SECONDS": "0",
    "BREAKER_OPEN_SECONDS": "1",
    "BREAKER_CAP_SECONDS": "4",
    "CASE_OWNER_TRAVEL_CLAIM": "rosa.alvarez",
    "CASE_OWNER_INTENT_TO_FILE": "tara.okonkwo",
    "CASE_OWNER_FORM526": "uri.lindholm",
    "CASE_OWNER_TRAVEL_PAY": "vera.castellan",
    "CASE_OWNER_NOTIFICATION": "sam.whitfield",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(folder=FOLDER)


def run(arguments: argparse.Namespace) -> int:
    """Play the story in this folder's checkout: 0 when every promise was kept, 130 after Ctrl-C, else 1."""
    for number in STOPS:
        signal.signal(number, interrupt)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    try:
        with fresh(arguments.folder) as folder, system_in(folder, console) as system:
            line, code = tell(system, console)
    except KeyboardInterrupt:
        console.print("Interrupted; everything is stopped.")
        return INTERRUPTED
    except (ConfigError, ServerError, Unsafe, OSError, Stuck, Refused, psycopg2.Error) as error:
        print(f"surefile: {error}", file=sys.stderr, flush=True)
        return 1
    print(line, flush=True)
    return code


@contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """The folder, emptied, and locked for us until the block ends. Its logs stay for people who want to read them."""
    folder.parent.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServerError("a demo is running in this checkout already") from None
        shutil.rmtree(folder, ignore_errors=True)
        yield folder


def system_in(folder: Path, console: Console) -> System:
    """The product as `make run` starts it, on free ports. Counts start at zero: servers that you name must be empty."""
    named = {name: os.environ[name] for name in SERVERS if os.environ.get(name)}
    return System(Path.cwd(), environ={**named, **COMPRESSED}, folder=folder, say=console.print)


def tell(system: System, console: Console) -> tuple[str, int]:
    """Play every scene, wait until everybody is notified, and judge: the last line, and the exit code."""
    control = Control(system.upstreams["control"])
    witnesses = Witnesses(system.environment["DATABASE_URL"], control)
    try:
        crowd = newcomers()
        introduce(control, crowd)
        control.turn("documents", **story_form526.KNOBS)
        made, to_the_end = play(system, control, witnesses, scenes(crowd), console)
        line, kept = judge(system, witnesses, made, console)
        return line, 0 if kept and to_the_end else 1
    finally:
        witnesses.close()
        control.close()


def play(
    system: System, control: Control, witnesses: Witnesses, story: Sequence[Scene], console: Console
) -> tuple[list[Promise], bool]:
    """What was promised, kept in time or not, and whether the story came to its end."""
    to_the_end = False
    with Board(console, witnesses) as board:
        stage = Stage(system, control, witnesses.settled, board.begin, board.received)
        try:
            for scene in story:
                stage.play(scene)
            stage.until_settled()
            to_the_end = True
        except Stuck as stuck:
            console.print(f"[red]{stuck}[/]")
    return list(stage.promises.values()), to_the_end


def judge(system: System, witnesses: Witnesses, made: Sequence[Promise], console: Console) -> tuple[str, bool]:
    """The table, what broke and where to look, and the last line."""
    report, clean = promises.audit(system)
    claims = [promise for promise in made if isinstance(promise, ClaimPromise)]
    itfs = [promise for promise in made if isinstance(promise, ITFPromise)]
    forms = [promise for promise in made if isinstance(promise, FormPromise)]
    pays = [promise for promise in made if isinstance(promise, TravelPayPromise)]
    of_forms = promises_form526.verdicts(witnesses, forms)
    flows = {
        "travel claims": promises_claims.verdicts(witnesses, claims),
        "travel pay of the signed-in": promises_travel_pay.verdicts(witnesses, pays),
        "intents to file": promises_itf.verdicts(witnesses, itfs),
        "526 forms": of_forms[promises_form526.FLOW],
        "their documents": of_forms[promises_documents.FLOW],
    }
    console.print(table_of(flows, console.width))
    tell_waits(made, console)
    verdicts = [verdict for found in flows.values() for verdict in found]
    explain(system, verdicts, report, console)
    lost, unaccounted = sum(bool(verdict.faults) for verdict in verdicts), report["unaccounted"]
    line = f"promises: {len(verdicts)} made, {len(verdicts) - lost} kept, {lost} broken, {unaccounted} unaccounted"
    counted = {
        promises_claims.FLOW: len(claims),
        promises_travel_pay.FLOW: len(pays),
        promises_itf.FLOW: len(itfs),
        promises_form526.FLOW: len(forms),
        promises_documents.FLOW: sum(len(form.documents) for form in forms),
    }
    return line, bool(made) and clean and not lost and audited(report) == counted


def audited(report: Mapping[str, Any]) -> dict[str, int]:
    """How many of each flow the audit found, however they stand."""
    return {flow: sum(standings.values()) for flow, standings in report["standings"].items()}


def tell_waits(made: Sequence[Promise], console: Console) -> None:
    """How long people had to wait for us. An upstream that is away makes no difference to it."""
    waits: tuple[tuple[str, type[Promise], str | None], ...] = (
        ("travel claim, POST to 202", ClaimPromise, None),
        ("travel pay of the signed-in, POST to 201 or 202", TravelPayPromise, None),
        ("the same with Travel Pay away", TravelPayPromise, story_travel_pay.AWAY),
        ("intent to file, until the person goes on with the form", ITFPromise, None),
        ("the same with Lighthouse away", ITFPromise, AWAY),
        ("526 form, POST to 202", FormPromise, None),
        ("the same with the 526 service away", FormPromise, story_form526.AWAY),
    )
    for what, kind, scene in waits:
        found = [each.answer_ms for each in made if isinstance(each, kind) and scene in (None, each.scene)]
        if found:
            console.print(f"{what}: median {statistics.median(found):.0f} ms, slowest {max(found):.0f} ms")


def explain(system: System, verdicts: Sequence[Verdict], report: Mapping[str, Any], console: Console) -> None:
    """Each broken promise with its reasons and its message ids, by which the log can be searched."""
    logs = system.folder / "logs"
    for verdict in verdicts:
        if verdict.faults:
            who = f"{verdict.who} ({verdict.scene})" if verdict.who else "nobody"
            console.print(f"[red]broken[/]: {who}, {verdict.subject}: {'; '.join(verdict.faults)}")
            messages = ", ".join(map(str, verdict.messages)) or "none"
            console.print(f"        its messages: {messages}; their log: {logs / 'worker.log'}")
    found = {name: report[name] for name in ("findings", "broken", "faults") if report[name]}
    if found or report["trace"]["illegal"]:
        console.print(f"the audit finds: {found} {report['trace']['illegal']}; logs: {logs}")
