"""The upload of a document to Lighthouse: what is sent, and which answers say that it was taken (contract: benefits
4.1)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from flaskapp.upstreams.errors import (
    Duplicate,
    Rejected,
    Throttled,
    Unanswered,
    Unauthorized,
    Unavailable,
    Unexplained,
    UpstreamError,
)
from flaskapp.upstreams.lighthouse.documents import sent_name
from tests.unit.documents import BASE, NONE_KNOWN, PIECES, TAKEN, Bench, api_error, document, parts_of
from tests.unit.loopback import Body, Reply, raw, reset, serving, whole

ICN = "1012345678V123456"
KONG = {"message": "no Route matched with those values"}
TOKEN_REFUSED = {"status": 401, "error": "Invalid token.", "path": f"{BASE}/documents"}


@pytest.fixture
def bench() -> Iterator[Bench]:
    with serving(whole(200, TAKEN)) as server:
        yield Bench(server)


def test_a_document_is_sent_as_the_contract_says(bench: Bench) -> None:
    assert bench.upload(whole(200, TAKEN)) == 81234
    (sent,) = bench.server.received
    assert sent.line == f"POST {BASE}/documents HTTP/1.1"
    assert sent.headers["authorization"] == "Bearer token-1"
    assert sent.headers["accept"] == "application/json"
    assert sent.headers["content-length"] == str(len(sent.body)) and "transfer-encoding" not in sent.headers
    boundary = sent.headers["content-type"].removeprefix("multipart/form-data; boundary=")
    assert (
        sent.body
        == (
            f"--{boundary}\r\n"
            'Content-Disposition: form-data; name="parameters"\r\nContent-Type: application/json\r\n\r\n'
            '{"data": {"systemName": "VA.gov", "docType": "L228", "claimId": 600123456, "fileName": "form-0781.pdf",'
            ' "participantId": "600045678"}}\r\n'
            f"--{boundary}\r\n"
            'Content-Disposition: form-data; name="file"; filename="form-0781.pdf"\r\n'
            "Content-Type: application/pdf\r\n\r\n"
        ).encode()
        + b"".join(PIECES)
        + f"\r\n--{boundary}--\r\n".encode()
    )
    assert bench.writes == bench.readings == 1


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"participant_id": "6001", "file_number": None}, {"participantId": "6001"}),
        ({"participant_id": None, "file_number": "796000001"}, {"fileNumber": "796000001"}),
        ({"participant_id": "", "file_number": "796000001"}, {"fileNumber": "796000001"}),
        ({"participant_id": "6001", "file_number": "796000001"}, {"participantId": "6001"}),
    ],
)
def test_exactly_one_identifier_is_sent(bench: Bench, given: dict[str, str | None], sent: dict[str, str]) -> None:
    bench.upload(whole(200, TAKEN), **given)
    parameters = parts_of(bench.server.received[0])[0].get_content().decode()
    assert {name: value for name, value in json.loads(parameters)["data"].items() if name[:4] in ("part", "file")} == {
        "fileName": "form-0781.pdf",
        **sent,
    }


@pytest.mark.parametrize("nothing", [None, ""])
def test_a_document_without_a_person_cannot_be_described(nothing: str | None) -> None:
    with pytest.raises(ValueError, match="participant id or a file number"):
        document(participant_id=nothing, file_number=nothing)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("letter.pdf", "letter.pdf"),
        ("dr.smith.2031.pdf", "drsmith2031.pdf"),
        ("....pdf", "document.pdf"),
        (".pdf", "document.pdf"),
        ("", "document"),
        ("...", "document."),
        ("no ending", "no ending"),
        ('my "best" note.txt', 'my "best" note.txt'),
        ("a\r\nX-Evil: 1\r\n\r\n.pdf", "aX-Evil: 1.pdf"),
        ("../../etc/passwd.pdf", "__etc_passwd.pdf"),
        ("C:\\fakepath\\x.pdf", "C:_fakepath_x.pdf"),
        ("ends in a stroke\\", "ends in a stroke_"),
        ("naïve — 薬.pdf", "naïve — 薬.pdf"),
        ("a\ud800\x00\u202eb.pdf", "ab.pdf"),
        ("x" * 300 + ".jpeg", "x" * 251 + ".jpeg"),
        ("x" * 300, "x" * 256),
        ("a." + "y" * 300, "a." + "y" * 64),
    ],
)
def test_a_file_name_is_made_fit_to_send(bench: Bench, given: str, sent: str) -> None:
    assert sent_name(given) == sent and len(sent) <= 256
    bench.upload(whole(200, TAKEN), file_name=given)
    parameters, file = parts_of(bench.server.received[0])
    assert json.loads(parameters.get_content().decode())["data"]["fileName"] == sent
    header = file["Content-Disposition"].encode("utf-8", "surrogateescape").decode()
    assert header == 'form-data; name="file"; filename="{}"'.format(sent.replace('"', "%22"))
    assert file.get_payload(decode=True) == b"".join(PIECES)


@pytest.mark.parametrize(
    ("data", "request_id"),
    [
        ({"success": True, "requestId": "81234"}, 81234),
        ({"requestId": 81234}, 81234),
        ({"success": True, "requestId": 2**63 - 1, "more": 1}, 2**63 - 1),
    ],
)
def test_an_id_is_accepted_as_number_or_text(bench: Bench, data: dict[str, Any], request_id: int) -> None:
    assert bench.upload(whole(200, {"data": data}, Content_Type="text/html")) == request_id


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>81234</html>",
        [],
        {},
        {"data": None},
        {"data": [81234]},
        {"requestId": 81234, "success": True},
        {"data": {"success": True}},
        {"data": {"success": True, "requestId": None}},
        {"data": {"success": True, "requestId": True}},
        {"data": {"success": True, "requestId": 0}},
        {"data": {"success": True, "requestId": -1}},
        {"data": {"success": True, "requestId": 1.5}},
        {"data": {"success": True, "requestId": 2**63}},
        {"data": {"success": True, "requestId": "٣"}},
        {"data": {"success": False, "requestId": 81234}},
        {"data": {"success": None, "requestId": 81234}},
    ],
)
def test_an_answer_without_an_id_or_with_a_no_confirms_nothing(bench: Bench, body: Body) -> None:
    with pytest.raises(Unanswered) as caught:
        bench.upload(whole(200, body))
    assert caught.value.http_status == 200


# About our quota, our settings or something else, though a document and "already" or "duplicate" are in it.
NO_DUPLICATES = (
    "Upload quota reached: 500 files already uploaded today",
    "Documents cannot be added: the claim has already been submitted",
    "Document service maintenance has already been submitted",
    "File rejected: an upload for this system name already exists in another session",
    "The documents API key already exists under another consumer",
    "Document type is for a duplicate consumer",
    "Duplicate document type parameter",
    "The file was taken for a duplicate. Quota of this consumer: 0",
)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, api_error("Exactly one identifier, fileNumber or participantId, must be set."), Unexplained),
        (400, api_error("systemName VA.gov is not permitted"), Unexplained),
        (400, api_error("The file is identical to one on this claim"), Unexplained),
        (400, api_error("The API key was already revoked"), Unexplained),
        (400, api_error("Duplicate header x-api-key in the upload"), Unexplained),
        (404, NONE_KNOWN, Unavailable),
        (413, {"message": "Request size limit exceeded"}, Rejected),
        (413, "<html>Request Entity Too Large</html>", Unavailable),
        (415, api_error(), Unavailable),
        (422, api_error(), Unavailable),
        (413, {"message": "Header too large"}, Unavailable),
        *((400, api_error(text), Unexplained) for text in NO_DUPLICATES),
        (400, api_error("Taken for a DUPLICATE upload."), Duplicate),
        (400, api_error("The document was taken for a duplicate of another one on this claim."), Duplicate),
        (400, api_error("Document has already been submitted for this claim"), Duplicate),
        (400, api_error("This file already exists on the claim."), Duplicate),
        (400, {"errors": [{"detail": "no", "title": "Duplicate document", "status": 400}]}, Duplicate),
        (400, {"errors": [{"detail": 7, "status": 400}]}, Unexplained),
        (400, {"message": "duplicate"}, Unavailable),
        (422, api_error("duplicate"), Unavailable),
        (400, "<html>duplicate</html>", Unavailable),
        (400, "<html>", Unavailable),
        (404, KONG, Unavailable),
        (404, "", Unavailable),
        (404, {"errors": []}, Unavailable),
        (404, {"errors": ["none"]}, Unavailable),
        (408, "", Unanswered),
        (201, TAKEN, Unanswered),
        (202, TAKEN, Unanswered),
        (204, "", Unanswered),
        (302, "", Unanswered),
        (500, api_error(status=500), Unanswered),
        (502, api_error(status=502), Unanswered),
        (504, {"message": "The upstream server is timing out"}, Unanswered),
        (429, {"message": "API rate limit exceeded"}, Throttled),
    ],
)
def test_every_answer_to_an_upload_has_one_meaning(
    bench: Bench, status: int, body: Body, kind: type[UpstreamError]
) -> None:
    with pytest.raises(kind) as caught:
        bench.upload(whole(status, body))
    assert type(caught.value) is kind and caught.value.http_status == status
    assert (bench.writes, bench.tokens.replaced) == (1, [])


def test_a_file_called_duplicate_is_no_duplicate(bench: Bench) -> None:
    """A refusal may quote the file's name, and the name must not decide what it means."""
    with pytest.raises(Unavailable):
        bench.upload(
            whole(400, api_error("'my duplicate file.xyz' has no known type")), file_name="my duplicate file.xyz"
        )


REFUSALS = {
    "401": whole(401, api_error("Not authorized.", 401)),
    "401 of the gateway": whole(401, TOKEN_REFUSED),
    "400 of the gateway": whole(400, TOKEN_REFUSED),
    "403 without a body": whole(403),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_after_a_refused_token_the_whole_document_is_sent_once_more(bench: Bench, refusal: Reply) -> None:
    assert bench.upload(refusal, whole(200, TAKEN)) == 81234
    assert bench.tokens.replaced == ["token-1"] and bench.writes == bench.readings == 2
    first, second = bench.server.received
    assert second.headers["authorization"] == "Bearer token-2"
    assert [part.get_payload(decode=True) for part in parts_of(first)] == [
        part.get_payload(decode=True) for part in parts_of(second)
    ]


def test_a_second_refusal_is_unauthorized(bench: Bench) -> None:
    with pytest.raises(Unauthorized):
        bench.upload(whole(403))
    assert bench.writes == 2


@pytest.mark.parametrize("reply", [reset, raw(b""), raw(b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{")])
def test_a_lost_answer_leaves_an_upload_open(bench: Bench, reply: Reply) -> None:
    with pytest.raises(Unanswered):
        bench.upload(reply)


def test_an_error_of_before_write_passes_through_and_nothing_is_read_or_sent(bench: Bench) -> None:
    def refuse() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        bench.client.upload(document(), bench.chunks, refuse)
    assert bench.server.received == [] and bench.readings == 0


def test_neither_logs_nor_errors_nor_a_printed_upload_name_person_or_file(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(Unavailable) as caught:
        bench.upload(whole(400, api_error(f"{ICN}: 600045678 is not known")), file_name="ada-hiv-test.pdf")
    assert caught.value.detail == "[icn]: [number] is not known"
    with pytest.raises(Unanswered):
        bench.upload(reset, file_name="ada-hiv-test.pdf")
    said = "".join(str(record.__dict__) for record in caplog.records) + repr(document(file_name="ada-hiv-test.pdf"))
    assert "'upload'" in said and "ada-hiv" not in said and "600045678" not in said and ICN not in said
