"""Prometheus's own checker of rules, where it is installed (`apt install prometheus`)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")


def promtool(*arguments: str) -> str:
    """What it says. Raises AssertionError with that, where it finds fault."""
    done = subprocess.run([PROMTOOL or "promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_alerts(folder: Path, rules: Path, tests: list[dict[str, Any]]) -> None:
    """Run tests of alerts, in promtool's words. Raises AssertionError where one of them fires or is silent wrongly."""
    file = folder / "alerts_test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}))
    promtool("test", "rules", str(file))
