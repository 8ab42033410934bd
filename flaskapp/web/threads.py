"""How the threads of one web process are shared out, so that no crowds, of whatever kinds, take all of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shares:
    """Most threads that wait for upstreams (`waiting`; `each` of them for one upstream), read slow bodies (`bodies`),
    and read or keep files (`files`)."""

    waiting: int
    each: int
    bodies: int
    files: int


def shares_of(threads: int) -> Shares:
    """Half wait for upstreams. From six threads up, the other half reads bodies and files and has one to spare."""
    waiting = max(1, threads // 2)
    rest = threads - waiting
    bodies = max(1, rest // 2)
    return Shares(waiting, max(1, waiting // 2), bodies, max(1, rest - bodies - 1))
