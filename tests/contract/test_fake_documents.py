"""The fake Benefits Documents: what an upload must hold, and what is kept of it (contract: benefits 4.1)."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import pytest
import requests

from sandbox.faults import Control
from sandbox.upstreams.document_requests import DOC_TYPES
from sandbox.upstreams.serve import Upstreams
from tests.contract.documents_wire import (
    BOUNDARY,
    DATA,
    FILE,
    MULTIPART,
    PDF,
    RIGHT,
    DocumentsCaller,
    parameters,
    part,
    problem,
    whole,
)


@pytest.fixture
def caller(http: requests.Session, upstreams: Upstreams) -> DocumentsCaller:
    return DocumentsCaller(http, upstreams)


def held(control: Control, **query: str) -> list[dict[str, Any]]:
    return list(control.call("GET", "documents", "uploads", params=query))


def test_an_upload_is_answered_with_a_number_and_kept_without_its_bytes(
    caller: DocumentsCaller, control: Control
) -> None:
    answer = caller.upload()
    assert set(answer.json()) == {"data"}
    taken = answer.json()["data"]
    assert (taken["success"], type(taken["requestId"]), set(taken)) == (True, int, {"success", "requestId"})
    (kept,) = held(control)
    assert {name: kept[name] for name in ("id", "claim_id", "doc_type", "file_name", "participant_id")} == {
        "id": taken["requestId"],
        "claim_id": 600123456,
        "doc_type": "L023",
        "file_name": "letter.pdf",
        "participant_id": "600000001",
    }
    assert (kept["size"], kept["sha256"]) == (len(PDF), hashlib.sha256(PDF).hexdigest())
    assert (kept["first_bytes"], kept["content_type"]) == (PDF[:16].decode(), "application/pdf")


def test_the_same_upload_again_is_another_one(caller: DocumentsCaller, control: Control) -> None:
    assert caller.uploaded() != caller.uploaded()
    assert len(held(control)) == 2


def test_the_same_upload_again_can_be_refused_as_a_duplicate(caller: DocumentsCaller, control: Control) -> None:
    control.turn("documents", refuse_duplicates=True)
    caller.uploaded()
    status, title, detail = problem(caller.upload())
    assert (status, title, "duplicate" in detail) == (400, "Bad Request", True)
    caller.uploaded(claimId=7)
    caller.uploaded(fileName="another.pdf")
    assert len(held(control)) == 3


@pytest.mark.parametrize("code", sorted(DOC_TYPES))
def test_every_known_doc_type_is_taken(caller: DocumentsCaller, code: str) -> None:
    assert caller.upload(docType=code).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"claimId": "600123456"},
        {"claimId": 2**63 - 1},
        {"participantId": 600000001},
        {"participantId": ..., "fileNumber": "796000001"},
        {"participantId": "", "fileNumber": "796000001"},
        {"fileNumber": ""},
        {"trackedItemIds": ...},
        {"trackedItemIds": [1, 2]},
        {"validationToken": "t" * 64},
        {"fileName": f"{'n' * 252}.pdf"},
        {"fileName": "ünï.TIFF"},
        {"somethingElse": 1},
    ],
    ids=str,
)
def test_what_the_contract_allows_is_taken(caller: DocumentsCaller, changes: dict[str, Any]) -> None:
    assert caller.upload(**changes).status_code == 200


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"systemName": ...}, "systemName"),
        ({"systemName": ""}, "systemName"),
        ({"docType": ...}, "docType"),
        ({"docType": "L999"}, "docType"),
        ({"docType": 23}, "docType"),
        ({"claimId": ...}, "claimId"),
        ({"claimId": 0}, "claimId"),
        ({"claimId": True}, "claimId"),
        ({"claimId": 1.5}, "claimId"),
        ({"claimId": "x1"}, "claimId"),
        ({"claimId": 2**63}, "claimId"),
        ({"fileName": ...}, "fileName"),
        ({"fileName": f"{'n' * 253}.pdf"}, "fileName"),
        ({"fileName": "program.exe"}, "fileName"),
        ({"participantId": ...}, "exactly one"),
        ({"participantId": ""}, "exactly one"),
        ({"fileNumber": "796000001"}, "exactly one"),
        ({"participantId": "PID-1"}, "participantId"),
        ({"participantId": ..., "fileNumber": 796000001}, "fileNumber"),
        ({"trackedItemIds": "1"}, "trackedItemIds"),
        ({"trackedItemIds": ["a"]}, "trackedItemIds"),
        ({"validationToken": "t" * 65}, "validationToken"),
    ],
    ids=str,
)
def test_what_the_contract_does_not_allow_is_refused(
    caller: DocumentsCaller, control: Control, changes: dict[str, Any], named: str
) -> None:
    status, title, detail = problem(caller.upload(**changes))
    assert (status, title, named in detail) == (400, "Bad Request", True)
    assert held(control) == []


@pytest.mark.parametrize(
    "body",
    [
        whole(RIGHT),
        whole(FILE),
        whole(RIGHT, FILE, FILE),
        whole(RIGHT, FILE, part("more", b"x", None)),
        whole(parameters(DATA, None), FILE),
        whole(parameters(DATA, "text/plain"), FILE),
        whole(parameters(None), FILE),
        whole(parameters([DATA]), FILE),
        whole(part("parameters", b"[]", "application/json"), FILE),
        whole(part("parameters", b"{", "application/json"), FILE),
        whole(RIGHT, part("file", PDF, "application/pdf")),
        whole(RIGHT, part("file", b"", "application/pdf", "letter.pdf")),
        RIGHT + FILE,
        whole(RIGHT, FILE)[:-4],
        b"\r\n" + whole(RIGHT, FILE),
        whole(RIGHT, FILE).replace(b"\r\n", b"\n"),
        b"",
        b"no parts at all",
    ],
    ids=range(18),
)
def test_a_body_in_any_other_form_is_refused(caller: DocumentsCaller, control: Control, body: bytes) -> None:
    assert problem(caller.send(body))[0] == 400
    assert held(control) == []


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data", "multipart/mixed; boundary=b"])
def test_only_a_multipart_form_with_a_boundary_is_read(caller: DocumentsCaller, content_type: str) -> None:
    assert problem(caller.send(whole(RIGHT, FILE), content_type))[0] == 400


def test_parts_may_come_in_any_order_and_parameters_with_a_file_name(caller: DocumentsCaller) -> None:
    assert caller.send(whole(FILE, RIGHT)).status_code == 200
    named = part("parameters", RIGHT.partition(b"\r\n\r\n")[2][:-2], "application/json", "parameters.json")
    assert caller.send(whole(named, FILE)).status_code == 200


def test_bytes_that_look_like_a_boundary_are_only_bytes(caller: DocumentsCaller, control: Control) -> None:
    tricky = PDF + f"--{BOUNDARY}\r\nx\r\n--{BOUNDARY}not\r\n-".encode() + bytes(range(256))
    caller.uploaded(file=part("file", tricky, "application/pdf", "letter.pdf"))
    assert held(control)[0]["sha256"] == hashlib.sha256(tricky).hexdigest()


def test_a_success_that_is_not_true_keeps_nothing(caller: DocumentsCaller, control: Control) -> None:
    control.turn("documents", success=False)
    data = caller.upload().json()["data"]
    assert (data["success"], type(data["requestId"]), held(control)) == (False, int, [])


def test_the_journal_shows_the_parts_and_no_bytes_of_the_file(caller: DocumentsCaller, control: Control) -> None:
    caller.upload()
    (entry,) = control.received("documents", "POST /services")
    shown = {each["name"]: each for each in entry["body"]}
    assert '"docType": "L023"' in shown["parameters"]["text"]
    assert (shown["file"]["file_name"], shown["file"]["size"], "text" in shown["file"]) == (
        "letter.pdf",
        len(PDF),
        False,
    )
    assert entry["headers"]["content-type"] == MULTIPART


def test_a_file_read_in_several_pieces_is_taken_whole(caller: DocumentsCaller, control: Control) -> None:
    big = os.urandom(3 * (1 << 20) + 1)
    caller.uploaded(file=part("file", big, "application/pdf", "letter.pdf"))
    assert (held(control)[0]["size"], held(control)[0]["sha256"]) == (len(big), hashlib.sha256(big).hexdigest())
