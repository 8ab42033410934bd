"""Files that a form names, wherever they stand in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class NamedFile:
    """A file that a form names: our guid (None when it is not one), docType code and name as the form gives them."""

    guid: uuid.UUID | None
    doc_type: str
    name: str


def named_files(form: dict[str, Any]) -> list[NamedFile]:
    """Every file that the form names, each once. Where they stand in it is not confirmed (contract: frontend 4.2)."""
    found: dict[str, NamedFile] = {}
    for entry in objects_in(form):
        code = entry.get("confirmation_code")
        if isinstance(code, str) and code:
            name, doc_type = entry.get("name"), entry.get("attachment_id")
            guid = guid_of(code)
            named = NamedFile(
                guid,
                doc_type if isinstance(doc_type, str) else "",
                name if isinstance(name, str) and name else "document",
            )
            # A guid has several spellings, and two documents of one file would keep the form from being recorded.
            found.setdefault(str(guid) if guid is not None else code.lower(), named)
    return list(found.values())


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from objects_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from objects_in(item)


def guid_of(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
