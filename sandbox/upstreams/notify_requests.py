"""What the fake VANotify requires of a request, and how it refuses: the token (contract: travel 6.1) and the schema.

The fields are those of the sends (contract: travel 6.2), the refusals those of the v2 API (contract: travel 6.3).
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import jwt

ID_TYPES = ("VAPROFILEID", "PID", "ICN", "BIRLSID", "EDIPI")
CLOCK_SECONDS = 30
NUMBER = re.compile(r"\+?1?[2-9]\d{9}")
ADDRESS = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")


@dataclass
class Refusal(Exception):
    """An answer in VANotify's v2 error shape: HTTP status, error class, and one message or more."""

    status: int
    error: str
    messages: tuple[str, ...]

    def body(self) -> dict[str, Any]:
        errors = [{"error": self.error, "message": message} for message in self.messages]
        return {"status_code": self.status, "errors": errors}


def invalid(*messages: str) -> Refusal:
    return Refusal(400, "ValidationError", messages)


def bad(message: str) -> Refusal:
    return Refusal(400, "BadRequestError", (message,))


def invalid_address(channel: str) -> Refusal:
    if channel == "sms":
        return Refusal(400, "InvalidPhoneError", ("Not a valid number",))
    return Refusal(400, "InvalidEmailError", ("Not a valid email address",))


def check_token(header: str | None, service_id: str, secret: str) -> None:
    """Raise the Refusal for a bad Authorization header: 401 without a bearer token, 403 for every fault of a token."""
    if not header:
        raise Refusal(401, "AuthError", ("Unauthorized, authentication token must be provided",))
    if not header.lower().startswith("bearer "):
        raise Refusal(401, "AuthError", ("Unauthorized, authentication bearer scheme must be used",))
    claims = _claims(header[7:].strip(), service_id, secret)
    if not isinstance(claims.get("iat"), int | float):
        raise _forbidden("Invalid token: iat field not provided")
    if abs(time.time() - claims["iat"]) > CLOCK_SECONDS:
        raise _forbidden("Error: Your system clock must be accurate to within 30 seconds")


def _forbidden(message: str) -> Refusal:
    return Refusal(403, "AuthError", (message,))


def _claims(token: str, service_id: str, secret: str) -> dict[str, Any]:
    # The caller checks the clock, both ways; the library only refuses an `iat` ahead of us.
    options: Any = {"verify_iat": False, "verify_aud": False, "verify_exp": False}
    try:
        issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
        if issuer is None:
            raise _forbidden("Invalid token: iss field not provided")
        if issuer != service_id:
            raise _forbidden("Invalid token: service not found")
        return jwt.decode(token, secret, algorithms=["HS256"], options=options)
    except jwt.InvalidSignatureError:
        raise _forbidden("Invalid token: signature, api token not found") from None
    except jwt.InvalidTokenError:
        raise _forbidden("Invalid token: signature, api token is not valid") from None


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else "is not of type string"


def _uuid(value: Any) -> str | None:
    try:
        uuid.UUID(value)
    except (ValueError, AttributeError, TypeError):
        return "is not a valid UUID"
    return None


def _or_null(rule: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
    return lambda value: None if value is None else rule(value)


def _number(value: Any) -> str | None:
    digits = re.sub(r"[\s().-]", "", value) if isinstance(value, str) else ""
    return None if NUMBER.fullmatch(digits) else "Not a valid number"


def _address(value: Any) -> str | None:
    return None if isinstance(value, str) and ADDRESS.fullmatch(value) else "Not a valid email address"


def _billing_code(value: Any) -> str | None:
    return _text(value) or ("is too long" if len(value) > 256 else None)


def _callback_url(value: Any) -> str | None:
    if not isinstance(value, str) or urlsplit(value).scheme != "https" or not urlsplit(value).netloc:
        return "is not a valid URI."
    return "is too long" if len(value) > 255 else None


def _personalisation(value: Any) -> str | None:
    return None if isinstance(value, dict) else "is not of type object"


def _identifier(value: Any) -> str | None:
    if not isinstance(value, dict) or set(value) != {"id_type", "id_value"}:
        return "must hold id_type and id_value and nothing else"
    if value["id_type"] not in ID_TYPES:
        return f"{value['id_type']} is not one of [{', '.join(ID_TYPES)}]"
    return _text(value["id_value"])


_SHARED: dict[str, Callable[[Any], str | None]] = {
    "template_id": _uuid,
    "recipient_identifier": _identifier,
    "personalisation": _personalisation,
    "reference": _text,
    "billing_code": _or_null(_billing_code),
    "callback_url": _or_null(_callback_url),
    "scheduled_for": _or_null(_text),
}
SCHEMAS: dict[str, tuple[str, Mapping[str, Callable[[Any], str | None]]]] = {
    "sms": ("phone_number", {**_SHARED, "phone_number": _number, "sms_sender_id": _or_null(_uuid)}),
    "email": ("email_address", {**_SHARED, "email_address": _address}),
}


def check_body(channel: str, body: Any) -> dict[str, Any]:
    """The body as a JSON object that fits the channel's schema; raises a Refusal naming every fault."""
    if not isinstance(body, dict):
        raise invalid("request body is not of type object")
    contact, rules = SCHEMAS[channel]
    problems = ["template_id is a required property"] if "template_id" not in body else []
    if contact not in body and "recipient_identifier" not in body:
        problems.append(f"Please provide either a {contact} or recipient identifier.")
    unknown = sorted(set(body) - set(rules))
    if unknown:
        problems.append(f"Additional properties are not allowed ({', '.join(unknown)} was unexpected)")
    faults = ((name, rule(body[name])) for name, rule in rules.items() if name in body)
    problems += [f"{name} {fault}" for name, fault in faults if fault]
    if problems:
        raise invalid(*problems)
    return body
