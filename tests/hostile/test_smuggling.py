"""Requests that two servers could read differently: each is refused or read in one way, and hides no second request."""

from __future__ import annotations

import re

import pytest

from tests.hostile.conftest import Web
from tests.hostile.wire import exchange
from tests.product import eventually

HOST = "Host: surefile.example\r\n"
JSON = "Content-Type: application/json\r\n"
POST = f"POST /check_in/v2/sessions HTTP/1.1\r\n{HOST}{JSON}"
# Answered by the application without a look into the database, and logged.
GET = f"GET /check_in/v2/sessions/none HTTP/1.1\r\n{HOST}"
CHUNKED = "Transfer-Encoding: chunked\r\n"
# What an attacker hides behind a request, so that it is taken for the next person's.
HIDDEN = f"{GET}X-Request-Id: hidden\r\n\r\n"
LENGTH = f"Content-Length: {len(HIDDEN) + 5}\r\n"
CHUNKED_HIDING = f"0\r\n\r\n{HIDDEN}"


def exchanged(web: Web, data: str) -> list[int]:
    return [answer.status for answer in exchange(web.port, data.encode("latin-1"))]


def request_ids(web: Web) -> set[str]:
    """The ids of every request that reached the application until now."""
    exchanged(web, f"{GET}X-Request-Id: last\r\nConnection: close\r\n\r\n")
    eventually(lambda: any(event.get("request_id") == "last" for event in web.events()))
    found = {str(event.get("request_id")) for event in web.events()}
    web.lines.clear()
    return found


@pytest.mark.parametrize(
    "framing",
    [
        pytest.param(f"{LENGTH}{CHUNKED}", id="length and chunks"),
        pytest.param(f"{CHUNKED}{LENGTH}", id="chunks and length"),
        pytest.param(f"Content-Length: 5\r\n{LENGTH}", id="two lengths"),
        pytest.param("Content-Length: 5, 5\r\n", id="a list of lengths"),
        pytest.param("Content-Length: +5\r\n", id="a signed length"),
        pytest.param("Content-Length: -5\r\n", id="a length below nothing"),
        pytest.param("Content-Length: 0x5\r\n", id="a hexadecimal length"),
        pytest.param("Content-Length: 5 5\r\n", id="a length with a space"),
        pytest.param("Content-Length:\r\n", id="an empty length"),
        pytest.param("Content-Length : 5\r\n", id="a space before the colon"),
        pytest.param(f"{LENGTH}Transfer-Encoding : chunked\r\n", id="a space before the other colon"),
        pytest.param(f"{LENGTH}Transfer-Encoding: xchunked\r\n", id="an unknown coding"),
        pytest.param(f"{LENGTH}Transfer-Encoding: chunked, identity\r\n", id="chunked not last"),
        pytest.param(f"{LENGTH}Transfer-Encoding: identity, chunked\r\n", id="identity and chunked"),
        pytest.param(f"{LENGTH}Transfer-Encoding:\x0bchunked\r\n", id="a vertical tab"),
        pytest.param(f"{LENGTH}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", id="two codings"),
        pytest.param(f"{LENGTH}X: y\r\n Transfer-Encoding: chunked\r\n", id="a folded line"),
        pytest.param(f"{LENGTH}X: y\nTransfer-Encoding: chunked\r\n", id="a bare line feed"),
        pytest.param(f"{LENGTH}X: y\rTransfer-Encoding: chunked\r\n", id="a bare carriage return"),
        pytest.param(f"{LENGTH}X: y\0\r\n", id="a NUL in a value"),
        pytest.param(f"{LENGTH}X\0: y\r\n", id="a NUL in a name"),
        pytest.param(f"{LENGTH}No colon\r\n", id="a line without a colon"),
        pytest.param(f"{HOST}{LENGTH}", id="two hosts"),
        pytest.param(f"{JSON}{LENGTH}", id="two content types"),
    ],
)
def test_a_request_framed_in_two_ways_is_refused_and_what_it_hides_is_not_served(web: Web, framing: str) -> None:
    found = exchange(web.port, f"{POST}{framing}\r\n{CHUNKED_HIDING}".encode("latin-1"))
    assert [answer.status in (400, 501) for answer in found] == [True]
    assert found[0].headers["connection"] == "close"
    assert found[0].json["errors"][0]["status"] == str(found[0].status)
    assert "hidden" not in request_ids(web)


@pytest.mark.parametrize(
    "chunks",
    [
        "5\r\n{}{}{}\r\n",
        "5;a\nb\r\n{{}}\r\n0\r\n\r\n",
        "-1\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
        "ffffffffffffffff\r\n{}",
    ],
    ids=["longer than said", "a line feed in an extension", "below nothing", "0x", "no size", "without end"],
)
def test_malformed_chunks_are_the_clients_fault_and_end_the_connection(web: Web, chunks: str) -> None:
    found = exchange(web.port, f"{POST}{CHUNKED}\r\n{chunks}{HIDDEN}".encode())
    assert [answer.status for answer in found] == [400]
    assert "hidden" not in request_ids(web)
    assert not [event for event in web.events() if event["level"] == "ERROR"]


def test_a_header_with_an_underscore_is_not_the_header_it_looks_like(web: Web) -> None:
    """A proxy passes `Transfer_Encoding` and `X_Forwarded_Proto` on unread; both would reach a WSGI application."""
    sent = f"{POST}Content-Length: 2\r\nTransfer_Encoding: chunked\r\nContent_Length: 99\r\n\r\n{{}}{HIDDEN}"
    assert exchanged(web, sent) == [422, 200]


@pytest.mark.parametrize("name", ["X-Forwarded-Proto", "X_Forwarded_Proto", "X-Forwarded-Ssl", "Forwarded"])
def test_without_our_proxy_no_header_about_https_is_trusted(web: Web, name: str) -> None:
    for value in ("https", "on", "proto=https"):
        [answer] = exchange(web.port, f"{GET}{name}: {value}\r\nConnection: close\r\n\r\n".encode())
        assert answer.status == 200
        assert "strict-transport-security" not in answer.headers


@pytest.mark.parametrize(
    "name", ["SCRIPT_NAME", "Script-Name", "PATH_INFO", "Path-Info", "REMOTE_ADDR", "X-Rewrite-Url"]
)
def test_a_header_moves_no_request_to_another_address(web: Web, name: str) -> None:
    assert exchanged(web, f"{GET}{name}: /healthz\r\nConnection: close\r\n\r\n") == [200]


def test_what_a_first_request_says_of_itself_does_not_count_for_the_next(web: Web) -> None:
    found = exchange(web.port, f"{GET}Authorization: Bearer x\r\nX-Request-Id: one\r\n\r\n{GET}\r\n".encode())
    assert [answer.status for answer in found] == [200, 200]
    assert found[0].headers["x-request-id"] == "one" != found[1].headers["x-request-id"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param("GET /healthz/live\r\n\r\n", 400, id="HTTP/0.9"),
        pytest.param(f"GET /healthz/live HTTP/2.0\r\n{HOST}\r\n", 400, id="a version that is none"),
        pytest.param(f"GET  /healthz/live HTTP/1.1\r\n{HOST}\r\n", 400, id="two spaces"),
        pytest.param(f"get /healthz/live HTTP/1.1\r\n{HOST}\r\n", 400, id="a method in small letters"),
        pytest.param(f"\r\n\r\n{GET}\r\n", 400, id="two empty lines first"),
        pytest.param(f"GET /healthz/live HTTP/1.1\n{HOST}\n\n", 400, id="line feeds only"),
        pytest.param(f"GET /healthz/live\x01 HTTP/1.1\r\n{HOST}\r\n", 400, id="a control character in the address"),
        pytest.param(f"POST /x HTTP/1.0\r\n{HOST}{CHUNKED}\r\n0\r\n\r\n", 400, id="chunks in HTTP/1.0"),
        pytest.param(f"GET /{'x' * 5000} HTTP/1.1\r\n{HOST}\r\n", 414, id="a long address"),
        pytest.param(f"{GET}X: {'y' * 17_000}\r\n\r\n", 431, id="a long header"),
        pytest.param(f"{GET}{'X: y' * 40_000}", 431, id="a head without end"),
        pytest.param(GET + "X: y\r\n" * 70 + "\r\n", 431, id="many headers"),
        pytest.param(f"{GET}Expect: a miracle\r\n\r\n", 417, id="an expectation"),
    ],
)
def test_what_is_no_request_of_ours_is_refused_in_our_words(web: Web, sent: str, status: int) -> None:
    [answer] = exchange(web.port, sent.encode("latin-1"))
    assert (answer.status, answer.json["errors"][0]["status"]) == (status, str(status))
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert {"x-content-type-options", "cache-control", "x-frame-options"} <= answer.headers.keys()
    assert not re.search(r"\d", answer.headers.get("server", ""))


def test_an_absolute_address_chooses_no_other_host(web: Web) -> None:
    sent = f"GET http://evil.example/ops/ HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n"
    [answer] = exchange(web.port, sent.encode())
    assert (answer.status, answer.headers["location"]) == (302, "/ops/login?next=/ops/")
    assert b"evil" not in answer.body


def test_nothing_a_refused_request_held_is_in_the_log(web: Web) -> None:
    secret = "Zzyzxfield-1087654321V998877"
    for sent in (
        f"GET /{secret}?a HTTP/1.1 {secret}\r\n{HOST}\r\n",
        f"{GET}{secret}\r\n\r\n",
        f"{GET}X-{secret}\0: {secret}\r\n\r\n",
        f"{GET}Expect: {secret}\r\n\r\n",
        f"{GET}Transfer-Encoding: {secret}\r\n\r\n",
        f"{POST}{CHUNKED}\r\n{secret}\r\n",
    ):
        [answer] = exchange(web.port, sent.encode("latin-1"))
        assert answer.status >= 400 and b"Zzyzx" not in answer.body
    refused = [event for event in eventually(web.events) if event.get("event") == "request.unreadable"]
    assert len(refused) >= 5
    assert not [line for line in web.lines if "zzyzx" in line.lower()]
