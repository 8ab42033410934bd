"""What people see of the demo: a bar for each scene while it plays, then the table of what became of every promise."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from sandbox.promises import Verdict, Witnesses
from sandbox.stage import Promise, Scene

REFRESH_SECONDS = 0.2
# Whether a column keeps to one line on a narrow terminal.
COLUMNS = {
    "who": True,
    "scene": False,
    "what happened upstream": False,
    "state": True,
    "text or e-mail received": False,
    "seconds": True,
    "kept how": False,
}


WIDE = 140
NARROW = {"who": False, "state": True, "seconds": True, "what happened": False}


class Board:
    """How many people of a scene have posted, and how many of them were notified. Plain lines without a terminal."""

    def __init__(self, console: Console, witnesses: Witnesses) -> None:
        self.console = console
        self.witnesses = witnesses
        self.requested: dict[str, set[str]] = defaultdict(set)
        self.tasks: dict[str, TaskID] = {}
        self.done: set[str] = set()
        self.began = time.monotonic()
        self.bars = Progress(
            TextColumn("{task.description}"),
            TextColumn("{task.fields[requested]} requested"),
            BarColumn(30),
            MofNCompleteColumn(),
            TextColumn("notified"),
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
        self.tasks[scene.title] = self.bars.add_task(f"{scene.title:<35}", total=len(scene.people), requested=0)
        self._line(f"{scene.title}: {len(scene.people)} to post")

    def received(self, promise: Promise) -> None:
        self.requested[promise.scene].add(promise.key)
        self.bars.update(self.tasks[promise.scene], requested=len(self.requested[promise.scene]))

    def _watch(self) -> None:
        while not self._over.wait(REFRESH_SECONDS):
            self._refresh()

    def _refresh(self) -> None:
        done = self.witnesses.settled()
        for title, task in list(self.tasks.items()):
            self.bars.update(task, completed=len(self.requested[title] & done))
        if done != self.done:
            self.done = done
            self._line(f"{sum(map(len, list(self.requested.values())))} requested, {len(done)} notified or held")

    def _line(self, text: str) -> None:
        if not self.console.is_terminal:
            self.console.print(f"{time.monotonic() - self.began:5.1f} s  {text}")


def table_of(flows: Mapping[str, Sequence[Verdict]], width: int) -> Table:
    """Every promise of every flow, grouped by flow. On a terminal narrower than `WIDE`, what has no column of its own
    stands in lines beneath each other."""
    cells, columns = (cells_of, COLUMNS) if width >= WIDE else (lines_of, NARROW)
    table = Table(box=SIMPLE_HEAD, title="What became of each promise", title_justify="left", padding=(0, 1, 0, 0))
    for name, no_wrap in columns.items():
        table.add_column(name, no_wrap=no_wrap, justify="right" if name == "seconds" else "left")
    for flow, verdicts in flows.items():
        table.add_row(f"[bold]{flow}[/]")
        for verdict in verdicts:
            table.add_row(*cells(verdict))
        table.add_section()
    return table


def lines_of(verdict: Verdict) -> Sequence[str]:
    """The cells of a narrow table: the last one has a line for each column that it lacks."""
    who, scene, happened, state, received, seconds, kept_how = cells_of(verdict)
    return who, state, seconds, "\n".join(filter(None, (f"[bold]{scene}[/]", happened, received, kept_how)))


def cells_of(verdict: Verdict) -> Sequence[str]:
    return (
        verdict.who or "nobody",
        verdict.scene,
        verdict.happened,
        verdict.state,
        verdict.received,
        f"{verdict.seconds:.1f}" if verdict.seconds is not None else "",
        "[red]broken[/]" if verdict.faults else verdict.kept_how,
    )
