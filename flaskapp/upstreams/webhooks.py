"""Client of receivers of webhooks, as Standard Webhooks 1.0 describes them: an id, a time and a signature with each
body. Whoever has the secret can verify them with its public libraries."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from urllib.parse import urlsplit

from flaskapp import clock
from flaskapp.config import Config
from flaskapp.upstreams.errors import Rejected, Unavailable
from flaskapp.upstreams.transport.deadline import LimitedAdapter
from flaskapp.upstreams.transport.http import HTTP, Outgoing, failure
from flaskapp.upstreams.transport.public import PublicAdapter, public_addresses

UPSTREAM = "webhooks"
GONE = 410
# Not about the delivery: the receiver asks for another time.
LATER = (408, 421, 425)
SECRET_PREFIX = "whsec_"


class WebhookClient:
    def __init__(self, config: Config) -> None:
        self._total_seconds = config.webhook_total_seconds
        self._private = config.webhook_private_addresses
        adapter = LimitedAdapter if self._private else PublicAdapter
        # Connections of its own: none of them is shared with an upstream.
        self._http = HTTP(config.upstream_connect_seconds, adapter=adapter)

    def check(self, url: str) -> None:
        """Raises ValueError with what is wrong for an address that nothing would be sent to."""
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if not parts.hostname or port == 0 or not url.isprintable() or " " in url:
            raise ValueError("expected https://host/path")
        if parts.scheme != "https" and not (self._private and parts.scheme == "http"):
            raise ValueError("expected https://…")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise ValueError("no user, password or fragment may stand in it: deliveries are signed instead")
        if not self._private:
            try:
                public_addresses(parts.hostname, port or 443)
            except OSError as error:
                raise ValueError(f"{parts.hostname} cannot be told: {error}") from error

    def post(self, url: str, secrets: Sequence[str], delivery_id: str, body: bytes) -> None:
        """POST one delivery, signed with each secret.

        Raises Rejected for an answer that is about this delivery, and for 410, with which a receiver says that it is
        gone; Throttled or Unavailable for anything else but 2xx. No redirect is followed: what it leads to was never
        named by an operator.
        """
        timestamp = str(int(clock.now().timestamp()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "surefile-webhooks",
            "webhook-id": delivery_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": " ".join(sign(secret, delivery_id, timestamp, body) for secret in secrets),
        }
        outgoing = Outgoing(
            UPSTREAM,
            "deliver",
            "POST",
            url,
            write=False,
            total_seconds=self._total_seconds,
            headers=headers,
            content=body,
        )
        answer = self._http.call(outgoing)
        if 200 <= answer.status < 300:
            return
        refused = 400 <= answer.status < 500 and answer.status not in LATER
        # What a stranger's server says is not kept.
        raise failure(Rejected if refused else Unavailable, UPSTREAM, answer, detail=f"answered {answer.status}")


def sign(secret: str, delivery_id: str, timestamp: str, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}"
