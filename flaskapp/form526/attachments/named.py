"""Files that a form names, wherever they stand in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class NamedFile:
    """A file that a form names: our guid (None when it names none), docType code and name as the form gives them."""

    guid: uuid.UUID | None
    doc_type: str
    name: str


def named_files(form: dict[str, Any]) -> list[NamedFile]:
    """Every file that the form names, each once. Where they stand in it is not confirmed (contract: frontend 4.2).

    An entry of `attachments` names one also without a code: an upload that did not end, or was refused. Whatever else
    it says (`uploading`, `errorMessage`) does not count.
    """
    attachments = form.get("attachments")
    listed = [id(entry) for entry in attachments if isinstance(entry, dict)] if isinstance(attachments, list) else []
    found: dict[str, NamedFile] = {}
    for entry in objects_in(form):
        code = code_of(entry)
        if code or id(entry) in listed:
            guid = guid_of(code)
            # A guid has several spellings, and two documents of one file would keep the form from being recorded. Of
            # entries without a code each is a file of its own.
            key = str(guid) if guid is not None else code.lower() or f"entry {len(found)}"
            found.setdefault(key, NamedFile(guid, doc_type_of(entry), name_of(entry)))
    return list(found.values())


def code_of(entry: dict[str, Any]) -> str:
    code = entry.get("confirmation_code")
    return code.strip() if isinstance(code, str) else ""


def doc_type_of(entry: dict[str, Any]) -> str:
    given = entry.get("attachment_id")
    return str(given) if isinstance(given, str | int) and not isinstance(given, bool) else ""


def name_of(entry: dict[str, Any]) -> str:
    name = entry.get("name")
    return name if isinstance(name, str) and name.strip() else "document"


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
