"""Shapes of JSON answers, as JSON schemas with names in snake case, short enough to stand beside what they describe.

A shape with a title becomes a schema of that name in the description of the API; generated clients name their classes
after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Shape = dict[str, Any]

TEXT: Shape = {"type": "string"}
FLAG: Shape = {"type": "boolean"}
WHOLE: Shape = {"type": "integer"}
NUMBER: Shape = {"type": "number"}
UUID: Shape = {"type": "string", "format": "uuid"}
# With its offset from UTC.
TIMESTAMP: Shape = {"type": "string", "format": "date-time"}
DAY: Shape = {"type": "string", "format": "date"}
# What somebody else decides: any object, any value at all.
OBJECT: Shape = {"type": "object", "additionalProperties": True}
ANYTHING: Shape = {}


def thing(title: str, fields: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None, **more: Any) -> Shape:
    """An object that always has these fields, and sometimes the optional ones."""
    properties = {**fields, **(optional or {})}
    return {"type": "object", "title": title, "required": list(fields), "properties": properties, **more}


def listed(items: Shape) -> Shape:
    return {"type": "array", "items": items}


def or_null(shape: Shape) -> Shape:
    return {**shape, "type": [shape["type"], "null"]} if "properties" not in shape else any_of(shape, {"type": "null"})


def any_of(*shapes: Shape) -> Shape:
    return {"anyOf": list(shapes)}


def word(*words: str) -> Shape:
    return {"type": "string", "enum": list(words)}


def said(shape: Shape, description: str) -> Shape:
    return {**shape, "description": description}


def data_of(title: str, shape: Shape, fields: Mapping[str, Shape] | None = None) -> Shape:
    """The envelope `data`, with what stands beside it."""
    return thing(title, {"data": shape, **(fields or {})})


def resource(title: str, kind: str, attributes: Shape, id: Shape = TEXT) -> Shape:
    """One resource as JSON:API writes it: `id`, `type` and `attributes`."""
    return thing(title, {"id": id, "type": word(kind), "attributes": attributes})
