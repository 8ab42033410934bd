"""The fork server's first step: preloaded there and imported nowhere else.

Each fork holds the pipe by which the server would learn that the tests have gone, and ends only after the server. So
the kernel ends the server of a test run that was killed, and its forks with it: nobody keeps its output open.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


SERVER, TESTS = os.getpid(), os.getppid()


def tether(parent: int) -> None:
    """Should the parent of this process end, Linux ends it as well; one that has ended already is told to nobody."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)


tether(TESTS)
os.register_at_fork(after_in_child=lambda: tether(SERVER))
