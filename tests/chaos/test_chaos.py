"""`make chaos` for a minute, as a person runs it: real processes, real faults, and a last line that counts them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.scanner import found_in

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
SUBMISSIONS, FAULTS, KINDS = 150, 12, 8
# This seed strikes thirteen kinds, and few of them start a process again, which is slow.
ARGUMENTS = ["--seconds", "42", "--seed", "1136", "--least-submissions", str(SUBMISSIONS)]
LAST_LINE = re.compile(
    r"chaos: (\d+) submissions, (\d+) faults of (\d+) kinds, recovery p50 \S+ s max \S+ s,"
    r" lost 0, duplicate 0, untold 0, unaccounted 0"
)


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A copy of the project in a folder where PostgreSQL's account may go."""
    folder = Path(tempfile.mkdtemp(prefix="surefile-chaos-"))
    folder.chmod(0o711)
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "tests"), dirs_exist_ok=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def chaos(checkout: Path) -> Iterator[subprocess.Popen[str]]:
    """The run in that folder; the test's end stops what is left of it."""
    known = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with (checkout / "output").open("w") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "chaos", *ARGUMENTS],
            cwd=checkout,
            env=known,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )
    yield child
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        child.wait(60)


def used_by(checkout: Path) -> list[psutil.Process]:
    return [each for each in psutil.process_iter() if str(checkout) in command_of(each)]


def command_of(process: psutil.Process) -> str:
    try:
        return " ".join([*process.cmdline(), process.cwd()])
    except psutil.Error:
        return ""


def read_about(checkout: Path) -> tuple[dict[str, list[str]], set[str]]:
    """What each process wrote, and everything personal of everybody who came."""
    run = checkout / ".run" / "chaos"
    written = {log.stem: [log.read_text()] for log in (run / "logs").glob("*.log")}
    people = [promise["veteran"] for promise in json.loads((run / "promises.json").read_text())]
    personal = {person[name] for person in people for name in ("icn", "phone", "uuid", "last_name", "email")} - {None}
    return written, personal | {phone.removeprefix("+1") for phone in personal if phone.startswith("+1")}


@pytest.mark.timeout(330)
def test_a_minute_of_chaos_loses_nothing_doubles_nothing_and_notifies_everybody(chaos, checkout):
    code, said = chaos.wait(320), (checkout / "output").read_text()
    assert code == 0, said
    found = LAST_LINE.fullmatch(said.splitlines()[-1])
    assert found, said
    submissions, faults, kinds = map(int, found.groups())
    assert (submissions >= SUBMISSIONS, faults >= FAULTS, kinds >= KINDS) == (True, True, True), said
    assert used_by(checkout) == []
    written, personal = read_about(checkout)
    assert {"web", "relay", "relay.2", "worker", "worker.3", "scheduler"} <= written.keys() and len(personal) > 100
    assert any('"case.opened"' in text for (text,) in written.values()), "some were refused, and the logs say so"
    assert found_in(written, personal) == []
