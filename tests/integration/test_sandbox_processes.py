"""Processes of the Procfile: they run as written, are watched, and end with everything they started."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from sandbox.processes import Crew, Process, ProcessEnded, procfile, surroundings, trouble_in
from tests.product import eventually

ROOT = Path(__file__).parents[2]
SLEEP = f"{sys.executable} -c 'import time; print(1, flush=True); time.sleep(60)'"
# Ignores SIGTERM, and has a child that ignores it too.
STUBBORN = "sh -c 'trap \"\" TERM; sleep 60 & echo up; while true; do sleep 0.05; done'"


@pytest.fixture
def start(tmp_path):
    started = []

    def begin(command, name="web", **options):
        process = Process(name, command, surroundings({}, 1), tmp_path / "logs" / name, root=tmp_path, **options)
        process.start()
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()


def said(process, text):
    return lambda: process.log.exists() and text in process.log.read_text()


def group(process):
    return [each for each in psutil.process_iter(["status"]) if group_of(each.pid) == process.pid and alive(each)]


def alive(process):
    """Dead orphans stay listed until their adoptive parent has collected them."""
    return process.info["status"] != psutil.STATUS_ZOMBIE


def group_of(pid):
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def test_the_procfile_is_read_in_order():
    names = list(procfile(ROOT / "Procfile"))
    assert names[0] == "release" and {"web", "relay", "worker", "scheduler"} <= set(names)


def test_a_process_finds_this_pythons_programs_and_its_port(start, tmp_path):
    process = start("python -c 'import sys, os; print(sys.prefix, os.environ[\"PORT\"])'")
    assert process.wait(60) == 0
    assert process.log.read_text() == f"{sys.prefix} 1\n"


def test_sigterm_ends_a_process(start):
    process = start(SLEEP)
    process.wait_ready(said(process, "1"))
    assert process.terminate() == -signal.SIGTERM
    assert not process.running


def test_a_process_that_ignores_sigterm_is_killed_with_its_children_at_the_limit(start):
    process = start(STUBBORN)
    process.wait_ready(said(process, "up"))
    began = time.monotonic()
    assert process.terminate(0.3) == -signal.SIGKILL
    assert 0.3 <= time.monotonic() - began < 20
    # A dead process is still listed for an instant, until the kernel is done with it.
    assert eventually(lambda: group(process) == [])


def test_a_killed_process_starts_again_and_keeps_its_log(start):
    process = start(SLEEP)
    process.wait_ready(said(process, "1\n"))
    process.kill()
    process.start()
    process.wait_ready(said(process, "1\n1\n"))
    assert process.running


def test_a_process_that_ends_early_is_named_with_its_last_words(start):
    process = start("sh -c 'echo no such table; exit 3'", "relay")
    with pytest.raises(ProcessEnded, match=r"relay ended with exit code 3(.|\n)*no such table"):
        process.wait_ready(lambda: False)


def test_a_process_that_is_never_ready_is_reported(start):
    process = start(SLEEP)
    with pytest.raises(ProcessEnded, match="web was not ready after 0 s"):
        process.wait_ready(lambda: False, 0.2)


def test_a_crew_reports_which_process_died_and_stops_the_others(start, tmp_path):
    crew = Crew(Process(name, SLEEP, surroundings({}, 1), tmp_path / name, root=tmp_path) for name in ("web", "relay"))
    crew.start()
    try:
        crew.must_run()
        crew["relay"].kill()
        with pytest.raises(ProcessEnded, match="relay ended with exit code -9"):
            crew.wait_ready("web", lambda: False)
        assert crew["web"].running
    finally:
        crew.stop(5)
    assert not crew["web"].running


def test_each_line_of_output_is_passed_on_with_the_process_name(start):
    received = []
    start("sh -c 'echo one; echo two'", hear=lambda name, line: received.append((name, line))).wait(60)
    assert received == [("web", "one"), ("web", "two")]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("[INFO] Booting worker", None),
        ("[ERROR] Worker failed to boot", "[ERROR] Worker failed to boot"),
        (json.dumps({"level": "INFO", "message": "upstream.called"}), None),
        (
            json.dumps({"level": "WARNING", "logger": "x", "message": "breaker.opened", "upstream": "btsss"}),
            "WARNING breaker.opened upstream=btsss",
        ),
        (json.dumps({"level": "ERROR", "message": "job failed\nTraceback\n  File"}), "ERROR job failed"),
        ("{broken", "{broken"),
    ],
)
def test_only_trouble_is_shown_at_the_terminal(line, shown):
    assert trouble_in(line) == shown
