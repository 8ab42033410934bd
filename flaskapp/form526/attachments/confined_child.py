"""Entry of a child process that reads one file from a stranger: it gives up whatever it could do harm with, then reads.

`opening` starts this file with the path of a reading program (`pdf_child.py`, `picture_child.py`), the descriptor of
the file and the program's other words; nothing imports it. What a host may forbid is tried and not insisted on.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import resource
import sys
from typing import Any

KIB = 1024
# A small file that takes longer is built to. A large one was paid for by sending it.
LEAST_CPU_SECONDS, MOST_CPU_SECONDS = 2, 10
BYTES_A_CPU_SECOND = 256 * KIB

NOBODY = 65534
# Of <linux/sched.h>, <linux/prctl.h> and <linux/capability.h>.
NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000
SET_DUMPABLE, SET_NO_NEW_PRIVILEGES = 4, 38
CAPABILITIES_3 = 0x20080522


def cpu_seconds(size: int) -> int:
    return min(LEAST_CPU_SECONDS + size // BYTES_A_CPU_SECOND, MOST_CPU_SECONDS)


def confine(size: int, memory_bytes: int, written_bytes: int) -> None:
    """Give up network, user and privileges where the host allows that, and set the limits, which always hold."""
    leave_network()
    become_nobody()
    set_limits(size, memory_bytes, written_bytes)


def leave_network() -> bool:
    """Move this process to a network without any interface; False where the host forbids it.

    Without that, `set_limits` still leaves it no descriptor for a socket.
    """
    libc = ctypes.CDLL(None)
    if libc.unshare(NEW_NETWORK) == 0:
        return True
    # Anybody may have a network of their own inside a user namespace, but gets every capability in there.
    inside = libc.unshare(NEW_USER | NEW_NETWORK) == 0
    if inside:
        libc.capset((ctypes.c_uint32 * 2)(CAPABILITIES_3, 0), (ctypes.c_uint32 * 6)())
    return inside


def become_nobody() -> None:
    """Of root's processes become nobody's. No process may look into this one, and it can gain no privilege."""
    if os.geteuid() == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        except OSError:
            # A container's root may lack the right to.
            pass
    libc = ctypes.CDLL(None)
    libc.prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    libc.prctl(SET_DUMPABLE, 0, 0, 0, 0)


def set_limits(size: int, memory_bytes: int, written_bytes: int) -> None:
    seconds = cpu_seconds(size)
    for what, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, written_bytes),
        # A core file would leave a person's document on the disk.
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        # Nothing can be opened any more, neither a file nor a socket. What was handed over stays open.
        (resource.RLIMIT_NOFILE, 0),
    ):
        resource.setrlimit(what, (most, most))


def loaded(path: str) -> Any:
    """The reading program as a module, with everything that it imports."""
    spec = importlib.util.spec_from_file_location("reading", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    del sys.argv[0]
    program = loaded(sys.argv[0])
    confine(os.fstat(int(sys.argv[1])).st_size, program.MEMORY_BYTES, program.WRITTEN_BYTES)
    return int(program.main())


if __name__ == "__main__":
    sys.exit(main())
