"""The documents of a claim: their bytes, as they are or in JSON, up to a limit, and nothing else instead of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from flaskapp.upstreams.errors import Unavailable
from flaskapp.upstreams.travel_pay.reads import LARGEST_DOCUMENT, DocumentFile
from flaskapp.upstreams.travel_pay.values import Document
from tests.unit.loopback import Reply, raw, serving, whole
from tests.unit.travel_pay import ADA, CLAIM_ID, Bench, envelope

PDF = b"%PDF-1.7 letter"
PDF_TYPE, PICTURE, WORD, UNNAMED, TEXT = "application/pdf", "image/jpeg", "application/msword", None, "text/plain"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
XML_SVG = b"<?xml version='1.0'?><!-- a map --><!DOCTYPE svg><svg/>"
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF"


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
    listed = [given, {"documentId": "d2"}, {"filename": "x"}, {**given, "filename": "again"}]
    found = list_documents(bench.answering(whole(200, envelope(listed))))
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
    unnamed = document(bench.answering(whole(200, b"\xd0\xcf\x11\xe0")))
    assert unnamed is not None and unnamed.content_type == "application/octet-stream"


@pytest.mark.parametrize(("own", "content"), [(PDF_TYPE, PDF), ("image/png", PNG), ("image/jpeg", JPEG)])
def test_a_document_under_another_type_gets_its_own(bench: Bench, own: str, content: bytes) -> None:
    """A browser shows a PDF that is called a picture to nobody."""
    for given in (PDF_TYPE, "image/png", "image/jpeg", "text/html", "application/json", "application/msword"):
        for body in (content, in_json(content)):
            assert document(bench.answering(whole(200, body, Content_Type=given))) == DocumentFile(own, content)


def test_a_document_may_have_ten_mebibytes_and_not_one_byte_more(bench: Bench) -> None:
    content = b"x" + PNG.ljust(LARGEST_DOCUMENT, b"x")
    found = document(bench.answering(whole(200, content[1:], Content_Type="image/png")))
    assert found is not None and len(found.content) == LARGEST_DOCUMENT
    with pytest.raises(Unavailable) as caught:
        document(bench.answering(whole(200, content, Content_Type="image/png")))
    assert caught.value.code == "TOO_LARGE"


@pytest.mark.parametrize(
    ("given", "content", "own"),
    [
        (WORD, b"{\\rtf1 letter}", "application/rtf"),
        ("image/svg+xml", XML_SVG, "image/svg+xml"),
        (TEXT, b"<miles> 3 </miles>", TEXT),
        (WORD, b"PK\x03\x04 letter", WORD),
    ],
)
def test_a_document_that_is_text_is_passed_on_where_it_can_be_one(
    bench: Bench, given: str, content: bytes, own: str
) -> None:
    assert document(bench.answering(whole(200, content, Content_Type=given))) == DocumentFile(own, content)


def in_json(content: bytes) -> dict[str, str]:
    return {"data": base64.b64encode(content).decode()}


@pytest.mark.parametrize(
    ("given", "content_type"),
    [("application/msword", "application/msword"), ("application/json; charset=utf-8", "application/octet-stream")],
)
def test_a_document_in_json_is_decoded_under_its_own_type(bench: Bench, given: str, content_type: str) -> None:
    word = b"\xd0\xcf\x11\xe0 letter" * 9
    for data in (base64.b64encode(word), base64.encodebytes(word)):
        found = document(bench.answering(whole(200, {"data": data.decode()}, Content_Type=given)))
        assert found == DocumentFile(content_type, word)


@pytest.mark.parametrize("body", ['{"data": "not base64!"}', '{"data": 7}', '{"dat', '["data"]', "{}", "< 3 miles"])
def test_a_text_that_only_looks_like_that_json_is_the_document(bench: Bench, body: str) -> None:
    found = document(bench.answering(whole(200, body, Content_Type="text/plain")))
    assert found == DocumentFile("text/plain", body.encode())


def test_a_document_in_json_may_be_as_large_as_any_other(bench: Bench) -> None:
    content = b"x" + PNG.ljust(LARGEST_DOCUMENT, b"x")
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


XML = '<?xml version="1.0" encoding="utf-8"?>\n'
ANY = (PDF_TYPE, PICTURE, "image/svg+xml", WORD, UNNAMED, TEXT)
INSTEAD = [
    ({"errors": [{"title": "Internal error"}]}, (PDF_TYPE, PICTURE, WORD, UNNAMED, TEXT)),
    ({"statusCode": 404, "message": "Resource not found"}, (PDF_TYPE, PICTURE, WORD, UNNAMED, TEXT)),
    ({"success": False, "message": "no", "data": None}, (PDF_TYPE, PICTURE, WORD, UNNAMED, TEXT)),
    ({"data": None}, (PDF_TYPE, PICTURE, WORD, UNNAMED)),
    ("{}", (PDF_TYPE, PICTURE, WORD, UNNAMED)),
    ("\n<!DOCTYPE HTML><p>We are moving.</p>", (PDF_TYPE, PICTURE, WORD, UNNAMED, TEXT)),
    ("<html><p>503</p></html>", (PDF_TYPE, PICTURE, WORD, UNNAMED, TEXT)),
    ("upstream connect error", (PDF_TYPE, PICTURE, WORD, UNNAMED, "application/octet-stream", "image/svg+xml")),
    ('"received"', (PDF_TYPE, PICTURE, WORD, UNNAMED)),
    (f"{XML}<!DOCTYPE html PUBLIC '-//W3C//DTD XHTML 1.0 Strict//EN'><html/>", (*ANY, "application/xhtml+xml")),
    ("<!-- a --><!-- gateway --> <html><p>503</p></html>", ANY),
    (f"{XML}<Error><Code>BlobNotFound</Code></Error>", (*ANY, "application/xml", "text/xml")),
    (f"{XML}<receipt/>", ("application/xml", WORD, UNNAMED)),
    ("<soap:Fault><faultcode/></soap:Fault>", ANY),
    ('[{"error": "no"}]', (PDF_TYPE, PICTURE, WORD, UNNAMED)),
    ('\ufeff{"message": "no"}', (PDF_TYPE, PICTURE, WORD, UNNAMED, TEXT)),
    ("\ufeff<html>", (PDF_TYPE, PICTURE, WORD, UNNAMED, TEXT)),
]


@pytest.mark.parametrize(("body", "types"), INSTEAD)
def test_a_failure_under_the_type_of_a_document_is_no_document(bench: Bench, body: Any, types: tuple[Any, ...]) -> None:
    """Neither as it is, nor in the JSON in which documents come."""
    written = body if isinstance(body, str) else json.dumps(body)
    for content_type in types:
        head = {} if content_type is None else {"Content_Type": content_type}
        for given in (written, in_json(written.encode())):
            with pytest.raises(Unavailable):
                document(bench.answering(whole(200, given, **head)))
