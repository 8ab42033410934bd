"""Many signed-in people who read their travel pay claims at once, each over a connection of their own."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass

CLAIMS_URL = "/travel_pay/v0/claims"
REFUSED = (502, 503, 504)


@dataclass(frozen=True)
class Read:
    """One answer and the seconds it took. `retry_after` is how long the client must wait before it reads again; 0
    without one."""

    status: int
    seconds: float
    retry_after: float


class Reader:
    """A person's browser. A connection that the server has closed is opened again."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
        self._headers = headers

    def close(self) -> None:
        self._connection.close()

    def read(self, path: str = CLAIMS_URL) -> Read:
        try:
            return self._read(path)
        except (ConnectionError, http.client.HTTPException):
            self._connection.close()
            return self._read(path)

    def _read(self, path: str) -> Read:
        began = time.perf_counter()
        self._connection.request("GET", path, headers=self._headers)
        reply = self._connection.getresponse()
        body = reply.read()
        took = time.perf_counter() - began
        assert reply.status == 200 or reply.status in REFUSED, body
        return Read(reply.status, took, float(reply.headers.get("Retry-After", 0)))


def each_reads(port: int, people: Sequence[dict[str, str]], times: int, path: str = CLAIMS_URL) -> list[float]:
    """The seconds of so many reads by each of them, all at once; none may be refused."""

    def read_on(headers: dict[str, str]) -> list[float]:
        with closing(Reader(port, headers)) as reader:
            reads = [reader.read(path) for _ in range(times)]
        assert {read.status for read in reads} == {200}, reads
        return [read.seconds for read in reads]

    with ThreadPoolExecutor(len(people)) as pool:
        return [seconds for found in pool.map(read_on, people) for seconds in found]


@contextmanager
def hammering(
    port: int, people: Sequence[dict[str, str]], pause: Callable[[Read], float], path: str = CLAIMS_URL
) -> Iterator[list[Read]]:
    """All of them read until the block ends, and then wait for their last answers. Yields what was read so far.

    `pause` is how many seconds each waits after an answer.
    """
    over, reads = threading.Event(), list[Read]()

    def read_on(headers: dict[str, str]) -> None:
        with closing(Reader(port, headers)) as reader:
            while not over.is_set():
                reads.append(reader.read(path))
                over.wait(pause(reads[-1]))

    with ThreadPoolExecutor(len(people)) as pool:
        running = [pool.submit(read_on, headers) for headers in people]
        try:
            yield reads
        finally:
            over.set()
    for each in running:
        each.result()
