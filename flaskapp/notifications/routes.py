"""Routes for VANotify's delivery callbacks (contract: travel 6.6, 6.7): early, late, twice or contradictory."""

from __future__ import annotations

import hmac
import json
import uuid
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, current_app, request

from flaskapp.config import Config
from flaskapp.db import transaction
from flaskapp.notifications.service import record_delivery
from flaskapp.upstreams import Upstreams
from flaskapp.upstreams.va_notify import callback_signature
from flaskapp.web import access, rate_limits
from flaskapp.web.errors import Problem
from flaskapp.web.inflection import answer, to_camel
from flaskapp.web.json_body import refuse_many_parts, storable
from flaskapp.web.openapi import Answer, describe
from flaskapp.web.shapes import TEXT, thing

blueprint = Blueprint("va_notify", __name__, url_prefix="/va_notify")
access.declare(blueprint, "VANotify: a configured bearer token, or the signature made with our API key's secret")

MESSAGE = thing("CallbackAnswer", {"message": TEXT})
SIGNATURE_HEADER = "x-enp-signature"
# Far deeper than any callback, and far less than Python can write as a text.
DEEPEST = 200
CALLER = access.Access(
    "VANotify, by bearer token or by signature",
    {
        "vaNotifyToken": {"type": "http", "scheme": "bearer"},
        "vaNotifySignature": {
            "type": "apiKey",
            "in": "header",
            "name": SIGNATURE_HEADER,
            "description": "HMAC-SHA256 of the body's pairs, form-encoded in their order, under our API key's secret.",
        },
    },
)
# The names are VANotify's. Any value is accepted: it was sent, and nobody there would read a refusal.
READ = {
    "id": {"description": "VANotify's own id of the notification."},
    "reference": {"description": "Our id of the notification; any other is somebody else's."},
    "status": {"description": "Such as `delivered`; words we do not know change nothing."},
    "completed_at": {"description": "When this status came about: ISO 8601, UTC where it names no offset."},
    "sent_at": {"description": "The same, where `completed_at` is empty."},
    "created_at": {"description": "The same, where both are empty."},
    "status_reason": {"description": "Why it did not arrive; the human who reaches the person reads it."},
}
CALLBACK = {
    "schema": {
        "type": "object",
        "properties": READ,
    },
    "example": {
        "id": "7d0f2c1e-5a34-4d0b-9b57-1c2f3a4b5c6d",
        "reference": "0c4f6d1e-0000-4000-8000-0000000000aa",
        "status": "delivered",
        "completed_at": "2031-03-04T16:11:12.000000Z",
    },
}


@blueprint.post("/callbacks")
@describe(
    "Delivery callback from VANotify",
    tag="VANotify",
    security=CALLER,
    answers={
        200: Answer("Taken, also for a notification that is not ours.", MESSAGE),
        401: Answer("Neither token nor signature fits.", MESSAGE),
    },
    content={"application/json": CALLBACK},
    problems={
        400: "Not a JSON object.",
        413: "Larger than any callback.",
        503: "Our database is away, or these are more callbacks than we take; in both cases send it again.",
    },
)
def receive() -> Response:
    sent = read_callback(request.get_data())
    if not is_authentic(sent):
        rate_limits.count_address()
        return answer({"message": "Unauthorized"}, 401)
    rate_limits.count_webhook(request.headers.get("Authorization", "signed"))
    body = {name: sent.get(name, sent.get(to_camel(name))) for name in READ}
    reference = read_reference(body.get("reference"))
    if reference is not None:
        with transaction() as session:
            record_delivery(
                session,
                reference,
                str(body.get("status")),
                read_timestamp(body),
                actor="VANotify callback",
                va_notify_id=text_or_none(body.get("id")),
                why=text_or_none(body.get("status_reason")),
            )
    return answer({"message": "success"})


def read_callback(raw: bytes) -> dict[str, Any]:
    """The JSON object as it was sent. A refusal would lose the callback for good, so beside the few values that are
    read it may say anything that a JSON parser can read: a key twice, NaN, what is no UTF-8. Raises Problem 400."""
    refuse_many_parts(raw)
    try:
        value = json.loads(raw.decode("utf-8-sig", "replace"), parse_int=whole)
        refuse_deep(value, DEEPEST)
    except (ValueError, RecursionError) as error:
        raise Problem(400, detail="The body is not valid JSON.") from error
    if not isinstance(value, dict):
        raise Problem(400, detail="The body has to be one JSON object.")
    return value


def refuse_deep(value: Any, levels: int) -> None:
    """Raises RecursionError for more levels than these. A signature is over each value written as a text, and what
    Python can just read it cannot always write."""
    if not levels:
        raise RecursionError
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            refuse_deep(each, levels - 1)


def whole(digits: str) -> int | str:
    """The number; its digits where they are more than Python reads."""
    try:
        return int(digits)
    except ValueError:
        return digits


def is_authentic(sent: dict[str, Any]) -> bool:
    """Whether VANotify sent this callback."""
    config: Config = current_app.extensions["config"]
    upstreams: Upstreams = current_app.extensions["upstreams"]
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return any(hmac.compare_digest(token.encode(), known.encode()) for known in config.vanotify_callback_tokens)
    given = request.headers.get(SIGNATURE_HEADER, "")
    expected = (callback_signature(secret, sent) for secret in upstreams.va_notify.callback_secrets)
    return bool(given) and any(hmac.compare_digest(given.lower().encode(), each.encode()) for each in expected)


def text_or_none(value: Any) -> str | None:
    """The text; None for what is none, or one that Postgres cannot store."""
    return value if isinstance(value, str) and value and storable(value) == value else None


def read_reference(value: Any) -> uuid.UUID | None:
    """Our id; None for a reference that is not a UUID: the notification is somebody else's."""
    try:
        return uuid.UUID(str(value))
    except ValueError:
        return None


def read_timestamp(body: dict[str, Any]) -> datetime | None:
    """When this status came about, as VANotify says it (UTC); None when it does not."""
    for name in ("completed_at", "sent_at", "created_at"):
        try:
            if body.get(name):
                found = datetime.fromisoformat(str(body[name]))
                return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            continue
    return None
