"""The start of a process happens at every deploy and after every crash, so it loads only what every process needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.settings import environment, kept_secrets
from tests.conftest import NOWHERE

ROOT = Path(__file__).parents[2]
START = """
import gc, json, sys
import wsgi
print(json.dumps({
    "packages": sorted({name.partition(".")[0] for name in sys.modules}),
    "kept": gc.get_freeze_count(), "collecting": gc.isenabled(), "rounds": gc.get_stats()[2]["collections"],
}))
"""
# What migrates, with its dependencies; what makes PDFs; what checks and tests.
FOR_FEW = {"alembic", "mako", "pygments", "fpdf", "pikepdf", "lxml", "PIL", "rich", "pytest", "sandbox", "tests"}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The state of the interpreter when `flask` or gunicorn has loaded its application."""
    kept = kept_secrets(tmp_path_factory.mktemp("start"))
    settings = environment("postgres://nobody@127.0.0.1:1/x", "redis://127.0.0.1:1/0", NOWHERE, kept)
    output = subprocess.check_output(
        [sys.executable, "-c", START], cwd=ROOT, env={**os.environ, **settings}, timeout=60
    )
    found: dict[str, object] = json.loads(output)
    return found


def test_a_process_loads_only_what_every_process_needs(started: dict[str, object]) -> None:
    packages = started["packages"]
    assert isinstance(packages, list) and "flask" in packages
    assert FOR_FEW & set(packages) == set()


def test_the_garbage_collector_skips_what_the_start_made_and_works_after_it(started: dict[str, object]) -> None:
    kept = started["kept"]
    assert isinstance(kept, int) and kept > 50_000
    assert (started["rounds"], started["collecting"]) == (0, True)
