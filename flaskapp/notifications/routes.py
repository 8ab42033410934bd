"""VANotify's delivery callbacks (contract: VANotify 6.6, 6.7): early, late, twice or contradictory, all folded in."""

from __future__ import annotations

import hmac
import uuid
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, current_app, request

from flaskapp import auth
from flaskapp.config import Config
from flaskapp.db import transaction
from flaskapp.inflection import answer
from flaskapp.notifications.service import record_delivery
from flaskapp.openapi import describe
from flaskapp.request import parse
from flaskapp.upstreams import Upstreams
from flaskapp.upstreams.va_notify import callback_signature

blueprint = Blueprint("va_notify", __name__, url_prefix="/va_notify")
auth.declare(blueprint, "VANotify: a configured bearer token, or the signature made with our API key's secret")

SIGNATURE_HEADER = "x-enp-signature"


@blueprint.post("/callbacks")
@describe(
    "Delivery callback from VANotify",
    tag="VANotify",
    security="VANotify, by bearer token or by signature",
    answers={
        200: "Taken, also for a notice that is not ours.",
        401: "Neither token nor signature fits; the body is VANotify's `message` object.",
    },
    problems={400: "Not a JSON object.", 503: "Our database is away."},
)
def receive() -> Response:
    body = parse(request.get_data())
    if not is_authentic(body):
        return answer({"message": "Unauthorized"}, 401)
    reference = read_reference(body.get("reference"))
    if reference is not None:
        with transaction() as session:
            record_delivery(
                session,
                reference,
                str(body.get("status")),
                read_moment(body),
                actor="VANotify callback",
                va_notify_id=str(body["id"]) if body.get("id") else None,
            )
    return answer({"message": "success"})


def is_authentic(body: dict[str, Any]) -> bool:
    config: Config = current_app.extensions["config"]
    upstreams: Upstreams = current_app.extensions["upstreams"]
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return any(hmac.compare_digest(token.encode(), known.encode()) for known in config.vanotify_callback_tokens)
    given = request.headers.get(SIGNATURE_HEADER, "")
    expected = callback_signature(upstreams.va_notify.secret, body)
    return bool(given) and hmac.compare_digest(given.lower().encode(), expected.encode())


def read_reference(value: Any) -> uuid.UUID | None:
    """A reference that is no UUID is a notice of somebody else's."""
    try:
        return uuid.UUID(str(value))
    except ValueError:
        return None


def read_moment(body: dict[str, Any]) -> datetime | None:
    """When this status came about, as VANotify says it (UTC); None when it does not."""
    for name in ("completed_at", "sent_at", "created_at"):
        try:
            if body.get(name):
                found = datetime.fromisoformat(str(body[name]))
                return found if found.tzinfo else found.replace(tzinfo=UTC)
        except ValueError:
            continue
    return None
