"""The child that reads a stranger's file can reach nothing: no network, no file, no process, no privilege."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from flaskapp.form526.attachments import confined_child, opening
from tests.unit.pdfs import PLAIN

pytestmark = pytest.mark.usefixtures("patience")

# A reading program that tries what no reading program should, and writes what became of it in place of a copy.
PROBE = """
import ctypes, json, os, resource, socket, sys
MEMORY_BYTES, WRITTEN_BYTES = 1 << 29, 1 << 16
def tried(act):
    try:
        return repr(act())
    except (OSError, ValueError) as error:
        return getattr(error, "errno", str(error))
def main():
    libc = ctypes.CDLL(None)
    seen = {
        "file": tried(lambda: open("/etc/passwd")),
        "socket": tried(socket.socket),
        "pipe": tried(os.pipe),
        "more": tried(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (99, 99))),
        "users": [*os.getresuid(), *os.getresgid(), *os.getgroups()],
        "environment": dict(os.environ),
        "no_new_privileges": libc.prctl(39, 0, 0, 0, 0),
        "dumpable": libc.prctl(3, 0, 0, 0, 0),
        "cpu": resource.getrlimit(resource.RLIMIT_CPU),
        "memory": resource.getrlimit(resource.RLIMIT_AS),
        "processes": resource.getrlimit(resource.RLIMIT_NPROC),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
    }
    os.write(int(sys.argv[2]), json.dumps(seen).encode())
    return 41
"""
# Loads the entry as a module, so that its parts can be tried one by one in a process that may be spoilt.
LOAD = f"""
import importlib.util, json, os, socket, sys
spec = importlib.util.spec_from_file_location("confined", {str(opening.ENTRY)!r})
confined = importlib.util.module_from_spec(spec)
spec.loader.exec_module(confined)
"""


def result_of(program: str, *words: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", LOAD + program, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_reading_program_can_open_nothing_and_is_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "probe.py").write_text(PROBE)
    monkeypatch.setattr(opening, "PDF_CHILD", tmp_path / "probe.py")
    monkeypatch.setenv("SECRET_KEY", "sesame-526")
    with opening.opened_pdf(io.BytesIO(PLAIN), None) as copy:
        seen = json.loads(copy.read())
    too_many = 24
    assert [seen[what] for what in ("file", "socket", "pipe")] == [too_many] * 3
    assert seen["more"] == "not allowed to raise maximum limit"
    assert (seen["no_new_privileges"], seen["dumpable"]) == (1, 0)
    assert "sesame-526" not in json.dumps(seen["environment"])
    assert (seen["cpu"], seen["memory"]) == ([2, 2], [1 << 29] * 2)
    assert (seen["processes"], seen["core"]) == ([0, 0], [0, 0])
    if os.geteuid() == 0:
        assert seen["users"] == [confined_child.NOBODY] * 6
    else:
        assert seen["users"][:3] == [os.geteuid()] * 3


@pytest.mark.parametrize("user", [None, confined_child.NOBODY], ids=["as we are", "as somebody without privileges"])
def test_it_leaves_the_network_where_the_host_allows_that(user: int | None) -> None:
    """Also without root, in a user namespace, of whose capabilities it keeps none."""
    if user is not None and os.geteuid() != 0:
        pytest.skip("only root can become somebody else; the other run is without privileges")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        seen = result_of(
            f"""
if {user!r} is not None:
    os.setresuid({user!r}, {user!r}, {user!r})
left = confined.leave_network()
with socket.socket() as other:
    code = other.connect_ex(("127.0.0.1", {port}))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({{"left": left, "code": code, "capabilities": int(status["CapEff"], 16), "uid": os.geteuid()}}))
"""
        )
    if not seen["left"]:
        pytest.skip(
            "this host allows no network namespace; then only the limit on descriptors keeps it off the network"
        )
    assert seen["code"] != 0
    if user is not None:
        assert seen["capabilities"] == 0


def test_a_host_that_forbids_it_all_stops_no_reading() -> None:
    """The limits hold all the same: there is no descriptor for a socket."""
    seen = result_of(
        """
def forbidden(*_):
    raise PermissionError
class Libc:
    def unshare(self, flags):
        return -1
    def prctl(self, *_):
        return -1
confined.ctypes.CDLL = lambda _: Libc()
os.setgroups = os.setresuid = os.setresgid = forbidden
left = confined.leave_network()
confined.confine(1000, 1 << 29, 0)
try:
    socket.socket()
    code = 0
except OSError as error:
    code = error.errno
print(json.dumps({"left": left, "code": code}))
"""
    )
    assert seen == {"left": False, "code": 24}
