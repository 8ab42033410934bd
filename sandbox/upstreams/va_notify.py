"""The fake VANotify: sends, look-ups and limits (contract: travel 6.2).

A 201 means stored and queued, nothing more. References are not unique and nothing is de-duplicated: two sends are two
texts.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest as MalformedJSON

from sandbox.upstreams.cast import Cast
from sandbox.upstreams.fake import BadRequest, Fake, answer, json_body
from sandbox.upstreams.notification import SENDING_STATUSES, Notification
from sandbox.upstreams.notify_lifecycle import REASONS, REFUSED, Lifecycle, VANotifyKnobs, described
from sandbox.upstreams.notify_requests import Refusal, bad, check_body, check_token, invalid_address
from sandbox.upstreams.settings import FakeSettings
from sandbox.upstreams.templates import TEMPLATES, Template

MOST_BYTES = 1024 * 1024
PAGE = 250
STATUSES = (*SENDING_STATUSES, *REASONS)


class VANotify(Fake):
    name = "va_notify"

    def __init__(self, settings: FakeSettings, cast: Cast) -> None:
        self._notifications: dict[str, Notification] = {}
        self._sends: deque[float] = deque()
        self._sent_today = 0
        self.lifecycle = Lifecycle(settings, cast, lambda: self.knobs)
        self._senders = {
            settings.vanotify_sms_sender_id: "+15555550199",
            settings.vanotify_sms_sender_id_oh: "+15555550198",
        }
        super().__init__(settings, cast)

    def first_knobs(self) -> VANotifyKnobs:
        known = self.settings
        return VANotifyKnobs(
            delays=known.vanotify_delays,
            callback_url=known.vanotify_callback_url,
            callback_token=known.vanotify_callback_token,
            rewrites=known.vanotify_callback_rewrites,
            retry_scale=known.vanotify_retry_scale,
        )

    def routes(self) -> None:
        self.app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES
        self.app.register_error_handler(Refusal, lambda refusal: answer(refusal.body(), refusal.status))
        self.app.add_url_rule("/v2/notifications/<any(sms, email):channel>", view_func=self.send, methods=["POST"])
        self.app.add_url_rule("/v2/notifications/<notification_id>", view_func=self.show)
        self.app.add_url_rule("/v2/notifications", view_func=self.search)

    def admin_routes(self, admin: Blueprint) -> None:
        admin.add_url_rule("/notifications", view_func=self.list_messages)
        admin.add_url_rule("/callbacks", view_func=self.list_callbacks)
        admin.add_url_rule("/callbacks", view_func=self.call_back, methods=["POST"])
        admin.add_url_rule("/outcomes", view_func=self.plan_outcome, methods=["POST"])
        admin.add_url_rule("/skip", view_func=self.skip, methods=["POST"])

    def reset(self) -> None:
        self.lifecycle.reset()
        with self.lock:
            self._notifications.clear()
            self._sends.clear()
            self._sent_today = 0
        super().reset()

    def close(self) -> None:
        self.lifecycle.timeline.close()

    def error_body(self, status: int, text: str) -> dict[str, Any]:
        """The v2 shape for 413 and 429, and the app-wide shape for everything that is not an answer of the v2 API."""
        if status == 429:
            return _too_fast(self.knobs.minute_limit).body()
        if status == 413:
            entry = {"error": "Request entity too large", "message": text}
            return {"status_code": status, "errors": [entry]}
        return {"result": "error", "message": text}

    def send(self, channel: str) -> Response:
        self._authenticate()
        body = check_body(channel, self._json())
        self._limit()
        template = self._template(channel, body)
        notification = self._notification(channel, body, template)
        if self.lifecycle.refuses(notification):
            raise invalid_address(channel)
        with self.lock:
            self._notifications[notification.id] = notification
        reply = notification.created_answer(self._host(), self.settings.vanotify_service_id)
        self.lifecycle.begin(notification)
        return answer(reply, 201)

    def show(self, notification_id: str) -> Response:
        self._authenticate()
        found = self._notifications.get(notification_id.lower())
        if found is None:
            raise Refusal(404, "NoResultFound", ("No result found",))
        return answer(found.shown(self._host(), self.settings.vanotify_service_id))

    def search(self) -> Response:
        """Newest first, 250 a page; the page begins after the id in `older_than` (contract: travel 6.4)."""
        self._authenticate()
        wanted = request.args
        with self.lock:
            found = [item for item in reversed(self._notifications.values()) if _matches(item, wanted)]
        if "older_than" in wanted:
            ids = [item.id for item in found]
            found = found[ids.index(wanted["older_than"]) + 1 :] if wanted["older_than"] in ids else []
        page = found[:PAGE]
        links = {"current": request.url}
        if len(found) > PAGE:
            rest = [(name, value) for name, value in wanted.items(multi=True) if name != "older_than"]
            query = urlencode([*rest, ("older_than", page[-1].id)])
            links["next"] = f"{self._host()}/v2/notifications?{query}"
        service = self.settings.vanotify_service_id
        return answer({"notifications": [item.shown(self._host(), service) for item in page], "links": links})

    def messages(self) -> list[dict[str, Any]]:
        """Every notification accepted, oldest first, whatever became of it."""
        with self.lock:
            return [described(item) for item in self._notifications.values()]

    def list_messages(self) -> Response:
        return answer(self.messages())

    def list_callbacks(self) -> Response:
        return answer(self.lifecycle.caller.calls())

    def phone(self) -> list[dict[str, Any]]:
        """What people received, newest first. Messages that were not delivered are left out."""
        seen = [item for item in self.messages() if item["at"]]
        return sorted(seen, key=lambda item: item["at"], reverse=True)

    def call_back(self) -> Response:
        """Move a notification and call back now. JSON: `id`, `status`, optional `status_reason` and `times`."""
        body = json_body()
        found = self._notifications.get(str(body.get("id")))
        if found is None or body.get("status") not in STATUSES:
            raise BadRequest(f"id must be a notification's, status one of {', '.join(STATUSES)}")
        reason = body.get("status_reason", REASONS.get(body["status"]))
        for _ in range(int(body.get("times", 1))):
            self.lifecycle.tell(found, body["status"], reason)
        return answer(described(found))

    def skip(self) -> Response:
        """Let `seconds` (JSON) pass at once: what is on its way arrives, and the callbacks are made."""
        self.lifecycle.timeline.skip(float(json_body()["seconds"]))
        return answer({})

    def plan_outcome(self) -> Response:
        """Plan how sends to a `recipient` (number, address or ICN) end: `status`, optional `reason`, `times`.

        The status `refused` is a 400 instead of a 201, until the next reset.
        """
        body = json_body()
        outcomes = (*REASONS, REFUSED)
        if body.get("status") not in outcomes or not body.get("recipient"):
            raise BadRequest(f"recipient is needed, and status must be one of {', '.join(outcomes)}")
        self.lifecycle.plan(body["recipient"], body["status"], body.get("reason"), body.get("times"))
        return answer({"planned": body["status"]}, 201)

    def _authenticate(self) -> None:
        header = request.headers.get("Authorization")
        check_token(header, self.settings.vanotify_service_id, self.settings.vanotify_secret)
        if self.knobs.key_revoked:
            raise Refusal(403, "AuthError", ("Invalid token: API key revoked",))

    def _json(self) -> Any:
        try:
            return request.get_json(force=True)
        except MalformedJSON:
            raise bad("Invalid JSON supplied in POST data") from None

    def _limit(self) -> None:
        knobs = self.knobs
        now = time.monotonic()
        with self.lock:
            while self._sends and self._sends[0] <= now - 60:
                self._sends.popleft()
            if knobs.minute_limit is not None and len(self._sends) >= knobs.minute_limit:
                raise _too_fast(knobs.minute_limit)
            if knobs.daily_limit is not None and self._sent_today >= knobs.daily_limit:
                raise Refusal(429, "TooManyRequestsError", (f"Exceeded send limits ({knobs.daily_limit}) for today",))
            self._sends.append(now)
            self._sent_today += 1

    def _template(self, channel: str, body: dict[str, Any]) -> Template:
        template = TEMPLATES.get(str(uuid.UUID(body["template_id"])))
        if channel not in self.knobs.channels:
            raise bad(f"Service is not allowed to send {channel} messages")
        if template is None:
            raise bad("Template not found")
        if template.id in self.knobs.deleted_templates:
            raise bad(f"Template {template.id} has been deleted")
        if template.channel != channel:
            raise bad(f"{template.channel} template is not suitable for {channel} notification")
        missing = [name for name in template.placeholders if name not in body.get("personalisation", {})]
        if missing:
            raise bad(f"Missing personalisation: {', '.join(missing)}")
        if body.get("scheduled_for"):
            raise bad("Cannot schedule notifications (this feature is invite-only)")
        return template

    def _notification(self, channel: str, body: dict[str, Any], template: Template) -> Notification:
        sender_id = self._sender(body.get("sms_sender_id")) if channel == "sms" else None
        return Notification(
            id=str(uuid.uuid4()),
            template=template,
            personalisation=body.get("personalisation", {}),
            to=_normal(body.get("phone_number")) if channel == "sms" else body.get("email_address"),
            recipient=body.get("recipient_identifier"),
            reference=body.get("reference"),
            billing_code=body.get("billing_code"),
            callback_url=body.get("callback_url"),
            sender_id=sender_id,
            from_number=self._senders.get(sender_id or ""),
        )

    def _sender(self, sender_id: str | None) -> str:
        service = self.settings.vanotify_service_id
        if sender_id is None and not self.knobs.default_sender:
            raise bad(f"Service {service} has no default sms_sender")
        known = sender_id or self.settings.vanotify_sms_sender_id
        if known not in self._senders:
            raise bad(f"sms_sender_id {known} does not exist in database for service id {service}")
        return known

    def _host(self) -> str:
        return request.host_url.rstrip("/")


def _too_fast(limit: int | None) -> Refusal:
    return Refusal(
        429, "RateLimitError", (f"Exceeded rate limit for key type NORMAL of {limit} requests per 60 seconds",)
    )


def _normal(number: str | None) -> str | None:
    digits = "".join(sign for sign in number or "" if sign.isdigit())
    return f"+1{digits[-10:]}" if digits else None


def _matches(item: Notification, wanted: Any) -> bool:
    statuses, channels = wanted.getlist("status"), wanted.getlist("template_type")
    return (
        wanted.get("reference") in (None, item.reference)
        and (not statuses or item.status in statuses)
        and (not channels or item.template.channel in channels)
    )
