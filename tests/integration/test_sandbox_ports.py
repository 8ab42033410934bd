"""Ports for tests: a port given to one user is used by nobody else, neither test runs nor outgoing connections."""

import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sandbox.run import choices
from sandbox.server import PORTS, ServerError, free_port, held_port
from sandbox.servers import EmbeddedPostgres, EmbeddedValkey

ROOT = Path(__file__).parents[2]


def test_ports_are_outside_the_range_of_outgoing_connections():
    spans = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(spans.read_text().split()[0]) if spans.exists() else 32_768
    assert PORTS.stop <= first


def test_a_given_port_is_given_to_nobody_else_and_a_server_starts_on_it(monkeypatch):
    given = free_port()
    monkeypatch.setattr("sandbox.server.PORTS", range(given, given + 1))
    with pytest.raises(ServerError, match=f"no port from {given} to {given} is free"):
        free_port()
    with EmbeddedValkey.throwaway(port=given) as cache:
        cache.restart()
        assert f":{given}/" in cache.url


def test_another_process_does_not_get_a_given_port():
    given = free_port()
    script = f"import sandbox.server as s; s.PORTS = range({given}, {given + 1}); s.free_port()"
    other = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert other.stderr.splitlines()[-1].endswith(f"no port from {given} to {given} is free")


def test_a_held_port_is_free_again_when_it_is_released():
    with held_port() as holder:
        port = holder.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            held_port(port)
    held_port(port).close()


def test_a_server_that_finds_its_port_in_use_says_so(monkeypatch):
    with EmbeddedPostgres.throwaway(fast=True) as server:
        server.stop()
        monkeypatch.setattr("sandbox.server.port_is_free", lambda port: True)
        with (
            closing(socket.socket()) as stranger,
            pytest.raises(ServerError, match=r"could not bind IPv4 address .*in use.*could not create any"),
        ):
            # The stranger may bind beside our holder, and lets no other one in.
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            stranger.bind(("127.0.0.1", server.port))
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            server.start()


@pytest.mark.parametrize("given", [(None, None), (9000, None), (65_535, None), (65_400, None), (None, 0), (9000, 8100)])
def test_a_run_that_looks_for_ports_tries_each_once_and_none_that_does_not_exist(given):
    found = list(choices(*given))
    assert {*(choice.web for choice in found)} == {given[0]} or given[0] is None
    assert len({(choice.web, *choice.fakes.values()) for choice in found}) == len(found)
    assert all(0 < port < 65_536 for choice in found for port in (choice.web, *choice.fakes.values()))
