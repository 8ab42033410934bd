"""Connections to public addresses only, for hosts that somebody outside has named.

The address that was checked is the one that is connected to: a name could lead elsewhere the next moment. Behind an
outgoing proxy, the proxy decides where it may connect to.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

from urllib3.util.connection import create_connection

from flaskapp.upstreams.transport.deadline import (
    LimitedAdapter,
    LimitedHTTPConnection,
    LimitedHTTPPool,
    LimitedHTTPSConnection,
    LimitedHTTPSPool,
)

# Addresses that stand for an IPv4 address which they lead to: NAT64, 6to4, Teredo.
TRANSLATED = tuple(map(IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))


class NotPublic(OSError):
    """The host is, or its name leads to, an address inside: loopback, a private network, a neighbour on the link."""


def is_public(address: str) -> bool:
    found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        if any(found in network for network in TRANSLATED):
            return False
        found = found.ipv4_mapped or found
    return found.is_global and not found.is_multicast


def public_addresses(host: str, port: int) -> list[str]:
    """All addresses of a host. Raises NotPublic if any of them is not public, and OSError where there is none."""
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    if not all(map(is_public, addresses)):
        raise NotPublic("its address is not a public one")
    return addresses


class PublicHTTPConnection(LimitedHTTPConnection):
    def _reach(self) -> socket.socket:
        failed: OSError = NotPublic("it has no address")
        for address in public_addresses(self._dns_host, self.port):
            try:
                return create_connection((address, self.port), self.timeout, self.source_address, self.socket_options)
            except OSError as error:
                failed = error
        raise failed


class PublicHTTPSConnection(PublicHTTPConnection, LimitedHTTPSConnection):
    """The same over TLS, whose certificate has to be for the name."""


class PublicHTTPPool(LimitedHTTPPool):
    ConnectionCls = PublicHTTPConnection


class PublicHTTPSPool(LimitedHTTPSPool):
    ConnectionCls = PublicHTTPSConnection


class PublicAdapter(LimitedAdapter):
    """Makes connections to public addresses, and to the proxy that the environment names."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": PublicHTTPPool, "https": PublicHTTPSPool}
