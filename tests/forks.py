"""Processes begun by fork: many starts share one import of the product, which is the slowest part of each.

From its command on, a fork runs the same code as a person's or the Procfile's line. Its parent has only imported, and
has no threads. It is for tests of a running process; tests of the start itself begin their own Python.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

from flask.cli import main as flask

from sandbox.__main__ import main as sandbox

COMMANDS = {"flask": flask, "sandbox": sandbox}
forking = get_context("forkserver")
forking.set_forkserver_preload(["tests.fork_server", __name__, "tests.forked", "jobs.cli"])


class Fork:
    """`flask ...` or `python -m sandbox ...`, started at once in the folder `cwd`. All its output goes to `output`."""

    def __init__(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], output: Path) -> None:
        self.output = output
        output.write_bytes(b"")
        self._process = forking.Process(target=become, args=(list(argv), cwd, dict(env), output), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def poll(self) -> int | None:
        """The exit code, negative for the signal that ended it; None while it runs."""
        return self._process.exitcode

    def wait(self, seconds: float) -> int:
        """The exit code at its end, or after a kill if it still runs after `seconds`."""
        self._process.join(seconds)
        self._process.kill()
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    def lines(self) -> list[str]:
        """What it has written so far."""
        return self.output.read_text().splitlines()


def become(argv: list[str], cwd: Path, env: Mapping[str, str], output: Path) -> None:
    """In the fork: be that process."""
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    with output.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=True)
    sys.argv = argv
    sys.exit(COMMANDS[argv[0]]())
