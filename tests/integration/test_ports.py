"""A port that was given to somebody is theirs: other test runs, and all that connects to anything, leave it alone."""

import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sandbox.server import PORTS, ServerError, free_port, held_port
from sandbox.servers import EmbeddedPostgres, EmbeddedRedis

ROOT = Path(__file__).parents[2]


def test_ports_stay_out_of_the_range_outgoing_connections_use():
    spans = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(spans.read_text().split()[0]) if spans.exists() else 32_768
    assert PORTS.stop <= first


def test_a_port_once_given_is_given_to_nobody_else_and_a_server_starts_on_it(monkeypatch):
    taken = free_port()
    monkeypatch.setattr("sandbox.server.PORTS", range(taken, taken + 1))
    with pytest.raises(ServerError, match=f"no port from {taken} to {taken} is free"):
        free_port()
    with EmbeddedRedis.throwaway(port=taken) as cache:
        cache.restart()
        assert f":{taken}/" in cache.url


def test_another_process_is_not_given_it_either():
    taken = free_port()
    script = f"import sandbox.server as s; s.PORTS = range({taken}, {taken + 1}); s.free_port()"
    other = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert other.stderr.splitlines()[-1].endswith(f"no port from {taken} to {taken} is free")


def test_a_held_port_is_free_again_once_it_is_let_go():
    with held_port() as holder:
        port = holder.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            held_port(port)
    held_port(port).close()


def test_a_server_that_finds_its_port_taken_after_all_says_so(monkeypatch):
    with EmbeddedPostgres.throwaway(fast=True) as server:
        server.stop()
        monkeypatch.setattr("sandbox.server.port_is_free", lambda port: True)
        with (
            closing(socket.socket()) as stranger,
            pytest.raises(ServerError, match=r"could not bind IPv4 address .*in use.*could not create any"),
        ):
            # Let in beside our holder, and letting nobody in.
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            stranger.bind(("127.0.0.1", server.port))
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            server.start()
