"""Processes begun by fork: many starts share one import of the product, which is the slowest part of each.

From its command on, a fork runs the same code as a person's or the Procfile's line. Its parent has only imported, and
has no threads. It is for tests of a running process; tests of the start itself begin their own Python.
"""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import _children
from pathlib import Path
from typing import Any

from flask.cli import main as flask
from gunicorn.app.wsgiapp import run as gunicorn

from sandbox.__main__ import main as sandbox
from sandbox.processes import Process

COMMANDS = {"flask": flask, "sandbox": sandbox, "gunicorn": gunicorn}
forking = get_context("forkserver")
forking.set_forkserver_preload(["tests.fork_server", __name__, "tests.forked", "jobs.cli", "flaskapp.web.worker"])


class Fork:
    """`flask ...` or `python -m sandbox ...`, started at once in the folder `cwd`. All its output goes to `output`."""

    def __init__(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], output: Path) -> None:
        self.output = output
        output.write_bytes(b"")
        self._process = forking.Process(target=become_logged, args=(list(argv), cwd, dict(env), output), daemon=True)
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


class ForkedProcess(Process):
    """A line of the Procfile, begun by fork."""

    def _spawn(self) -> Any:
        return ForkedChild(shlex.split(self.command), self.root, self.environment)


class ForkedChild:
    """A fork with the face of `subprocess.Popen`, its output in a pipe."""

    def __init__(self, argv: list[str], cwd: Path, env: Mapping[str, str]) -> None:
        self.args = argv
        ours, theirs = forking.Pipe(duplex=False)
        self._process = forking.Process(target=become_piped, args=(argv, cwd, dict(env), theirs), daemon=True)
        self._process.start()
        # The next start would poll it too, beside a thread that waits for it, and one of the two would miss the code.
        _children.discard(self._process)
        theirs.close()
        assert self._process.pid is not None
        self.pid = self._process.pid
        # It leads a group of its own from then on.
        ours.recv_bytes()
        self.stdout = os.fdopen(os.dup(ours.fileno()), errors="replace")
        ours.close()
        self._lock = threading.Lock()

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        with self._lock:
            return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        wait([self._process.sentinel], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code


def become_piped(argv: list[str], cwd: Path, env: Mapping[str, str], output: Connection) -> None:
    os.setsid()
    output.send_bytes(b"")
    become(argv, cwd, env, output.fileno())


def become_logged(argv: list[str], cwd: Path, env: Mapping[str, str], output: Path) -> None:
    os.setsid()
    become(argv, cwd, env, os.open(output, os.O_WRONLY | os.O_APPEND))


def become(argv: list[str], cwd: Path, env: Mapping[str, str], output: int) -> None:
    """In the fork: be that process."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=True)
    sys.argv = argv
    sys.exit(COMMANDS[argv[0]]())
