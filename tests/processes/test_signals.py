"""A stop must work whatever the process is doing: Heroku sends SIGTERM to every process, and maybe twice; a terminal
that closes sends SIGHUP."""

import os
import signal

import pytest

from tests.forked import hang_up_under_nohup, stop_while_stopping
from tests.forks import forking

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_second_signal_in_the_middle_of_the_first_hangs_nothing(number):
    here, there = forking.Pipe()
    child = forking.Process(target=stop_while_stopping, args=(there,), daemon=True)
    child.start()
    try:
        assert here.poll(60) and here.recv() == "ready"
        os.kill(child.pid, number)
        assert here.poll(60) and here.recv() == "stopped"
        child.join(60)
    finally:
        child.kill()
    assert child.exitcode == 0


def test_a_process_under_nohup_outlives_its_terminal():
    here, there = forking.Pipe()
    child = forking.Process(target=hang_up_under_nohup, args=(there,), daemon=True)
    child.start()
    assert here.poll(60) and here.recv() is False
    child.join(60)
    assert child.exitcode == 0
