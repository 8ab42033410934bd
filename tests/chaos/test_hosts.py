"""The wire between the sandbox's hosts: what is cut off, slow or deaf is so for others, and only until it is joined."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sandbox.hosts.network import NAMESPACES, Host, Network, NotAllowed, check_allowed

PORT, FLOATING = 4000, 200
# Answers each connection with the name it was given.
ANSWER = f"""
import socket, sys
with socket.create_server(("", {PORT})) as server:
    print("listening", flush=True)
    while True:
        with server.accept()[0] as client:
            client.sendall(sys.argv[1].encode())
"""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    try:
        check_allowed()
        with Network() as made:
            yield made
    except NotAllowed as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def pair(network: Network) -> Iterator[tuple[Host, Host]]:
    hosts = network.host("one"), network.host("two")
    running = [answering(host) for host in hosts]
    yield hosts
    for child in running:
        child.kill()
        child.communicate()


def answering(host: Host) -> subprocess.Popen[str]:
    argv = [*host.enter, "--", sys.executable, "-c", ANSWER, host.name]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "listening\n"
    return child


def heard_from(address: str, seconds: float = 30.0) -> str | None:
    """Who answers there; None for nobody within the wait, which is silence."""
    try:
        with socket.create_connection((address, PORT), timeout=seconds) as line:
            return line.recv(100).decode()
    except OSError:
        return None


def is_silent(host: Host) -> bool:
    return heard_from(host.address, seconds=0.3) is None


def test_a_host_that_is_cut_off_is_silent_until_it_is_joined(pair: tuple[Host, Host]) -> None:
    one, two = pair
    one.cut()
    assert is_silent(one)
    assert heard_from(two.address) == "two"
    one.join()
    assert heard_from(one.address) == "one"


def test_a_deaf_host_sends_nothing_to_that_one_address(network: Network, pair: tuple[Host, Host]) -> None:
    one, two = pair
    one.go_deaf_to(network.address)
    assert is_silent(one)
    assert heard_from(two.address) == "two"
    one.join()
    assert heard_from(one.address) == "one"


def test_a_floating_address_is_where_it_was_moved_last(network: Network, pair: tuple[Host, Host]) -> None:
    floating = network.floating(FLOATING)
    for host in (*pair, pair[0]):
        network.move(floating, host)
        assert heard_from(floating) == host.name


def test_a_slow_host_is_at_full_speed_again_once_joined(pair: tuple[Host, Host]) -> None:
    one, _ = pair
    one.slow_down()
    one.slow_down()
    assert heard_from(one.address) == "one"
    one.join()
    one.join()
    assert heard_from(one.address) == "one"


def test_nothing_is_left_of_the_network(network: Network) -> None:
    with Network() as other:
        other.host("alone")
        assert list(NAMESPACES.glob(f"{other.mark}-*"))
    assert not list(NAMESPACES.glob(f"{other.mark}-*"))
    assert list(NAMESPACES.glob(f"{network.mark}-*"))
