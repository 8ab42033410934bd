"""The folder of a test run's files goes with the run, and what a killed run left goes with the next."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = """
import sys, tempfile
from tests.memory import use_run_folder
use_run_folder()
print(tempfile.mkdtemp(), flush=True)
sys.stdin.read()
"""


@contextmanager
def run() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A run that goes on to the end of the block, and a folder that it made for a server."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", RUN], cwd=ROOT, env={"PATH": ""}, text=True, **pipes) as child:
        assert child.stdout is not None
        yield child, Path(child.stdout.readline().strip())


def test_nothing_is_left_of_a_run_nor_of_one_that_was_killed_and_others_keep_theirs() -> None:
    with run() as (killed, left):
        killed.kill()
    assert left.exists()
    with run() as (_, first), run() as (_, second):
        assert (left.parent.exists(), first.exists(), second.exists()) == (False, True, True)
    assert (first.parent.exists(), second.parent.exists()) == (False, False)
