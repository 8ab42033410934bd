"""Everything that the tests start ends with them, however they end: otherwise `make test` would wait for its own
output."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# As pytest-timeout ends a run: at once, without a signal to what it has started.
CUT_SHORT = """
import os, time
from multiprocessing import get_context
forking = get_context("forkserver")
forking.set_forkserver_preload(["tests.fork_server"])
fork = forking.Process(target=time.sleep, args=(60,), daemon=True)
fork.start()
os.write(1, str(fork.pid).encode())
os._exit(1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent is gone")
def test_a_run_cut_short_leaves_no_fork_server_that_holds_its_output() -> None:
    options = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen([sys.executable, "-c", CUT_SHORT], **options) as run:
        # Read to the end, which comes when the last process that could write has gone: otherwise after a minute.
        said, _ = run.communicate(timeout=90)
    assert run.returncode == 1 and said.isdigit()
