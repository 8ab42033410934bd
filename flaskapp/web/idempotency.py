"""Idempotency keys: recorded first, in the transaction of the request they name, so that a repeat cannot race it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from flaskapp.crypto import digest_from
from flaskapp.db import DbSession, db
from flaskapp.keys.digests import stored_digests
from flaskapp.web.errors import Problem
from outbox import NOW, Timestamp, prepared


class IdempotencyKey(db.Model):  # type: ignore[name-defined]
    """A caller's key for one request: the same key with another body is refused."""

    __tablename__ = "idempotency_keys"

    principal: Mapped[str] = mapped_column(Text, primary_key=True)
    key_digest: Mapped[str] = mapped_column(Text, primary_key=True, info=digest_from("created_at"))
    request_digest: Mapped[str] = mapped_column(Text, info=digest_from("created_at"))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


REMEMBER = prepared("""
    INSERT INTO idempotency_keys (principal, key_digest, request_digest) VALUES (:principal, :key, :request)
    ON CONFLICT DO NOTHING
""")
RECALL = prepared("""
    SELECT request_digest FROM idempotency_keys WHERE principal = :principal AND key_digest = ANY(:keys)
     ORDER BY created_at LIMIT 1
""")

MAX_KEY_LENGTH = 255
KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "maxLength": MAX_KEY_LENGTH},
    "description": "Names this request: repeating it with the same body is safe, with another body it is refused.",
}


def remember(db: DbSession, principal: str, key: str | None, request: dict[str, Any]) -> None:
    """Raises Problem 422 when the caller used this key for another body, 400 for a key that is empty or too long."""
    if key is None:
        return
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        raise Problem(400, "Bad Request", "Idempotency-Key must have 1 to 255 characters.", "INVALID_IDEMPOTENCY_KEY")
    digests, body = stored_digests(db), json.dumps(request, sort_keys=True, default=str)
    values = {"principal": principal, "key": digests.of(key), "request": digests.of(body), "keys": digests.all(key)}
    known = db.execute(RECALL, values).scalar_one_or_none() if digests.look_first else None
    if known is None:
        db.execute(REMEMBER, values)
        known = db.execute(RECALL, values).scalar_one()
    if known not in digests.all(body):
        raise Problem(
            422,
            "Unprocessable Entity",
            "This Idempotency-Key was used for a different request. Use a new key for a new request.",
            "IDEMPOTENCY_KEY_REUSED",
        )
