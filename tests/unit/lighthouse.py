"""Answers of Lighthouse's ITF API, made up (contract: benefits 2.1), and a client beside a server that gives them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from flaskapp.upstreams.lighthouse.claims import LighthouseClaimsClient, UpstreamITF
from flaskapp.upstreams.transport.http import HTTP
from tests.unit.loopback import Loopback, Reply
from tests.unit.upstream_settings import Tokens, settings

ICN = "1012345678V123456"
PATH = f"/services/claims/v2/veterans/{ICN}/intent-to-file"
NOW = datetime.now(UTC).replace(microsecond=0)
CREATED, EXPIRES = NOW - timedelta(days=30), NOW + timedelta(days=335)
HELD = UpstreamITF("700421", "compensation", "active", CREATED, EXPIRES)


def itf(**changes: Any) -> dict[str, Any]:
    """An answer that holds an ITF. `id` changes the resource, everything else its attributes."""
    attributes = {
        "creationDate": CREATED.isoformat(),
        "expirationDate": EXPIRES.isoformat(),
        "type": "compensation",
        "status": "active",
    }
    resource = {"id": changes.pop("id", "700421"), "type": "intent_to_file"}
    attributes = {name: value for name, value in {**attributes, **changes}.items() if value != "absent"}
    return {"data": {**resource, "attributes": attributes}}


def api_error(detail: str = "no", **more: str) -> dict[str, Any]:
    return {"errors": [{"title": "made up", "detail": detail, **more}]}


class Bench:
    """A client, the server that it calls, and the count of its writes."""

    def __init__(self, server: Loopback) -> None:
        self.server = server
        self.tokens = Tokens()
        self.writes = 0
        config = settings(lighthouse_base_url=server.url, lighthouse_total_seconds=30)
        self.client = LighthouseClaimsClient(config, HTTP(10), self.tokens)

    def before_write(self) -> None:
        assert len(self.server.received) == self.writes
        self.writes += 1

    def read(self, *replies: Reply, icn: str = ICN) -> UpstreamITF | None:
        self.server.replies[:] = replies
        return self.client.active_itf(icn, "compensation")

    def create(self, *replies: Reply, ssn: str = "") -> UpstreamITF:
        self.server.replies[:] = replies
        return self.client.create_itf(ICN, "compensation", self.before_write, ssn)
