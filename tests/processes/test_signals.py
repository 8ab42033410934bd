"""A stop must get through whatever the process is doing: Heroku sends SIGTERM to every process, and maybe twice."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
# The second signal arrives while the first one is being obeyed, with the flag's own lock held.
STOPPED_WHILE_STOPPING = """
import os, signal, threading, time
from jobs.processes import stop_on_signals

class Flag(threading.Event):
    def set(self):
        with self._cond:
            if not self._flag:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.05)
            self._flag = True
            self._cond.notify_all()

stopping = Flag()
stop_on_signals(stopping)
print("ready", flush=True)
stopping.wait()
print("stopped", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_in_the_middle_of_the_first_hangs_nothing(number):
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED_WHILE_STOPPING], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        try:
            output, _ = child.communicate(timeout=10)
        finally:
            child.kill()
    assert (output, child.returncode) == ("stopped\n", 0)
