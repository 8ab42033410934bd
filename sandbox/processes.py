"""The Procfile's processes on this machine: started as written, watched, and stopped as a dyno manager stops them.

The output of each goes to its own file; the terminal shows only warnings and worse.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sandbox.server import ServerError, tethered

STOP_SECONDS = 30.0
COLOURS = (36, 33, 35, 32, 34)
TROUBLE = re.compile(r"\b(WARN|WARNING|ERROR|CRITICAL|FATAL)\b")


class ProcessEnded(ServerError):
    """A process that should run does not. The message holds its name, exit code and last lines."""


def procfile(path: Path) -> dict[str, str]:
    """Process name → command, in the file's order."""
    pairs = (line.partition(":") for line in path.read_text().splitlines() if line.strip())
    return {name.strip(): command.strip() for name, _, command in pairs if not name.startswith("#")}


def surroundings(environment: Mapping[str, str], port: int) -> dict[str, str]:
    """The environment of a process: the caller's, then the settings, with this Python's programs found first.

    The web process listens on this machine only, unless the caller's `WEB_ADDRESS` says otherwise: cookies need no TLS.
    """
    address = os.environ.get("WEB_ADDRESS") or "127.0.0.1"
    own = {"PORT": str(port), "WEB_ADDRESS": address, "PYTHONUNBUFFERED": "1"}
    return {**with_our_programs(os.environ), **environment, **own}


def with_our_programs(environ: Mapping[str, str]) -> dict[str, str]:
    """This environment, with the programs of this Python found first: `flask`, `gunicorn`."""
    programs = str(Path(sys.executable).parent)
    return {**environ, "PATH": os.pathsep.join([programs, environ.get("PATH", os.defpath)])}


class Process:
    """One Procfile line as a process group. Everything that it writes goes to `log` and, line by line, to `hear`.

    `enter` are words before the command, which bring it to another host of the sandbox.
    """

    def __init__(
        self,
        name: str,
        command: str,
        environment: Mapping[str, str],
        log: Path,
        *,
        root: Path,
        hear: Callable[[str, str], None] | None = None,
        enter: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.command = command
        self.enter = list(enter)
        self.environment = dict(environment)
        self.log = log
        self.root = root
        self.hear = hear
        self._over = False
        self._recent: deque[str] = deque(maxlen=15)
        self._child: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    @property
    def started(self) -> bool:
        return self._child is not None

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(self) -> None:
        """Start it in the main thread: when that thread's process is killed, the kernel ends this one too."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._recent.clear()
        self._over = False
        self._child = self._spawn()
        self._reader = threading.Thread(target=self._read, args=(self._child,), name=f"{self.name}-output", daemon=True)
        self._reader.start()

    def _spawn(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.enter, *tethered(["/bin/sh", "-c", f"exec {self.command}"], "TERM")],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def signal(self, number: int) -> None:
        """Send a signal to the whole group; quiet when nobody is left."""
        if self._child is not None and not self._over:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, number)

    def kill(self) -> None:
        """SIGKILL the whole group, as a dyno that vanishes. After this, another process may get its number."""
        self.signal(signal.SIGKILL)
        self._over = True
        self._finish()

    def terminate(self, seconds: float = STOP_SECONDS) -> int:
        """SIGTERM, then SIGKILL after `seconds`. Returns the exit code, negative for the signal that ended it."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float) -> int:
        """The exit code at its end, or after a kill if it still runs after `seconds`. Ends its group as well."""
        assert self._child is not None
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(max(seconds, 0))
        self.kill()
        return self._child.returncode

    def wait_ready(self, ready: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until `ready()`; raises ProcessEnded when the process ends first, or `seconds` have passed."""
        deadline = time.monotonic() + seconds
        while not ready():
            self.must_run()
            if time.monotonic() > deadline:
                raise ProcessEnded(f"{self.name} was not ready after {seconds:.0f} s{self._tail()}")
            time.sleep(0.05)

    def must_run(self) -> None:
        """Raises ProcessEnded, with the process's last lines, unless it is running."""
        if not self.running:
            self._finish()
            raise ProcessEnded(f"{self.name} ended with exit code {self._code()}{self._tail()}")

    def _code(self) -> int | None:
        return self._child.returncode if self._child else None

    def _tail(self) -> str:
        last = "".join(f"\n  {line}" for line in self._recent)
        return (
            f"; its last lines (all of them are in {self.log}):{last}" if last else f" and wrote nothing to {self.log}"
        )

    def _finish(self) -> None:
        if self._child is not None:
            self._child.wait()
        if self._reader is not None:
            self._reader.join(5)

    def _read(self, child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        with self.log.open("a") as log, child.stdout:
            for line in child.stdout:
                log.write(line)
                log.flush()
                self._recent.append(line.rstrip())
                if self.hear:
                    self.hear(self.name, line.rstrip())


class Terminal:
    """Shows lines with their process's name in its colour: all of them, or only warnings and worse."""

    def __init__(self, names: Iterable[str], everything: bool = False) -> None:
        self.names = list(names)
        self.everything = everything
        self.coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def hear(self, name: str, line: str) -> None:
        text = line if self.everything else trouble_in(line)
        if text is not None:
            print(f"{self._label(name)} {text}", flush=True)

    def _label(self, name: str) -> str:
        label = f"{name:>{max(map(len, self.names))}} |"
        colour = COLOURS[self.names.index(name) % len(COLOURS)]
        return f"\033[{colour}m{label}\033[0m" if self.coloured else label


def trouble_in(line: str) -> str | None:
    """A warning or worse in a few words, None for any other line. JSON lines have a level; others name it."""
    if not line.startswith("{"):
        return line if TROUBLE.search(line) else None
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if entry.get("level") not in ("WARNING", "ERROR", "CRITICAL"):
        return None
    known = ("level", "logger", "message", "timestamp", "exc_info")
    rest = " ".join(f"{key}={value}" for key, value in entry.items() if key not in known)
    first_line = str(entry.get("message", "")).partition("\n")[0]
    return f"{entry['level']} {first_line} {rest}".rstrip()


class Crew:
    """Several processes that live and end together."""

    def __init__(self, processes: Iterable[Process]) -> None:
        self.processes = {process.name: process for process in processes}

    def __getitem__(self, name: str) -> Process:
        return self.processes[name]

    def start(self) -> None:
        for process in self.processes.values():
            process.start()

    def must_run(self) -> None:
        for process in self.processes.values():
            process.must_run()

    def wait_ready(self, name: str, ready: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until `ready()` says so of `name`; raises ProcessEnded as soon as any of them ends."""

        def ready_with_all_alive() -> bool:
            self.must_run()
            return ready()

        self.processes[name].wait_ready(ready_with_all_alive, seconds)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """SIGTERM to all at once, then SIGKILL; `seconds` is the limit for all of them together."""
        deadline = time.monotonic() + seconds
        started = [process for process in self.processes.values() if process.started]
        for process in started:
            process.signal(signal.SIGTERM)
        for process in started:
            process.wait(deadline - time.monotonic())
