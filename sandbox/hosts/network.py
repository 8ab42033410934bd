"""A wire with several hosts on it, on this one machine: network namespaces, joined by a bridge in one of its own.

Needs root and Linux, with `ip` and `tc` of iproute2 and `nsenter` of util-linux. This machine is on the wire too, at
`Network.address`; nothing else of its network is touched, and all is gone at the end.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil

from sandbox.server import ServerError

PREFIX = "surefile"
NAMESPACES = Path("/run/netns")
PROGRAMS = ("ip", "tc", "nsenter")
HERE = 254
NUMBERS = itertools.count()
# Slow enough that a page of rows takes a second, and not so slow that nothing arrives.
SLOW_RATE = "200kbit"


class NotAllowed(ServerError):
    """This machine has no network namespaces for us. The text says why."""


def ip(*words: str) -> None:
    run_program("ip", *words)


def run_program(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerError(f"`{' '.join(argv)}`: {done.stderr.strip()}")


class Host:
    """One host: `address` on the wire, and `enter`, the words before a command that is to run there."""

    def __init__(self, network: Network, name: str, number: int) -> None:
        self.name = name
        self.network = network
        self.address = f"{network.subnet}.{number}"
        self._namespace = f"{network.mark}-{name}"
        self._port = f"p{number}"
        ip("netns", "add", self._namespace)
        self.enter = ["nsenter", f"--net={NAMESPACES / self._namespace}"]
        network.plug(self._namespace, "eth0", self._port)
        self._ip("link", "set", "lo", "up")
        self.take(self.address)
        self._ip("link", "set", "eth0", "up")

    def cut(self) -> None:
        """Pull its plug: what is sent to it or by it vanishes, and nobody is told."""
        self.network.set_port(self._port, "down")

    def join(self) -> None:
        """Plug it in again, at full speed and with every way open."""
        self.network.set_port(self._port, "up")
        self._ip("route", "flush", "type", "blackhole")
        with suppress(ServerError):
            run_program("tc", "-n", self._namespace, "qdisc", "del", "dev", "eth0", "root")

    def slow_down(self) -> None:
        """Everything that it sends goes out at a crawl."""
        bucket = ("tbf", "rate", SLOW_RATE, "burst", "4kb", "latency", "2s")
        run_program("tc", "-n", self._namespace, "qdisc", "replace", "dev", "eth0", "root", *bucket)

    def go_deaf_to(self, address: str) -> None:
        """A half-open line: what the other sends arrives here, and no answer or acknowledgement leaves."""
        self._ip("route", "replace", "blackhole", f"{address}/32")

    def take(self, address: str) -> None:
        self._ip("address", "add", f"{address}/24", "dev", "eth0")

    def give_up(self, address: str) -> None:
        with suppress(ServerError):
            self._ip("address", "del", f"{address}/24", "dev", "eth0")

    def forget_neighbours(self) -> None:
        self._ip("neigh", "flush", "all")

    def _ip(self, *words: str) -> None:
        ip("-n", self._namespace, *words)


class Network:
    """The wire. `move` lets an address change its host, as a floating address or a DNS entry does."""

    def __init__(self) -> None:
        pid, number = os.getpid(), next(NUMBERS)
        self.mark = f"{PREFIX}-{pid}-{number}"
        self.subnet = f"10.203.{(pid + number) % 250}"
        self.address = f"{self.subnet}.{HERE}"
        self.hosts: dict[str, Host] = {}
        self._bridge = f"{self.mark}-wire"
        self._own = f"sf{pid}-{number}"

    def __enter__(self) -> Self:
        check_allowed()
        sweep_leftovers()
        try:
            ip("netns", "add", self._bridge)
            ip("-n", self._bridge, "link", "add", "wire", "type", "bridge", "forward_delay", "0")
            ip("-n", self._bridge, "link", "set", "wire", "up")
            ip("link", "add", self._own, "type", "veth", "peer", "name", "here", "netns", self._bridge)
            ip("-n", self._bridge, "link", "set", "here", "master", "wire", "up")
            ip("address", "add", f"{self.address}/24", "dev", self._own)
            ip("link", "set", self._own, "up")
        except ServerError as error:
            self.__exit__()
            raise NotAllowed(f"no network namespace can be made here: {error}") from None
        return self

    def __exit__(self, *failure: object) -> None:
        with suppress(ServerError):
            ip("link", "del", self._own)
        remove_namespaces(self.mark)

    def host(self, name: str) -> Host:
        """A new host of this name."""
        self.hosts[name] = Host(self, name, len(self.hosts) + 1)
        return self.hosts[name]

    def floating(self, number: int) -> str:
        """An address of nobody's own, from 200 on."""
        return f"{self.subnet}.{number}"

    def move(self, address: str, to: Host) -> None:
        """From here on this address is that host's, and everybody knows it."""
        for host in self.hosts.values():
            if host is not to:
                host.give_up(address)
        to.give_up(address)
        to.take(address)
        for host in self.hosts.values():
            host.forget_neighbours()
        ip("neigh", "flush", "dev", self._own)

    def plug(self, namespace: str, inside: str, port: str) -> None:
        ip("link", "add", inside, "netns", namespace, "type", "veth", "peer", "name", port, "netns", self._bridge)
        ip("-n", self._bridge, "link", "set", port, "master", "wire", "up")

    def set_port(self, port: str, state: str) -> None:
        ip("-n", self._bridge, "link", "set", port, state)


def check_allowed() -> None:
    """Raises NotAllowed, with what is missing."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        raise NotAllowed(f"{', '.join(missing)} not found; iproute2 and util-linux have them")
    if os.geteuid() != 0:
        raise NotAllowed("only root may make network namespaces")


def sweep_leftovers() -> None:
    """Remove what a run that was killed left behind."""
    for each in NAMESPACES.glob(f"{PREFIX}-*-wire"):
        pid = each.name.split("-")[1]
        if not psutil.pid_exists(int(pid)):
            remove_namespaces(each.name.removesuffix("-wire"))


def remove_namespaces(mark: str) -> None:
    for each in NAMESPACES.glob(f"{mark}-*"):
        with suppress(ServerError):
            ip("netns", "del", each.name)
