"""A caller of VANotify that knows only the wire (contract: travel 6.2)."""

from __future__ import annotations

import time
from typing import Any

import jwt
import requests

from sandbox.upstreams.notification import SENDING_STATUSES
from sandbox.upstreams.scenarios import with_habit
from sandbox.upstreams.serve import Upstreams
from sandbox.upstreams.templates import EMAIL, TEXTS
from tests.contract.receiver import eventually

VALUES = {"claim_number": "0042", "appt_date": "Mar 04"}
TEXT = TEXTS["cie.created"]


class Sender:
    """Correct by default: a text to the first of the cast, with a fresh token for every request."""

    def __init__(self, http: requests.Session, upstreams: Upstreams) -> None:
        self.http, self.base, self.known = http, upstreams["va_notify"], upstreams.fakes.settings

    def token(self, **changes: Any) -> str:
        claims = {"iss": self.known.vanotify_service_id, "iat": int(time.time())} | changes
        present = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(present, self.known.vanotify_secret, algorithm="HS256")

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token()}"}

    def text_body(self, **changes: Any) -> dict[str, Any]:
        body = {
            "template_id": TEXT.id,
            "phone_number": with_habit("ok").phone,
            "personalisation": VALUES,
            "reference": "outbox-42",
        }
        return {name: value for name, value in (body | changes).items() if value is not ...}

    def text(self, **changes: Any) -> requests.Response:
        return self.post("sms", self.text_body(**changes))

    def email(self, **changes: Any) -> requests.Response:
        body = {"template_id": EMAIL.id, "email_address": "ada@example.com", "personalisation": VALUES} | changes
        return self.post("email", {name: value for name, value in body.items() if value is not ...})

    def post(self, channel: str, body: Any) -> requests.Response:
        return self.http.post(f"{self.base}/v2/notifications/{channel}", json=body, headers=self.headers())

    def get(self, notification_id: str) -> requests.Response:
        return self.http.get(f"{self.base}/v2/notifications/{notification_id}", headers=self.headers())

    def search(self, **query: Any) -> dict[str, Any]:
        answer = self.http.get(f"{self.base}/v2/notifications", params=query, headers=self.headers())
        assert answer.status_code == 200
        return dict(answer.json())

    def ended(self, notification_id: str) -> dict[str, Any]:
        """The notification, once it has reached an end."""

        def at_an_end() -> dict[str, Any] | None:
            found: dict[str, Any] = self.get(notification_id).json()
            return None if found["status"] in SENDING_STATUSES else found

        return dict(eventually(at_an_end))


def errors(answer: requests.Response) -> tuple[int, str, str]:
    """HTTP status, class of the first error and all messages; the v2 shape is checked on the way."""
    body = answer.json()
    assert set(body) == {"status_code", "errors"}
    assert body["status_code"] == answer.status_code
    assert all(set(error) == {"error", "message"} for error in body["errors"])
    return answer.status_code, body["errors"][0]["error"], " | ".join(error["message"] for error in body["errors"])
