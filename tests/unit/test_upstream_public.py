"""Addresses outside and inside, in every spelling that a resolver may give."""

from __future__ import annotations

import pytest

from flaskapp.upstreams.transport.public import is_public

INSIDE = (
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "255.255.255.255", "240.0.0.1"),
    *("::", "::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1"),
    # IPv4 in IPv6: mapped, translated, 6to4, Teredo.
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001::1"),
)
OUTSIDE = ("8.8.8.8", "172.32.0.1", "192.169.0.1", "2606:4700::1111", "::ffff:8.8.8.8")


@pytest.mark.parametrize("address", [*INSIDE, *OUTSIDE])
def test_only_public_addresses_are_connected_to(address: str) -> None:
    assert is_public(address) == (address in OUTSIDE)
