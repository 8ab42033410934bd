"""VEIS, BTSSS and VANotify with the smallest answers that our clients accept, in a process of its own.

The fakes of the sandbox check every field, which costs more than a job of ours; here only we are to be measured.
`GET /_slow?seconds=…` sets how long a submit takes, `GET /_counts` tells how many calls were taken.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import uuid
from collections import Counter
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

TOKEN = {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": "x" * 40}


class Upstream:
    def __init__(self) -> None:
        self.slow = 0.0
        self.numbers = itertools.count(1)
        self.counts = Counter[str]()
        self.in_flight = self.most_in_flight = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept open until the client closes it."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *fields = head.decode("latin-1").split("\r\n")
                method, target, _ = line.split(" ", 2)
                length = next((f[15:] for f in fields if f[:15].lower() == "content-length:"), "0")
                await reader.readexactly(int(length))
                status, body = await self.answer(method, target)
                encoded = json.dumps(body).encode()
                writer.write(
                    b"HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (status, len(encoded), encoded)
                )
        writer.close()

    async def answer(self, method: str, target: str) -> tuple[int, object]:
        url = urlsplit(target)
        if url.path == "/_slow":
            self.slow = float(parse_qs(url.query)["seconds"][0])
            return 200, {}
        if url.path == "/_counts":
            return 200, {**self.counts, "in_flight": self.in_flight, "most_in_flight": self.most_in_flight}
        if "/oauth2/" in url.path:
            return 200, TOKEN
        if url.path.endswith("/submitclaim"):
            return 200, await self.submit()
        if method == "POST" and "/v2/notifications/" in url.path:
            self.counts["sent"] += 1
            return 201, {"id": str(uuid.uuid4())}
        return 404, {}

    async def submit(self) -> object:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.slow)
        finally:
            self.in_flight -= 1
        self.counts["filed"] += 1
        return {"claimNumber": f"TC{next(self.numbers):012}"}


async def main(port: int) -> None:
    server = await asyncio.start_server(Upstream().serve, "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1])))
