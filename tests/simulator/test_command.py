"""`make simulate`: seeds played by several processes make one tally, whichever process played which."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def simulator(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.simulator", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_many_seeds_are_played_by_processes_and_make_one_line() -> None:
    done = simulator("--seeds", "3", "--from", "3", "--processes", "2")
    last = done.stdout.splitlines()[-1]
    assert (done.returncode, last.startswith("simulator: 3 seeds, ")) == (0, True), done.stdout + done.stderr
    assert last.endswith(", 0 broken promises")


def test_one_seed_is_played_step_by_step() -> None:
    done = simulator("--seed", "7")
    *steps, last = done.stdout.splitlines()
    assert done.returncode == 0
    assert len(steps) > 50 and "before COMMIT" in done.stdout
    assert last == f"simulator: seed 7, {len(steps)} steps, 0 broken promises"
