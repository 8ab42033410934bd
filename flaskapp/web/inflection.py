"""Keys travel in camelCase, live in snake_case; values are never touched.

The front end asks with `X-Key-Inflection: camel` and always sends camelCase. The two directions are exact inverses of
each other, so names like `setECheckinStartedCalled`, `nextOfKin1` and `zip4` come back as they left.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from flask import Response, has_request_context, request

# Upstream data spells these two in mixed case already; the front end knows them by exactly these names.
KEPT_AS_IS = frozenset({"patientDFN", "appointmentIEN"})


def to_camel(key: str) -> str:
    """`next_of_kin1` → `nextOfKin1`. An underscore before a digit stays: dropping it could not be undone."""
    return re.sub(r"(?<=[A-Za-z0-9])_([a-z])", lambda match: match[1].upper(), key)


def to_snake(key: str) -> str:
    """`setECheckinStartedCalled` → `set_e_checkin_started_called`; a key already in snake case stays."""
    if key in KEPT_AS_IS:
        return key
    # Put in between, not replaced: a fifth of the work, and strangers choose their keys.
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
    """A JSON answer, its keys in the spelling this request asked for.

    The type is `application/json`, the only one the front end parses (`application/vnd.api+json` it does not).
    """
    spelled = with_keys(payload, to_camel) if camel_wanted() else payload
    body = json.dumps(spelled, separators=(",", ":"), allow_nan=False)
    return Response(body, status=status, headers=dict(headers or {}), content_type="application/json")
