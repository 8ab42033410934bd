"""What Benefits Documents requires of an upload (contract: benefits 4.1) and of a status query (contract: benefits
4.3).

A wrong request is refused in this API's own error shape (contract: benefits 4.4).
"""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import dataclass
from typing import Any

from flask import Response

from sandbox.upstreams.fake import answer
from sandbox.upstreams.multipart import Part

TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    500: "Internal Server Error",
    502: "Bad Gateway",
}
_L_CODES = (14, 15, 18, 23, 29, 33, 34, 37, 48, 49, 51, 70, 102, 107, 115, 117, 133, 139, 149, 159, 222, 228, 229)
_MORE_L_CODES = (418, 450, 451, 478, 702, 703, 827, 1489)
DOC_TYPES = {"1489", *(f"L{code:03d}" for code in (*_L_CODES, *_MORE_L_CODES))}
ENDINGS = ("pdf", "jpg", "jpeg", "txt", "tif", "tiff", "png", "gif", "bmp")
LONGEST_NAME, LONGEST_TOKEN = 256, 64
LARGEST_NUMBER = 2**63 - 1
PARTS = ["file", "parameters"]
# The real text holds Java's own words; no program is meant to read them (contract: benefits 4.4).
JAVA = "Validation failed for argument [0] in public gov.va.documents.UploadResponse: [Field error in object 'data': "


@dataclass(frozen=True)
class UploadRequest:
    """An upload that may be taken, with the numbers of its JSON in the form in which they are kept."""

    claim_id: int
    doc_type: str
    file_name: str
    participant_id: str | None
    file_number: str | None
    file: Part


class Refused(ValueError):
    """A request that is answered with 400. The text is the detail."""


def api(status: int, detail: str) -> dict[str, Any]:
    """An error in this API's form. Unlike in the ITF API, its status is a number."""
    error = {
        "detail": detail,
        "status": status,
        "title": TITLES.get(status, detail),
        "type": "about:blank",
        "instance": str(uuid.uuid4()),
        "diagnostics": base64.b64encode(uuid.uuid4().bytes).decode(),
    }
    return {"errors": [error]}


def problem(status: int, detail: str) -> Response:
    return answer(api(status, detail), status)


def read_upload(parts: list[Part]) -> UploadRequest:
    """The upload that these parts describe; raises Refused."""
    if sorted(part.name for part in parts) != PARTS:
        raise Refused("Required parts are 'parameters' and 'file', each once.")
    by_name = {part.name: part for part in parts}
    data, file = _data(by_name["parameters"]), by_name["file"]
    if not file.file_name or not file.size:
        raise Refused("The part 'file' must have a file name and be no empty file.")
    _check_texts(data)
    _check_optional(data)
    participant_id, file_number = _identifiers(data)
    claim_id = _number("claimId", data.get("claimId"))
    return UploadRequest(claim_id, data["docType"], data["fileName"], participant_id, file_number, file)


def requested_ids(body: dict[str, Any]) -> list[int]:
    """The request ids of a query, numbers or texts of digits; raises Refused."""
    data = body.get("data")
    given = data.get("requestIds") if isinstance(data, dict) else None
    if not isinstance(given, list) or not given:
        raise Refused("data.requestIds must be a list of request ids.")
    return [_number("requestIds", each) for each in given]


def _data(part: Part) -> dict[str, Any]:
    if part.content_type.partition(";")[0].strip() != "application/json":
        raise Refused("Content-Type of the part 'parameters' must be application/json.")
    try:
        data = json.loads(part.first_bytes).get("data")
    except (ValueError, AttributeError):
        raise Refused("The part 'parameters' is no JSON object.") from None
    if not isinstance(data, dict):
        raise Refused("data: must not be null")
    return data


def _check_texts(data: dict[str, Any]) -> None:
    for name in ("systemName", "docType", "fileName"):
        if not isinstance(data.get(name), str) or not data[name]:
            raise Refused(f"{JAVA}{name} must not be blank]")
    if data["docType"] not in DOC_TYPES:
        raise Refused(f"{JAVA}docType {data['docType']} is not known]")
    if len(data["fileName"]) > LONGEST_NAME:
        raise Refused(f"{JAVA}fileName size must be between 1 and {LONGEST_NAME}]")
    if data["fileName"].rpartition(".")[2].lower() not in ENDINGS:
        raise Refused(f"{JAVA}fileName must end in one of {', '.join(ENDINGS)}]")


def _check_optional(data: dict[str, Any]) -> None:
    tracked, token = data.get("trackedItemIds"), data.get("validationToken")
    if tracked is not None and not isinstance(tracked, list):
        raise Refused(f"{JAVA}trackedItemIds must be a list]")
    for each in tracked or ():
        _number("trackedItemIds", each)
    if token is not None and (not isinstance(token, str) or len(token) > LONGEST_TOKEN):
        raise Refused(f"{JAVA}validationToken size must be at most {LONGEST_TOKEN}]")


def _identifiers(data: dict[str, Any]) -> tuple[str | None, str | None]:
    """Participant id and file number: exactly one of them. An empty one counts as missing."""
    participant_id, file_number = data.get("participantId") or None, data.get("fileNumber") or None
    if (participant_id is None) == (file_number is None):
        raise Refused(f"{JAVA}participantId, fileNumber: exactly one must be provided; arguments []; default message]")
    if file_number is not None and not isinstance(file_number, str):
        raise Refused(f"{JAVA}fileNumber must be a text]")
    if participant_id is not None:
        participant_id = str(_number("participantId", participant_id))
    return participant_id, file_number


def _number(name: str, given: Any) -> int:
    """A positive 64-bit number, given as a number or as a text of digits."""
    if isinstance(given, str) and given.isascii() and given.isdigit():
        given = int(given)
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= LARGEST_NUMBER:
        raise Refused(f"{JAVA}{name} must be a number greater than or equal to 1]")
    return given
