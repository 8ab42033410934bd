"""A worker of pytest-xdist that ends in mid-test fails that test, and the others go on to the end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests import scheduling

CONFTEST = """
from tests.scheduling import SharedProduct

def pytest_xdist_make_scheduler(config, log):
    return SharedProduct(config, log)
"""
ENDS_ONCE = """
import os
from pathlib import Path

def test_that_ends_its_worker():
    mark = Path(__file__).with_name("ended")
    if not mark.exists():
        mark.touch()
        os._exit(1)
"""


def test_a_run_ends_though_a_worker_did(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_a.py").write_text("def test_finished(): pass\n")
    (tmp_path / "test_b.py").write_text("def test_finished_too(): pass\n")
    (tmp_path / "test_c.py").write_text(ENDS_ONCE)
    (tmp_path / "test_d.py").write_text("def test_not_begun(): pass\n")
    home = Path(scheduling.__file__).parents[1]
    options = ["-p", "no:cacheprovider", "-p", "no:schemathesis", "-p", "no:anyio", "-n", "1", "--dist", "loadfile"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--no-loadscope-reorder", str(tmp_path)],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "worker 'gw0' crashed while running 'test_c.py::test_that_ends_its_worker'" in ran.stdout
    assert "1 failed, 4 passed" in ran.stdout
