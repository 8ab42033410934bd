"""Liveness: the request that asks whether the process runs, and its answer, given where no thread is needed for it."""

from __future__ import annotations

import re

PATH = "/healthz/live"
ALIVE = {"status": "alive"}

# One whole, plain request and nothing behind it. Whatever looks otherwise goes the way of all requests.
PLAIN = re.compile(
    rb"GET " + PATH.encode() + rb" HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}:[ -~]{0,2000}\r\n){1,48})\r\n"
)
# What would change how the request is read, or what its answer may be.
NOT_PLAIN = frozenset({"content-length", "transfer-encoding", "expect", "upgrade", "http2-settings", "trailer", "te"})


def read_question(received: bytes | bytearray) -> dict[str, str] | None:
    """The headers, by name in small letters, of a plain request for liveness; None for anything else."""
    found = PLAIN.fullmatch(received)
    if found is None:
        return None
    lines = [line.partition(":") for line in found[1].decode("ascii").splitlines()]
    headers = {name.lower(): value.strip() for name, _, value in lines}
    is_plain = "host" in headers and len(headers) == len(lines) and not headers.keys() & NOT_PLAIN
    return headers if is_plain else None
