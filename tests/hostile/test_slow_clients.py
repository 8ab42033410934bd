"""Clients that send slowly, or nothing, or do not take their answers: everybody else is served as if they were not
there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from flaskapp.config import Config
from tests.hostile.conftest import Web
from tests.hostile.wire import Wire
from tests.product import eventually

CLAIM = "POST /check_in/v0/travel_claims HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
UPLOAD = "POST /v0/upload_supporting_evidence HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
LIVE = "GET /healthz/live HTTP/1.1\r\nHost: x\r\n"
DOCUMENT = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
# Less than a client may keep us waiting here. Waiting for several of them in turn would wait far longer.
AT_ONCE_SECONDS = 12.0
THREADS = Config().web_threads


@contextmanager
def many(web: Web, number: int, data: str = "") -> Iterator[list[Wire]]:
    with ExitStack() as held:
        yield [held.enter_context(web.wire(data)) for _ in range(number)]


def slowest(ask: Callable[[], object], times: int = 5) -> float:
    """How long the slowest of so many took, in seconds."""
    found = []
    for _ in range(times):
        began = time.monotonic()
        ask()
        found.append(time.monotonic() - began)
    return max(found)


def assert_claims_are_taken_at_once(web: Web) -> None:
    sessions = []

    def claim() -> None:
        assert web.claim(sessions[0]).status_code == 202

    assert slowest(lambda: sessions.append(web.checked_in()), 1) < AT_ONCE_SECONDS
    assert slowest(claim) < AT_ONCE_SECONDS


@pytest.mark.parametrize(
    ("number", "data"),
    [
        pytest.param(200, "", id="silent"),
        pytest.param(60, "GET /healthz/live HTTP/1.1\r\nHost: x\r\nX-Slow: ", id="a head without an end"),
        pytest.param(60, f"{CLAIM}Content-Length: 64\r\n\r\n{{", id="a body announced and not sent"),
        pytest.param(60, f"{CLAIM}Transfer-Encoding: chunked\r\n\r\n5\r\n{{", id="a chunk announced and not sent"),
        pytest.param(40, f"{CLAIM}Content-Length: 90000000\r\n\r\n{{", id="a huge body announced and not sent"),
        pytest.param(40, f"{CLAIM}Content-Length: 64\r\nExpect: 100-continue\r\n\r\n", id="waiting for 100 Continue"),
        pytest.param(40, "GET / HTTP/9\r\n\r\n", id="refused, and staying"),
        pytest.param(40, f"{LIVE}Connection: close\r\n\r\n", id="answered, and staying"),
        pytest.param(40, f"{LIVE}\r\nGET", id="the next request begun behind the first"),
        pytest.param(450, f"{LIVE}\r\n", id="answered, and kept open"),
    ],
)
def test_nobody_waits_for_clients_that_keep_us_waiting(web: Web, number: int, data: str) -> None:
    with many(web, number, data):
        assert_claims_are_taken_at_once(web)


def test_a_client_that_does_not_take_its_answer_is_cut_off_and_its_thread_serves_others(web: Web) -> None:
    """Their answers are larger than what the kernel takes for them, and there are more of them than threads."""
    with many(web, THREADS + 4, DOCUMENT * 3):
        assert web.checked_in()
    assert_claims_are_taken_at_once(web)


def test_a_request_that_drips_is_answered_408_and_a_silent_connection_is_closed_without_an_answer(web: Web) -> None:
    begun = ("GET / HTTP/1.1\r\n", f"{CLAIM}Content-Length: 640\r\n\r\n{{")
    with many(web, 1, begun[0]) as [head], many(web, 1, begun[1]) as [body], web.wire() as silent:
        while head.is_quiet() or body.is_quiet():
            assert time.monotonic() < head.opened_at + 60
            head.send(b"x")
            body.send(b"x")
            time.sleep(0.1)
        for wire in (head, body):
            [answer] = wire.answers()
            assert answer.status == 408
            assert answer.json["errors"][0]["status"] == "408"
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert silent.answers() == []


def test_dripping_uploads_get_few_threads_and_a_time_limit(web: Web) -> None:
    head = f"{UPLOAD}{web.bearer()}\r\nContent-Length: 90000000\r\n\r\n--b\r\n"
    with many(web, 2 * THREADS, head) as wires:
        assert_claims_are_taken_at_once(web)
        answers = [wire.answer() for wire in wires]
        statuses = [answer.status for answer in answers]
        assert {*statuses} == {408, 503}
        refused = next(answer for answer in answers if answer.status == 503)
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json["errors"][0]["status"] == "503"
    assert_claims_are_taken_at_once(web)


def test_an_upload_that_keeps_its_pace_is_read_to_its_end(web: Web) -> None:
    """It takes longer than the limit for a body that stands still."""
    content = b"It was quiet at the depot.\r\n" * 8_000
    part = (
        b'--b\r\nContent-Disposition: form-data; name="supporting_evidence_attachment[file_data]"; filename="a.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\n" + content + b"\r\n--b--\r\n"
    )
    step = len(part) // 15
    with web.wire(f"{UPLOAD}{web.bearer()}\r\nContent-Length: {len(part)}\r\n\r\n") as wire:
        for start in range(0, len(part), step):
            wire.send(part[start : start + step])
            time.sleep(0.1)
        assert time.monotonic() - wire.opened_at > 1.2
        assert wire.answer().status == 200


def test_a_caller_without_access_is_answered_before_the_file_is_read(web: Web) -> None:
    with web.wire(f"{UPLOAD}Content-Length: 90000000\r\n\r\n--b\r\n") as wire:
        assert wire.answer(AT_ONCE_SECONDS).status == 401


@pytest.mark.parametrize(
    ("request_head", "body", "status"),
    [
        (CLAIM, "Content-Length: 70000\r\n\r\n" + "x" * 70_000, 413),
        (CLAIM, "Content-Length: 90000000\r\n\r\nx", 413),
        (UPLOAD, "Content-Length: 900000000\r\n\r\n--b\r\n", 413),
        (UPLOAD.replace("upload_supporting", "no_such"), "Content-Length: 90000000\r\n\r\nx", 404),
        (UPLOAD.replace("POST", "PUT"), "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n", 405),
        (CLAIM, "Transfer-Encoding: chunked\r\n\r\nZ\r\n", 400),
    ],
)
def test_an_answer_before_the_whole_body_says_that_it_ends_the_connection(
    web: Web, request_head: str, body: str, status: int
) -> None:
    cookie = web.checked_in().cookies["cie_session"]
    with web.wire(f"{request_head}{web.bearer()}\r\nCookie: cie_session={cookie}\r\n{body}") as wire:
        [answer] = wire.answers()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert answer.json["errors"][0]["status"] == str(status)


@pytest.mark.parametrize(
    ("is_checked_in", "body"),
    [
        (True, "Content-Length: 2\r\n\r\n{}"),
        (True, "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        # Refused before it was read, and small enough to be thrown away.
        (False, "Content-Length: 20000\r\n\r\n" + "x" * 20_000),
    ],
)
def test_an_answer_after_the_whole_body_keeps_the_connection(web: Web, is_checked_in: bool, body: str) -> None:
    cookie = web.checked_in().cookies["cie_session"] if is_checked_in else ""
    with web.wire(f"{CLAIM}Cookie: cie_session={cookie}\r\n{body}") as wire:
        assert wire.answer().headers["connection"] == "keep-alive"
        wire.send(f"{LIVE}Connection: close\r\n\r\n".encode())
        assert [answer.status for answer in wire.answers()] == [200]


def test_with_silent_clients_everywhere_the_next_still_gets_in(web: Web) -> None:
    with many(web, 600) as wires:
        assert_claims_are_taken_at_once(web)
        assert not wires[0].is_quiet()


def test_a_client_about_to_send_is_not_closed_in_place_of_idle_ones(web: Web) -> None:
    with many(web, 450, f"{LIVE}\r\n") as kept, ExitStack() as held:
        assert {wire.answer().status for wire in kept} == {200}
        late = held.enter_context(web.wire())
        assert web.is_alive()
        late.send(f"{LIVE}\r\n".encode())
        assert late.answer().status == 200
        assert not kept[0].is_quiet()


def test_a_worker_stops_in_time_although_clients_stay_silent(web: Web) -> None:
    """The last test of this file: nothing runs after it."""
    with many(web, 50), web.wire(f"{LIVE}\r\n") as kept_alive:
        assert kept_alive.answer().status == 200
        began = time.monotonic()
        assert web.process.terminate(30) == 0
        assert time.monotonic() - began < 20
    assert not [event for event in web.events() if event["level"] in ("ERROR", "CRITICAL")]
    assert eventually(lambda: not web.is_alive())
