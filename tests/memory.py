"""Where a test run keeps its files: in memory, where there is enough of it.

A database is three hundred files, a server a thousand. A disk's file system gives each a place that was not freed a
short time ago, and after some thousand files of earlier tests the search takes longer than PostgreSQL itself.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

from sandbox.server import ServerError, held_folder
from sandbox.servers import EmbeddedPostgres

MEMORY = Path("/dev/shm")
PREFIX = "surefile-run-"
ENOUGH = 4 * 1024**3
# The folder of the run, for its workers.
NAME = "SUREFILE_TEST_FILES"


class RunFolder:
    """The folder of one run, for the run and all its workers; the first of them that begins, ends it.

    Temporary files of the tests go there too, pytest's own folders do not: those are kept to be looked at.
    """

    def __init__(self) -> None:
        self.before = tempfile.gettempdir()
        self.ours = NAME not in os.environ
        if self.ours:
            self.path = self._make()
            os.environ[NAME] = str(self.path)
        else:
            self.path = Path(os.environ[NAME])
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", self.before)
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.path)

    def _make(self) -> Path:
        enough = MEMORY.is_dir() and min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available) > ENOUGH
        place = MEMORY if enough else Path(self.before)
        for left in place.glob(f"{PREFIX}*"):
            with suppress(ServerError, OSError), held_folder(left, "a test run"):
                shutil.rmtree(left)
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        # PostgreSQL's account may pass.
        path.chmod(0o711)
        self._held = held_folder(path, "a test run")
        return path

    def end(self) -> None:
        if self.ours:
            shutil.rmtree(self.path, ignore_errors=True)
            self._held.close()


def new_folder(name: str) -> Path:
    """An empty folder of the run for a server, where PostgreSQL's account may go."""
    folder = Path(tempfile.mkdtemp(prefix=f"surefile-{name}-"))
    folder.chmod(0o711)
    return folder


def postgres_folder(name: str = "postgres") -> Path:
    """A folder as a server's first start leaves it: one is set up for the whole run, because that takes a second."""
    first = Path(os.environ[NAME]) / "cluster"
    with first.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not first.exists():
            draft = new_folder("cluster")
            EmbeddedPostgres(draft, fast=True).start().stop()
            draft.rename(first)
    folder = new_folder(name)
    subprocess.run(["cp", "-a", f"{first}/.", folder], check=True)
    return folder
