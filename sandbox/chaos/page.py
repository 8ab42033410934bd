"""A page of the front end under chaos: one kept-open connection, and every POST repeated until it is answered.

A POST is repeated under its idempotency key.
"""

from __future__ import annotations

import http.client
import itertools
import json
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any

# A page waits so long for an answer; then it posts again.
PATIENCE_SECONDS = 10.0
AGAIN_SECONDS = 0.3
# After these answers a page posts again: the server, or a proxy before it, had a problem that passes.
PASSING = (429, 500, 502, 503, 504)
FILE_FIELD = "supporting_evidence_attachment[file_data]"


class GivenUp(Exception):
    """The run is over, and there was no answer."""


class Odd(Exception):
    """An answer that no page of ours expects. The text says which."""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Page:
    """`doors` are the web processes, each as host:port; after trouble with one, the next is tried, as a router does.

    `troubles` counts what made pages repeat a request, for all pages together. `over` ends every wait.
    """

    def __init__(self, doors: Sequence[str], troubles: Counter[str], over: Event) -> None:
        self._doors = itertools.cycle(doors)
        self._connection = self._connect()
        self._troubles = troubles
        self._over = over
        self.headers: dict[str, str] = {"X-Key-Inflection": "camel"}

    def close(self) -> None:
        self._connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(next(self._doors), timeout=PATIENCE_SECONDS)

    @contextmanager
    def carrying(self, name: str, value: str) -> Iterator[None]:
        """With this header in every request, until the end of the block."""
        self.headers[name] = value
        try:
            yield
        finally:
            del self.headers[name]

    def get(self, path: str, *expected: int) -> Reply:
        return self._until_answered("GET", path, None, {}, expected)

    def post(self, path: str, body: Any, *expected: int) -> Reply:
        """Post until there is an answer. Raises GivenUp, or Odd for an answer that is not expected."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
        return self._until_answered("POST", path, json.dumps(body).encode(), headers, expected)

    def send_file(self, path: str, name: str, content: bytes, *expected: int) -> Reply:
        border = uuid.uuid4().hex
        head = f'--{border}\r\nContent-Disposition: form-data; name="{FILE_FIELD}"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + f"\r\n--{border}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={border}", "Idempotency-Key": border}
        return self._until_answered("POST", path, body, headers, expected)

    def _until_answered(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], expected: tuple[int, ...]
    ) -> Reply:
        while True:
            reply = self._tried_once(method, path, body, {**self.headers, **headers})
            if reply is not None and reply.status in expected:
                return reply
            if reply is not None and reply.status not in PASSING:
                raise Odd(f"{method} {path} answered {reply.status}: {reply.body[:300]!r}")
            if self._over.wait(AGAIN_SECONDS):
                raise GivenUp(f"{method} {path}")

    def _tried_once(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply | None:
        """One try; None when there was no answer."""
        try:
            self._connection.request(method, path, body, dict(headers))
            reply = self._connection.getresponse()
            found = Reply(reply.status, reply.headers, reply.read())
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            self._connection = self._connect()
            self._troubles[f"no answer ({type(error).__name__})"] += 1
            return None
        if found.status in PASSING:
            self._troubles[f"answered {found.status}"] += 1
        return found
