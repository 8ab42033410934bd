"""`make demo` as a person runs it: the real processes, every outcome, and an end that says what was kept."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
Start = Callable[[], subprocess.Popen[bytes]]
KEPT = "promises: 86 made, 86 kept, 0 broken, 0 unaccounted"

CLAIM_ROWS = {"filed at the kiosk before": "already there"}
ITF_ROWS = {
    "Lighthouse works": "created",
    "an ITF filed elsewhere before": "confirmed",
    "20 first log-ins at once": "created",
    "Lighthouse away 5 s, Redis flushed": "created",
    "Lighthouse files, its reply is lost": "no reply → found",
    "an ITF filed elsewhere meanwhile": "duplicate",
    "no ICN for the account": "held by tara.okonkwo",
    "Lighthouse refuses 2 times": "refused ×2 → created",
    "the same with Lighthouse away": "slowest",
}
FORM_ROWS = {
    "526 with a letter and PTSD answers": "We received your disability claim",
    "10 identical forms at once": "filed",
    "526 service away for 5 s": "accepted",
    "doctors-letter.txt": "uploaded → delivered",
    "Form 0781a.pdf": "uploaded → delivered",
    "service-record.txt": "no reply → uploaded → delivered twice",
    "buddy-statement.txt": "held by uri.lindholm",
    "hearing-test.txt": "held by uri.lindholm",
    "the same with the 526 service away": "slowest",
}
TRAVEL_PAY_ROWS = {
    "signed in, Travel Pay works": "step done ×3",
    "one minute, two people, 2 tabs each": "step done ×3",
    "a claim filed on paper before": "duplicate (400)",
    "VA Profile and BTSSS differ": "step done ×3",
    "Travel Pay refuses the submit": "held by vera.castellan",
    "the submit takes 3 s": "submitted (202)",
    "Travel Pay begins it, its reply is lost": "no reply → found → step done ×2",
    "Travel Pay away": "submitted (202)",
    "the same with Travel Pay away": "slowest",
}


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A copy of the project in a folder where PostgreSQL's account may go."""
    folder = Path(tempfile.mkdtemp(prefix="surefile-demo-"))
    folder.chmod(0o711)
    spared = shutil.ignore_patterns(".*", "tests")
    shutil.copytree(ROOT, folder, ignore=spared, dirs_exist_ok=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def start(checkout: Path) -> Iterator[Start]:
    """Start the demo in the checkout, its output in a file. The test's end stops what is left running."""
    known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    begun: list[subprocess.Popen[bytes]] = []

    def begin() -> subprocess.Popen[bytes]:
        with (checkout / "output").open("w") as output:
            argv = [sys.executable, "-m", "sandbox", "demo"]
            options: dict[str, Any] = {"cwd": checkout, "env": known, "start_new_session": True}
            begun.append(subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT, **options))
        return begun[-1]

    yield begin
    for child in begun:
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
            child.wait(100)


def said(checkout: Path) -> str:
    return (checkout / "output").read_text()


def used_by(checkout: Path) -> list[psutil.Process]:
    return [each for each in psutil.process_iter() if str(checkout) in command_of(each)]


def command_of(process: psutil.Process) -> str:
    try:
        return " ".join([*process.cmdline(), process.cwd()])
    except psutil.Error:
        return ""


@pytest.mark.timeout(500)
def test_the_demo_keeps_every_promise_and_says_so_last(start: Start, checkout: Path) -> None:
    assert start().wait(450) == 0, said(checkout)
    lines = said(checkout).splitlines()
    assert lines[-1] == KEPT
    for happened in ("no reply → found", "worker killed → (unreachable → )*found", "429 → filed", "refused"):
        assert any(re.search(happened, line) for line in lines), happened
    assert sum("held by sam.whitfield" in line for line in lines) == 3
    for scene, happened in {**CLAIM_ROWS, **ITF_ROWS, **FORM_ROWS, **TRAVEL_PAY_ROWS}.items():
        assert any(scene in line and happened in line for line in lines), scene
    assert used_by(checkout) == []


def test_ctrl_c_stops_the_demo_and_everything_it_started(start: Start, checkout: Path) -> None:
    demo = start()
    deadline = time.monotonic() + 100
    while "to post" not in said(checkout):
        assert demo.poll() is None and time.monotonic() < deadline, said(checkout)
        time.sleep(0.05)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(100) == 130
    assert "promises:" not in said(checkout) and "Traceback" not in said(checkout)
    assert used_by(checkout) == []
