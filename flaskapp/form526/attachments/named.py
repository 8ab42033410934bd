"""Files that a form names, wherever they stand in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Lists of uploads by their keys (contract: frontend 4.2). The page gathers them all in `attachments`; other clients may
# not.
UPLOADS = frozenset(
    {
        "attachments",
        "form781_upload",
        "form781a_upload",
        "form8940_upload",
        "form4192_upload",
        "service_treatment_records_attachments",
        "private_medical_record_attachments",
        "additional_documents",
        "unemployability_supporting_documents",
        *(f"secondary_upload_sources{number}" for number in range(3)),
        "separation_health_assessment_uploads",
    }
)


@dataclass(frozen=True)
class NamedFile:
    """A file that a form names: our guid (None when it names none), docType code and name as the form gives them."""

    guid: uuid.UUID | None
    doc_type: str
    name: str


def named_files(form: dict[str, Any]) -> list[NamedFile]:
    """Every file that the form names. Where they stand in it is not confirmed (contract: frontend 4.2).

    Each entry of a list of uploads names one, whatever it is: without a code its upload did not end, or was refused.
    What else it says (`uploading`, `errorMessage`) does not count. Of one upload, by its guid, there is one file.
    """
    found = [named(entry) for entry in entries_in(form)]
    # Two documents of one file would keep the form from being recorded; a guid has several spellings.
    first = {each.guid: each for each in reversed(found)}
    return [each for each in found if each.guid is None or each is first[each.guid]]


def entries_in(value: Any, listed: bool = False) -> Iterator[Any]:
    """The objects that have a code, wherever they stand, and all that stands in a list of uploads; in their order."""
    if isinstance(value, dict):
        if listed or code_of(value):
            yield value
        for key, item in value.items():
            yield from entries_in(item, key in UPLOADS and bool(item))
    elif isinstance(value, list) and value:
        for item in value:
            yield from entries_in(item, listed)
    elif listed:
        yield value


def named(entry: Any) -> NamedFile:
    """The file that an entry names; one that is no object can only be a name, or a code."""
    if isinstance(entry, dict):
        return NamedFile(guid_of(code_of(entry)), doc_type_of(entry), name_of(entry.get("name")))
    guid = guid_of(entry.strip()) if isinstance(entry, str) else None
    return NamedFile(guid, "", name_of(entry if guid is None else None))


def code_of(entry: dict[str, Any]) -> str:
    code = entry.get("confirmation_code")
    return code.strip() if isinstance(code, str) else ""


def doc_type_of(entry: dict[str, Any]) -> str:
    given = entry.get("attachment_id")
    return str(given) if isinstance(given, str | int) and not isinstance(given, bool) else ""


def name_of(given: Any) -> str:
    return given if isinstance(given, str) and given.strip() else "document"


def guid_of(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
