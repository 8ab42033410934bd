"""`make simulate`: seeds played by several processes make one tally, whichever process played which."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from sandbox.databases import TemplateDatabase
from tests.simulator import __main__ as command

ROOT = Path(__file__).parents[2]


def test_many_seeds_are_played_by_processes_and_make_one_line() -> None:
    options = ["--seeds", "3", "--from", "3", "--processes", "2"]
    argv = [sys.executable, "-m", "tests.simulator", *options]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    last = done.stdout.splitlines()[-1]
    assert (done.returncode, last.startswith("simulator: 3 seeds, ")) == (0, True), done.stdout + done.stderr
    assert last.endswith(", 0 broken promises")


def test_one_seed_is_played_step_by_step(
    migrated: TemplateDatabase,
    secrets_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process and on its server: the other test has the command start its own."""
    monkeypatch.setattr("sys.argv", ["simulator", "--seed", "7"])
    with migrated.copied() as url:
        monkeypatch.setattr(command, "ground", lambda products: nullcontext((secrets_folder, [url] * products)))
        assert command.main() == 0
    *steps, last = capsys.readouterr().out.splitlines()
    assert len(steps) > 50 and any("before COMMIT" in step for step in steps)
    assert last == f"simulator: seed 7, {len(steps)} steps, 0 broken promises"
