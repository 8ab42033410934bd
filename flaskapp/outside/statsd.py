"""Counts and durations for a StatsD agent, with Datadog's tags: one datagram each, and nobody waits for it.

A datagram that is lost is lost. What the ledger counts comes as gauges that only grow (`flaskapp/ops/exports.py`).
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

# Below what any network carries in one piece.
DATAGRAM_BYTES = 1_400


class StatsD:
    """`address` is a host and a port."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._socket: socket.socket | None = None

    def tell(self, kind: str, name: str, value: float, labels: dict[str, str]) -> None:
        """One count, or one duration in seconds, of this process."""
        word, amount = ("c", value) if kind == "count" else ("ms", value * 1000)
        self.send([line_of(name.removesuffix("_seconds"), amount, word, labels)])

    def send(self, lines: Iterable[str]) -> None:
        """In as few datagrams as they fit in. Without an agent nothing happens."""
        datagram = b""
        for line in lines:
            more = line.encode()
            if datagram and len(datagram) + len(more) >= DATAGRAM_BYTES:
                self._send(datagram)
                datagram = b""
            datagram += b"\n" + more if datagram else more
        if datagram:
            self._send(datagram)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, datagram: bytes) -> None:
        try:
            if self._socket is None:
                family, kind, protocol, _, address = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0]
                connected = socket.socket(family, kind, protocol)
                connected.connect(address)
                connected.setblocking(False)
                self._socket = connected
            self._socket.send(datagram)
        except OSError:
            self.close()


def line_of(name: str, value: float, kind: str, labels: dict[str, str]) -> str:
    tags = ",".join(f"{label}:{text}" for label, text in sorted(labels.items()) if text)
    return f"surefile.{name}:{value:.15g}|{kind}" + (f"|#{tags}" if tags else "")
