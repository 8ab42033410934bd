"""The first step of the fork server, which is preloaded there and imported nowhere else.

Each fork holds the pipe by which the server would see that the tests are gone, and each fork ends only after the
server: neither would end by itself. So the kernel ends the server of a killed test run, and with it the forks; nothing
keeps the output of the run open.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


SERVER, TESTS = os.getpid(), os.getppid()


def tether(parent: int) -> None:
    """If the parent of this process ends, Linux ends this process too. A parent that ended before this call is not
    seen."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)


def tether_fork() -> None:
    """The forks of a fork are tethered to nobody: they watch it themselves."""
    global generation
    generation += 1
    if generation == 1:
        tether(SERVER)


generation = 0
tether(TESTS)
os.register_at_fork(after_in_child=tether_fork)
