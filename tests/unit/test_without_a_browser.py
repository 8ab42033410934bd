"""Without Chromium the tests of the console are skipped, and say in one sentence how to get one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = "tests/e2e/test_console_in_a_browser.py"
SENTENCE = "no Chromium here: `make browser` installs it or says how"


def test_without_chromium_its_tests_are_skipped_with_one_sentence(tmp_path: Path) -> None:
    """In a run of its own whose PATH leads to no browser."""
    command = [sys.executable, "-m", "pytest", FILE, "-rs", "-q", "--color=no", "-p", "no:cacheprovider"]
    environ = {**os.environ, "PATH": str(tmp_path)}
    run = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    # A letter for each test, then why it was skipped.
    letters, reasons = run.stdout.split()[0], [line for line in run.stdout.splitlines() if line.startswith("SKIPPED")]
    assert set(letters) == {"s"} and len(reasons) == len(letters) > 3, run.stdout
    assert all(line.endswith(SENTENCE) for line in reasons), run.stdout
