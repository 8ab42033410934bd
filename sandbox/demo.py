"""`make demo`: one scripted story through every outcome, then a table of what became of each claim.

It exits 0 only if every promise was kept. What was kept is read from Postgres, the phone and BTSSS's book of claims.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from flaskapp.config import ConfigError
from sandbox import promises
from sandbox.faults import Control, Refused
from sandbox.promises import Evidence, Witnesses
from sandbox.run import STOPS, interrupt
from sandbox.server import ServerError, free_port
from sandbox.story import Promise, Scene, Stage, Stuck, introduce, newcomers, scenes
from sandbox.system import System
from sandbox.unprivileged import Unsafe

FOLDER = Path(".run/demo")
INTERRUPTED = 130
PLAIN_WIDTH = 180
REFRESH_SECONDS = 0.2
# Whether a column keeps to one line on a narrow terminal.
COLUMNS = {
    "who": True,
    "scene": False,
    "what happened upstream": False,
    "state": True,
    "text received": False,
    "seconds": True,
    "kept how": False,
}

# Hours become seconds. The rules stay as they are: only the clocks they wait by run faster.
COMPRESSED = {
    "RETRY_SCALE": "0.05",
    "VEIS_TOTAL_SECONDS": "5",
    "BTSSS_TOTAL_SECONDS": "5",
    "BTSSS_SETTLE_SECONDS": "6",
    "BTSSS_CLOCK_SKEW_SECONDS": "1",
    "VANOTIFY_TOTAL_SECONDS": "5",
    "VANOTIFY_SETTLE_SECONDS": "6",
    "GATE_CLOSE_SECONDS": "1",
    "GATE_CAP_SECONDS": "4",
    "CASE_OWNER_TRAVEL_CLAIM": "rosa.alvarez",
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
    """The folder, emptied, and ours alone until the block ends. Its logs stay for whoever wants to read them."""
    folder.parent.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServerError("a demo is running in this checkout already") from None
        shutil.rmtree(folder, ignore_errors=True)
        yield folder


def system_in(folder: Path, console: Console) -> System:
    """The product as `make run` starts it, on free ports and always with servers of its own: counts start at zero."""
    return System(Path.cwd(), port=free_port(), environ=COMPRESSED, folder=folder, upstream_ports={}, say=console.print)


def tell(system: System, console: Console) -> tuple[str, int]:
    """Play every scene, wait for everybody to be told, and judge: the last line, and the exit code."""
    control = Control(system.upstreams["control"])
    witnesses = Witnesses(system.environment["DATABASE_URL"], control)
    try:
        crowd = newcomers()
        introduce(control, crowd)
        made = play(system, control, witnesses, scenes(crowd), console)
        return judge(system, witnesses, made, console)
    finally:
        witnesses.close()
        control.close()


def play(
    system: System, control: Control, witnesses: Witnesses, story: Sequence[Scene], console: Console
) -> list[Promise]:
    """What was promised, whether or not all of it was kept in time."""
    with Board(story, console, witnesses) as board:
        stage = Stage(system.url, control, system.crew, witnesses.settled, board.filed)
        try:
            for scene in story:
                board.begin(scene)
                scene.play(stage, scene)
            stage.until_settled()
        except Stuck as stuck:
            console.print(f"[red]{stuck}[/]")
    return list(stage.promises.values())


class Board:
    """A bar a scene: how many claims are filed, how many of their people told. Plain lines without a terminal."""

    def __init__(self, story: Sequence[Scene], console: Console, witnesses: Witnesses) -> None:
        self.console = console
        self.witnesses = witnesses
        self.claims: dict[str, set[str]] = {scene.title: set() for scene in story}
        self.tasks: dict[str, TaskID] = {}
        self.told: set[str] = set()
        self.began = time.monotonic()
        self.bars = Progress(
            TextColumn("{task.description}"),
            TextColumn("{task.fields[filed]} filed"),
            BarColumn(30),
            MofNCompleteColumn(),
            TextColumn("told"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="board", daemon=True)

    def __enter__(self) -> Board:
        self.bars.start()
        self._watcher.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._over.set()
        self._watcher.join()
        self._refresh()
        self.bars.stop()

    def begin(self, scene: Scene) -> None:
        self.tasks[scene.title] = self.bars.add_task(f"{scene.title:<34}", total=len(scene.people), filed=0)
        self._line(f"{scene.title}: {len(scene.people)} to file")

    def filed(self, promise: Promise) -> None:
        self.claims[promise.scene].add(promise.claim_id)
        self.bars.update(self.tasks[promise.scene], filed=len(self.claims[promise.scene]))

    def _watch(self) -> None:
        while not self._over.wait(REFRESH_SECONDS):
            self._refresh()

    def _refresh(self) -> None:
        told = self.witnesses.settled()
        for title, task in list(self.tasks.items()):
            self.bars.update(task, completed=len(self.claims[title] & told))
        if told != self.told:
            self.told = told
            self._line(f"{sum(map(len, self.claims.values()))} filed, {len(told)} told or held")

    def _line(self, text: str) -> None:
        if not self.console.is_terminal:
            self.console.print(f"{time.monotonic() - self.began:5.1f} s  {text}")


def judge(system: System, witnesses: Witnesses, made: Sequence[Promise], console: Console) -> tuple[str, int]:
    """The table, what broke and where to look, and the one line that everything comes down to."""
    report, clean = promises.audit(system)
    evidence = witnesses.testify(made)
    broken = {promise.claim_id: promises.faults_in(promise, evidence[promise.claim_id]) for promise in made}
    strays = [claim_id for claim_id, seen in evidence.items() if seen.claim and claim_id not in broken]
    broken |= {claim_id: ["Postgres holds it, nobody was promised it"] for claim_id in strays}
    console.print(table_of(made, evidence, broken))
    answers = sorted(promise.answer_ms for promise in made)
    if answers:
        console.print(f"POST to 202: median {statistics.median(answers):.0f} ms, slowest {answers[-1]:.0f} ms")
    explain(system, made, evidence, broken, report, console)
    lost, unaccounted = sum(map(bool, broken.values())), report["unaccounted"]
    line = f"promises: {len(broken)} made, {len(broken) - lost} kept, {lost} broken, {unaccounted} unaccounted"
    audited = sum(report["standings"]["travel_claim"].values())
    return line, 0 if made and clean and not lost and audited == len(made) else 1


def table_of(made: Sequence[Promise], evidence: Mapping[str, Evidence], broken: Mapping[str, Sequence[str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, title="What became of each claim", title_justify="left", padding=(0, 1, 0, 0))
    for name, no_wrap in COLUMNS.items():
        table.add_column(name, no_wrap=no_wrap, justify="right" if name == "seconds" else "left")
    for promise in made:
        seen = evidence[promise.claim_id]
        seconds = promises.seconds_to_told(seen)
        table.add_row(
            promise.veteran.name,
            promise.scene,
            promises.what_happened(seen),
            seen.claim["state"] if seen.claim else "unknown",
            text_of(seen),
            f"{seconds:.1f}" if seconds is not None else "",
            "[red]broken[/]" if broken[promise.claim_id] else promises.kept_how(seen),
        )
    return table


def text_of(evidence: Evidence) -> str:
    """The text's first words after its greeting, or why there is none."""
    if evidence.texts:
        return " / ".join(text["body"].partition(": ")[2].partition(" for your")[0] for text in evidence.texts)
    return f"none: {', '.join(str(send['status_reason']) for send in evidence.sends) or 'never sent'}"


def explain(
    system: System,
    made: Sequence[Promise],
    evidence: Mapping[str, Evidence],
    broken: Mapping[str, Sequence[str]],
    report: Mapping[str, object],
    console: Console,
) -> None:
    """Each broken promise with its reasons and its messages, by which the log is searched."""
    names = {promise.claim_id: f"{promise.veteran.name} ({promise.scene})" for promise in made}
    logs = system.folder / "logs"
    for claim_id, reasons in broken.items():
        if reasons:
            console.print(f"[red]broken[/]: {names.get(claim_id, 'nobody')}, claim {claim_id}: {'; '.join(reasons)}")
            messages = ", ".join(map(str, promises.messages_of(evidence[claim_id]))) or "none"
            console.print(f"        its messages: {messages}; their log: {logs / 'worker.log'}")
    if report["findings"] or report["faults"]:
        console.print(f"the audit finds: {report['findings']} {report['faults']}; logs: {logs}")
