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
from multiprocessing.util import Finalize
from pathlib import Path

import psutil

from sandbox.server import ServerError, held_folder
from sandbox.servers import EmbeddedPostgres

MEMORY = Path("/dev/shm")
PREFIX = "surefile-run-"
ENOUGH = 4 * 1024**3
# The folder of the run, for its workers.
NAME = "SUREFILE_TEST_FILES"


def use_run_folder() -> None:
    """One folder for the temporary files of a run and all its workers; it goes with the process that began it.

    pytest's own folders stay where they always are, because they are kept to be looked at.
    """
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    if NAME not in os.environ:
        remove_leftovers()
        os.environ[NAME] = str(make_folder())
    os.environ["TMPDIR"] = tempfile.tempdir = os.environ[NAME]


def place() -> Path:
    enough = MEMORY.is_dir() and min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available) > ENOUGH
    return MEMORY if enough else Path(tempfile.gettempdir())


def remove_leftovers() -> None:
    """What runs that were killed have left. The folder of a run that goes on is held."""
    for left in place().glob(f"{PREFIX}*"):
        with suppress(ServerError, OSError), held_folder(left, "a test run"):
            shutil.rmtree(left)


def make_folder() -> Path:
    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place()))
    # PostgreSQL's account may pass.
    path.chmod(0o711)
    held = held_folder(path, "a test run")

    def remove() -> None:
        shutil.rmtree(path, ignore_errors=True)
        held.close()

    # After the folder that multiprocessing makes in it for itself.
    Finalize(None, remove, exitpriority=-200)
    return path


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
