"""Reader of JSON bodies: refuses in plain words, or replaces, what a parser or PostgreSQL could not take later."""

from __future__ import annotations

import json
import math
import re
from datetime import date
from typing import Any, TypeVar

from flask import Flask, request
from marshmallow import EXCLUDE, Schema, ValidationError, fields

from flaskapp.config import Config
from flaskapp.web.errors import Problem
from flaskapp.web.inflection import to_snake

MAX_DEPTH = 32
# Far more than any form has, and few enough that reading them takes tens of megabytes, not hundreds.
MOST_PARTS = 200_000
# A 526 form names answers by what the person typed, such as a condition of up to 255 characters.
LONGEST_KEY = 400
# The date types of upstreams begin in 1900, some in 1753, and a year of three digits is not even written in one way.
FIRST_YEAR, LAST_YEAR = 1900, 2199

UNSTORABLE = re.compile("[\0\ud800-\udfff]")

D = TypeVar("D", bound=date)


class Body(Schema):
    """Base of all request schemas, nested ones too. Drops unknown keys: the front end sends more than we know."""

    class Meta:
        unknown = EXCLUDE


class Truth(fields.Boolean):
    """True or false. The library would also take 0, "off" and "n", which our API description does not mention."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("has to be true or false.")
        return value


def believable(day: D) -> D:
    """The day or time itself. Raises ValueError for one that no appointment has, while the person can correct it."""
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError("year out of range")
    return day


def json_body(schema: Schema) -> dict[str, Any]:
    """The request's JSON object, keys in snake case, loaded by the schema; unknown keys are dropped.

    Raises Problem 415 for another content type, 413 for a body over `MAX_BODY_BYTES`, 400 for what is not one clean
    JSON object, and marshmallow's ValidationError (answered as 422, one entry for each field).
    """
    if not request.is_json:
        raise Problem(415)
    loaded: dict[str, Any] = schema.load(parse(request.get_data()), unknown=EXCLUDE)
    return loaded


def parse(raw: bytes) -> dict[str, Any]:
    """The one clean JSON object that the bytes are. Raises Problem 400.

    What PostgreSQL cannot store in a text, NUL and half surrogate pairs, becomes U+FFFD. People paste them unseen, and
    an editor cuts an emoji in two: no page could tell them which character of a long form is meant.
    """
    value = read_object(raw)
    make_storable(value, 1)
    return value


def read_object(raw: bytes) -> dict[str, Any]:
    """The JSON object that the bytes are, keys in snake case, its values not looked at. Raises Problem 400."""
    refuse_many_parts(raw)
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=snake_object,
            parse_constant=refuse_constant,
            parse_float=finite,
        )
    except (ValueError, RecursionError) as error:
        raise Problem(400, detail="The body is not valid JSON.") from error
    if not isinstance(value, dict):
        raise Problem(400, detail="The body has to be one JSON object.")
    return value


def refuse_many_parts(raw: bytes) -> None:
    """Before it is parsed: five megabytes of `[]` would take a hundred of memory. Commas in texts are counted too,
    which hardly matters. Raises Problem 400."""
    if sum(raw.count(mark) for mark in (b",", b"[", b"{")) > MOST_PARTS:
        raise Problem(400, detail=f"The body has more than {MOST_PARTS} parts.")


def snake_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object with keys in snake case. A key given twice, in one spelling or in two, is refused as ambiguous."""
    if any(len(key) > LONGEST_KEY for key, _ in pairs):
        raise Problem(400, detail=f"The body names a key longer than {LONGEST_KEY} characters.")
    found = {to_snake(key): value for key, value in pairs}
    if len(found) != len(pairs):
        raise Problem(400, detail="The body names a key twice.")
    return found


def refuse_constant(_name: str) -> Any:
    raise ValueError("NaN and Infinity are not JSON")


def finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("number out of range")
    return number


def make_storable(value: Any, depth: int) -> Any:
    """The value with storable texts, changed in place where it can be. Refuses what is nested too deep, and keys that
    cannot be stored: those no person typed."""
    if depth > MAX_DEPTH:
        raise Problem(400, detail=f"The body is nested more than {MAX_DEPTH} deep.")
    if isinstance(value, dict):
        for key, item in value.items():
            if storable(key) != key:
                raise Problem(400, detail="The body names a key with characters that cannot be stored.")
            value[key] = make_storable(item, depth + 1)
    elif isinstance(value, list):
        value[:] = [make_storable(item, depth + 1) for item in value]
    return storable(value) if isinstance(value, str) else value


def storable(text: str) -> str:
    return text if text.isascii() and "\0" not in text else UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def init_app(app: Flask, config: Config) -> None:
    """The limit holds for every route; a route that takes files sets `request.max_content_length` itself."""
    app.config["MAX_CONTENT_LENGTH"] = config.max_body_bytes

    @app.before_request
    def refuse_nul() -> None:
        """PostgreSQL cannot store NUL, nor take it in a query."""
        if "\0" in request.path or any("\0" in text for texts in request.args.listvalues() for text in texts):
            raise Problem(400, detail="The address holds characters that cannot be stored.")
