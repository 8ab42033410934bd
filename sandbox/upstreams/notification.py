"""One notification in the fake VANotify, and how its answers show it (contract: travel 6.4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sandbox.upstreams.templates import Template

SENDING_STATUSES = ("created", "sending", "pending", "sent", "pending-virus-check")
# A look-up says when these came about, and of no other status (contract: travel 6.4).
DATED_STATUSES = frozenset(
    {"sent", "delivered", "failed", "temporary-failure", "permanent-failure", "returned-letter", "cancelled"}
)


def stamp(timestamp: datetime | None = None) -> str:
    """UTC, microseconds, `Z`."""
    return (timestamp or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass
class Notification:
    """Mutable, changed only under the lifecycle's lock. `to` is None until a contact look-up has found one.

    `arrived_at` is what the person sees: a later permanent-failure does not take the message off their phone.
    """

    id: str
    template: Template
    personalisation: dict[str, Any]
    to: str | None
    recipient: dict[str, str] | None = None
    reference: str | None = None
    billing_code: str | None = None
    callback_url: str | None = None
    sender_id: str | None = None
    from_number: str | None = None
    status: str = "created"
    status_reason: str | None = None
    created_at: str = field(default_factory=stamp)
    sent_at: str | None = None
    completed_at: str | None = None
    arrived_at: str | None = None

    @property
    def body(self) -> str:
        return self.template.filled(self.template.body, self.personalisation)

    @property
    def subject(self) -> str | None:
        return self.template.subject and self.template.filled(self.template.subject, self.personalisation)

    def addressed_as(self) -> tuple[str | None, str | None]:
        """The number or address, and the identifier's value: everything that a planned outcome may name."""
        return self.to, self.recipient["id_value"] if self.recipient else None

    def move(self, status: str, reason: str | None) -> None:
        self.status = status
        self.status_reason = None if status == "delivered" else reason
        if status == "delivered":
            self.arrived_at = self.arrived_at or stamp()
        if status == "sent":
            self.sent_at = stamp()
        if status not in SENDING_STATUSES:
            self.completed_at = stamp()

    def _template(self, host: str, service_id: str) -> dict[str, Any]:
        uri = f"{host}/services/{service_id}/templates/{self.template.id}"
        return {"id": self.template.id, "version": self.template.version, "uri": uri}

    def created_answer(self, host: str, service_id: str) -> dict[str, Any]:
        """The 201: shows the text with its placeholders redacted."""
        hidden = dict.fromkeys(self.template.placeholders, "<redacted>")
        content = {"body": self.template.filled(self.template.body, hidden)}
        if self.template.channel == "sms":
            content["from_number"] = self.from_number or ""
        else:
            content["subject"] = self.template.filled(self.template.subject or "", hidden)
        return {
            "id": self.id,
            "reference": self.reference,
            "uri": f"{host}/v2/notifications/{self.id}",
            "template": self._template(host, service_id),
            "content": content,
            "billing_code": self.billing_code,
            "scheduled_for": None,
            "callback_url": self.callback_url,
        }

    def shown(self, host: str, service_id: str) -> dict[str, Any]:
        """The GET: everything, with the identifier's value redacted."""
        sms = self.template.channel == "sms"
        hidden = dict.fromkeys(self.template.placeholders, "<redacted>")
        subject = self.template.subject and self.template.filled(self.template.subject, hidden)
        identifiers = [{**self.recipient, "id_value": "<redacted>"}] if self.recipient else []
        return {
            "id": self.id,
            "reference": self.reference,
            "provider_reference": f"provider-{self.id[:8]}" if self.sent_at else None,
            "type": self.template.channel,
            "status": self.status,
            "status_reason": self.status_reason,
            "email_address": None if sms else self.to,
            "phone_number": self.to if sms else None,
            **dict.fromkeys([f"line_{number}" for number in range(1, 7)] + ["postcode", "postage"]),
            "template": self._template(host, service_id),
            "body": self.template.filled(self.template.body, hidden),
            "subject": subject,
            "created_at": self.created_at,
            "created_by_name": None,
            "sent_at": self.sent_at,
            "sent_by": "pinpoint" if self.sent_at else None,
            "completed_at": self.completed_at if self.status in DATED_STATUSES else None,
            "scheduled_for": None,
            "recipient_identifiers": identifiers,
            "billing_code": self.billing_code,
            "sms_sender_id": self.sender_id,
            "segments_count": 1 if sms else 0,
            "cost_in_millicents": 0.0,
            "callback_url": self.callback_url,
        }

    def callback_body(self, signed: bool) -> dict[str, Any]:
        """A callback's pairs, in the order that the signature covers."""
        body = {
            "id": self.id,
            "reference": self.reference,
            "to": self.to,
            "status": self.status,
            "created_at": self.created_at,
            "completed_at": self.completed_at,
            "sent_at": self.sent_at,
            "notification_type": self.template.channel,
            "status_reason": self.status_reason,
            "provider": "pinpoint",
        }
        return body | {"provider_payload": None} if signed else body
