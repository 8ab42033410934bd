"""Spelling of JSON keys: camelCase for the front end, snake_case inside. Values are never changed.

The front end requests camelCase with `X-Key-Inflection: camel`, and always sends it. The two conversions are exact
inverses, so names like `setECheckinStartedCalled`, `nextOfKin1` and `zip4` come back unchanged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from flask import Response, has_request_context, request

# Upstream data has these two in mixed case already, and the front end reads them by exactly these names.
KEPT_AS_IS = frozenset({"patientDFN", "appointmentIEN"})
ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


@lru_cache(1_000)
def to_camel(key: str) -> str:
    """`next_of_kin1` → `nextOfKin1`. An underscore before a digit stays: dropping it could not be undone."""
    return re.sub(r"(?<=[A-Za-z0-9])_([a-z])", lambda match: match[1].upper(), key)


def to_snake(key: str) -> str:
    """`setECheckinStartedCalled` → `set_e_checkin_started_called`; a key already in snake case stays."""
    if key in KEPT_AS_IS:
        return key
    # Underscores are inserted, no letters are replaced: that takes a fifth of the time, and strangers choose the keys.
    return re.sub(r"(?<=[A-Za-z0-9])(?=[A-Z])", "_", key).lower() if key != key.lower() else key


def with_keys(value: Any, convert: Callable[[str], str]) -> Any:
    """The same JSON value with every key converted, at every depth."""
    if isinstance(value, Mapping):
        return {convert(key): with_keys(item, convert) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_keys(item, convert) for item in value]
    return value


def camel_wanted() -> bool:
    return has_request_context() and request.headers.get("X-Key-Inflection", "").strip().lower() == "camel"


def answer(payload: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer, with its keys in the spelling that this request wants.

    The type is `application/json`, the only one that the front end parses (not `application/vnd.api+json`).
    """
    spelled = with_keys(payload, to_camel) if camel_wanted() else payload
    body = ENCODER.encode(spelled)
    return Response(body, status=status, headers=dict(headers or {}), content_type="application/json")
