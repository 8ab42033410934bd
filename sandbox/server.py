"""What the embedded PostgreSQL and Valkey share: one server in one folder, ours from its start to its last process.

A start first clears away what a killed parent or a power cut left behind; a stop ends what we started, found by a
mark in the process title, because a pid file outlives its process and may name a reused pid.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self

import psutil

STOP_SECONDS = 20.0
START_SECONDS = 60.0
# Below the range from which the kernel picks outgoing ports: a stopped server's port is still free at its restart.
PORTS = range(20_000, 32_000)
# Parts of a log line that say why a server did not start.
TELLING = ("FATAL", "rror", "could not", "# ")


class ServerError(Exception):
    """A server that cannot be started or reached. The message is one line for the person at the terminal."""


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind((host, port))
            return True
    return False


def held_port(port: int = 0) -> socket.socket:
    """A socket that keeps the loopback `port` (0: any free one) until it is closed, and never listens on it.

    Without it, anybody could take a port between our look and the server's own bind, which is seconds where PostgreSQL
    is set up first. Bound before SO_REUSEADDR is set, it shares with no other holder and no outgoing connection. Once
    it is set, a server that binds this port by its number, as ours all do, is let in beside it. OSError when it is
    taken.
    """
    holder = socket.socket()
    try:
        holder.bind(("127.0.0.1", port))
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError:
        holder.close()
        raise
    return holder


def free_port() -> int:
    """A free port for a server of ours, kept from all others until this process ends; ServerError if none is left."""
    for port in random.sample(PORTS, len(PORTS)):
        try:
            holder = held_port(port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            # Detached: only the open descriptor holds it, through every restart of the server. Elsewhere than on Linux
            # it would let no server in.
            holder.detach() if sys.platform == "linux" else holder.close()
            return port
    raise ServerError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free")


def held_folder(folder: Path, holder: str) -> IO[str]:
    """The folder, made if need be and ours until the file is closed; ServerError when another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ServerError(
            f"{holder} in {folder} is in use by another process; is this checkout running already?"
        ) from None
    return lock


def keep_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all, and on the disk when this returns."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    Path(draft).rename(path)


def tethered(argv: list[str], signal_name: str) -> list[str]:
    """`argv`, sent `signal_name` by the kernel when the thread that started it ends; unchanged without setpriv(1).

    A pre-exec hook would do the same, but is not safe (nor, from Python 3.12 on, quiet) in a process with threads.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", signal_name, "--", *argv] if setpriv else argv


class Server:
    """One server in one folder: started, stopped, killed as by a power cut, and started again on the same port."""

    name = "server"
    program = "server"
    stop_signal = signal.SIGTERM
    # Where it listens, and the words before its command that bring it there; another host of the sandbox changes both.
    address = "127.0.0.1"
    enter: Sequence[str] = ()

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder.resolve()
        self.port = port or free_port()
        self.mark = "surefile-" + hashlib.sha256(f"{self.name} {self.folder}".encode()).hexdigest()[:12]
        self.log = self.folder / "log"
        self._child: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None

    @property
    def url(self) -> str:
        """Where the application connects, password included."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """The running server's process id; raises ServerError when it is not running."""
        if self._child is None or self._child.poll() is not None:
            raise ServerError(f"{self.name} is not running")
        return self._child.pid

    def start(self) -> Self:
        """Start and wait until it answers; raises ServerError with the log's last line when it does not."""
        self._take_folder()
        try:
            self._end_leftovers()
            if not self.enter and not port_is_free(self.port):
                raise ServerError(f"{self.name} needs port {self.port}, which is taken")
            self._prepare()
            self._child = self._launch()
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """End it cleanly; quiet when it is not running, killed when it takes longer than 20 s."""
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(self.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to every process of it at once, with nothing flushed: what a power cut leaves."""
        if self._lock is None:
            return
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None
        self._wait_until_gone()
        self._leave_folder()

    def restart(self) -> None:
        self.stop()
        self.start()

    def remove(self) -> None:
        """Delete the stopped server's folder and all it holds."""
        shutil.rmtree(self.folder)

    @classmethod
    @contextmanager
    def throwaway(cls, **options: Any) -> Iterator[Self]:
        """A server in a temporary folder, deleted with its data at the end of the `with` block."""
        folder = Path(tempfile.mkdtemp(prefix="surefile-"))
        # New and ours: passable, so that PostgreSQL's account reaches the data, and readable only by us.
        folder.chmod(0o711)
        server = cls(folder, **options)
        try:
            yield server.start()
        finally:
            server.stop()
            server.remove()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def _take_folder(self) -> None:
        if self._lock is not None:
            raise ServerError(f"{self.name} is running already")
        self._lock = held_folder(self.folder, self.name)

    def _leave_folder(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _processes(self) -> list[psutil.Process]:
        """Every live process of this server, by the mark in its title: a pid file may name a reused pid."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            words = process.cmdline()
        except psutil.Error:
            return False
        title = " ".join(words)
        return self.program in title and self.mark in title

    def _end_leftovers(self) -> None:
        """Stop what outlived a killed parent. We hold the folder, so no live process uses it."""
        leftovers = self._processes()
        for process in leftovers:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(self.stop_signal)
        _, stubborn = psutil.wait_procs(leftovers, timeout=STOP_SECONDS)
        for process in stubborn:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._wait_until_gone()

    def _wait_until_gone(self) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        while self._processes():
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name} in {self.folder} cannot be stopped")
            time.sleep(0.02)

    def _wait_until_ready(self) -> None:
        assert self._child is not None
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._child.poll() is not None or time.monotonic() > deadline:
                raise ServerError(f"{self.name} did not start: {self._last_words()}")
            time.sleep(0.02)

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        telling = [line for line in lines if any(word in line for word in TELLING)] or lines
        # PostgreSQL's last line says only that it cannot listen; the lines before it say why.
        return "; ".join(line.strip() for line in telling[-3:]) or "it wrote nothing"

    def _prepare(self) -> None:
        raise NotImplementedError

    def _launch(self) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError
