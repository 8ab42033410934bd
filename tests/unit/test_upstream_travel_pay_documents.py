"""The documents of a claim: their bytes, as they are or in JSON, up to a limit, and nothing else instead of them."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from flaskapp.upstreams.errors import Unavailable
from flaskapp.upstreams.travel_pay.reads import LARGEST_DOCUMENT, DocumentFile
from flaskapp.upstreams.travel_pay.values import Document
from tests.unit.loopback import Reply, raw, serving, whole
from tests.unit.travel_pay import ADA, CLAIM_ID, Bench, envelope

PDF = b"%PDF-1.7 letter"


@pytest.fixture
def bench() -> Iterator[Bench]:
    with serving(whole(200, envelope([]))) as server:
        yield Bench(server)


def document(bench: Bench) -> DocumentFile | None:
    return bench.reads.document(ADA, CLAIM_ID, "d/1", total_seconds=30)


def list_documents(bench: Bench) -> tuple[list[Document], int]:
    return bench.reads.documents(ADA, CLAIM_ID, total_seconds=30)


def sent_line(bench: Bench) -> str:
    return bench.server.received[-1].line.removesuffix(" HTTP/1.1")


def test_documents_are_listed(bench: Bench) -> None:
    given = {
        "documentId": "d1",
        "filename": "Decision Letter.pdf",
        "mimetype": "application/pdf",
        "createdon": "2031-03-06",
        "expenseId": "e1",
    }
    found = list_documents(bench.answering(whole(200, envelope([given, {"documentId": "d2"}, {"filename": "x"}]))))
    read = [
        Document("d1", "Decision Letter.pdf", "application/pdf", "2031-03-06", "e1"),
        Document("d2", None, None, None, None),
    ]
    assert found == (read, 1)
    assert sent_line(bench) == f"GET /api/v2/claims/{CLAIM_ID}/documents"


def test_a_document_is_passed_on_as_it_is(bench: Bench) -> None:
    found = document(bench.answering(whole(200, PDF, Content_Type="application/pdf")))
    assert found == DocumentFile("application/pdf", PDF) and "letter" not in repr(found)
    assert sent_line(bench) == f"GET /api/v2/claims/{CLAIM_ID}/documents/d%2F1"
    unnamed = document(bench.answering(whole(200, PDF)))
    assert unnamed is not None and unnamed.content_type == "application/octet-stream"


def test_a_document_may_have_ten_mebibytes_and_not_one_byte_more(bench: Bench) -> None:
    content = b"x" * (LARGEST_DOCUMENT + 1)
    found = document(bench.answering(whole(200, content[1:], Content_Type="image/png")))
    assert found is not None and len(found.content) == LARGEST_DOCUMENT
    with pytest.raises(Unavailable) as caught:
        document(bench.answering(whole(200, content, Content_Type="image/png")))
    assert caught.value.code == "TOO_LARGE"


def in_json(content: bytes) -> dict[str, str]:
    return {"data": base64.b64encode(content).decode()}


@pytest.mark.parametrize(
    ("given", "content_type"),
    [("application/pdf", "application/pdf"), ("application/json; charset=utf-8", "application/octet-stream")],
)
def test_a_document_in_json_is_decoded_under_its_own_type(bench: Bench, given: str, content_type: str) -> None:
    found = document(bench.answering(whole(200, in_json(PDF), Content_Type=given)))
    assert found == DocumentFile(content_type, PDF)
    lines = base64.encodebytes(PDF * 9).decode()
    assert document(bench.answering(whole(200, {"data": lines}, Content_Type=given))) == DocumentFile(
        content_type, PDF * 9
    )


@pytest.mark.parametrize("body", ['{"data": "not base64!"}', '{"data": 7}', '{"dat', '["data"]', "{}"])
def test_a_text_that_only_looks_like_that_json_is_the_document(bench: Bench, body: str) -> None:
    found = document(bench.answering(whole(200, body, Content_Type="text/plain")))
    assert found == DocumentFile("text/plain", body.encode())


def test_a_document_in_json_may_be_as_large_as_any_other(bench: Bench) -> None:
    content = b"x" * (LARGEST_DOCUMENT + 1)
    found = document(bench.answering(whole(200, in_json(content[1:]), Content_Type="image/png")))
    assert found is not None and len(found.content) == LARGEST_DOCUMENT
    with pytest.raises(Unavailable) as caught:
        document(bench.answering(whole(200, in_json(content), Content_Type="image/png")))
    assert caught.value.code == "TOO_LARGE"


@pytest.mark.parametrize(
    "reply",
    [
        whole(200, '{"data": "not base64!"}', Content_Type="application/json"),
        whole(200, '{"data": ""}', Content_Type="application/pdf"),
        whole(200, "<html>", Content_Type="text/html; charset=utf-8"),
        whole(200, envelope(None), Content_Type="application/json"),
        whole(200, b"", Content_Type="application/pdf"),
        whole(204, b""),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n%PDF"),
    ],
)
def test_anything_else_instead_of_a_document_is_an_error(bench: Bench, reply: Reply) -> None:
    with pytest.raises(Unavailable):
        document(bench.answering(reply))
