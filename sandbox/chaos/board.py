"""The display of a chaos run while it goes on: one line that changes, or a line every few seconds without a
terminal."""

from __future__ import annotations

import threading
import time

from rich.console import Console
from rich.live import Live
from rich.text import Text

from sandbox.chaos.crowd import Crowd
from sandbox.chaos.storm import Storm
from sandbox.chaos.witness import Witness

REFRESH_SECONDS = 1.0
LINE_SECONDS = 10.0


class Board:
    """Shows the time, what was posted, who was notified, what is outstanding, and what is broken just now."""

    def __init__(self, console: Console, crowd: Crowd, storm: Storm, witness: Witness) -> None:
        self._console = console
        self._crowd = crowd
        self._storm = storm
        self._witness = witness
        self._began = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, name="board", daemon=True)

    def __enter__(self) -> Board:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._over.set()
        self._thread.join()

    def _show(self) -> None:
        if not self._console.is_terminal:
            while not self._over.wait(LINE_SECONDS):
                self._console.print(self._line())
            return
        with Live(console=self._console, refresh_per_second=4) as live:
            while not self._over.wait(REFRESH_SECONDS):
                live.update(Text(self._line()))

    def _line(self) -> str:
        counts = self._witness.counts()
        progress = f"{counts[0]} notified, {counts[1]} outstanding" if counts else "Postgres is away"
        struck = len(self._storm.faults)
        return (
            f"{time.monotonic() - self._began:5.0f} s  {len(self._crowd.promises)} posted, {progress},"
            f" {struck} struck: {self._storm.now or 'all whole'}"
        )
