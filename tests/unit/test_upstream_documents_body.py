"""A body made while it is sent: as long as announced or not sent whole, inside the limits, and never held in memory."""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
import requests

from flaskapp.upstreams.errors import Unanswered, Unavailable
from flaskapp.upstreams.transport.http import HTTP, Outgoing
from flaskapp.upstreams.transport.streamed import BodyBroken, FilePart, StreamedBody, form_with_file
from tests.unit.loopback import closed_port, reset, serving, silence, whole

MIB = 1 << 20
LIMIT = 1.0
CLOSING_LINE = 2 + 2 + 32 + 2 + 2


def sending(url: str, pieces: Callable[[], Iterator[bytes]], length: int, seconds: float = 30) -> Outgoing:
    body = StreamedBody(length, pieces)
    return Outgoing("example", "upload", "POST", f"{url}/secret", True, seconds, stream=body)


@pytest.fixture
def client() -> HTTP:
    return HTTP(connect_seconds=10)


@contextlib.contextmanager
def answering_with(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of a server that does this with its one connection; it may choose not to read from it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as sock:
                behave(sock)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread.join(60)


def drain(sock: socket.socket, length: int) -> None:
    buffer = bytearray(65_536)
    while length > 0:
        got = sock.recv_into(buffer)
        if not got:
            return
        length -= got


def read_head(sock: socket.socket) -> int:
    """Read up to the empty line; returns the length of the body that follows."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])


def say_yes(sock: socket.socket) -> None:
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


def megabytes(count: int) -> Callable[[], Iterator[bytes]]:
    return lambda: (bytes(MIB) for _ in range(count))


def test_99_mebibytes_pass_through_a_few(client: HTTP) -> None:
    def take(sock: socket.socket) -> None:
        drain(sock, read_head(sock))
        say_yes(sock)

    with answering_with(take) as url:
        tracemalloc.start()
        try:
            answer = client.call(sending(url, megabytes(99), 99 * MIB, seconds=60))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert answer.json() == {} and MIB < peak < 4 * MIB


def test_a_body_that_starts_again_is_sent_twice_on_one_connection(client: HTTP) -> None:
    with serving(whole(200, {})) as server:
        for _ in range(2):
            client.call(sending(server.url, lambda: iter([b"ab", b"", b"c"]), 3))
        assert server.connections == 1
        assert [sent.body for sent in server.received] == [b"abc", b"abc"]
        assert {sent.headers["content-length"] for sent in server.received} == {"3"}


def test_a_server_that_does_not_read_is_given_up_at_the_total_limit(client: HTTP) -> None:
    left = threading.Event()

    def read_no_more(sock: socket.socket) -> None:
        read_head(sock)
        left.wait(60)

    with answering_with(read_no_more) as url:
        started = time.monotonic()
        with pytest.raises(Unanswered) as caught:
            client.send(sending(url, megabytes(16), 16 * MIB, LIMIT))
        left.set()
    assert LIMIT <= time.monotonic() - started < 20
    assert "TotalLimitPassed" in caught.value.detail


def test_a_source_that_drips_is_given_up_at_the_total_limit(client: HTTP) -> None:
    def drip() -> Iterator[bytes]:
        for _ in range(1000):
            time.sleep(0.02)
            yield b"x"

    with serving(whole(200, {})) as server:
        started = time.monotonic()
        with pytest.raises(Unanswered):
            client.send(sending(server.url, drip, 1000, LIMIT))
    assert time.monotonic() - started < 15


def test_a_server_may_pause_for_longer_than_connecting_may_take() -> None:
    def pause(sock: socket.socket) -> None:
        length = read_head(sock)
        threading.Event().wait(0.7)
        drain(sock, length)
        say_yes(sock)

    with answering_with(pause) as url:
        answer = HTTP(connect_seconds=0.5).call(sending(url, megabytes(16), 16 * MIB, seconds=60))
    assert answer.status == 200


def test_an_answer_given_before_the_body_was_read_is_answered(client: HTTP) -> None:
    def refuse(sock: socket.socket) -> None:
        length = read_head(sock)
        sock.sendall(b"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n")
        drain(sock, length)

    with answering_with(refuse) as url:
        assert client.call(sending(url, megabytes(8), 8 * MIB, seconds=60)).status == 413


FAULTS = [
    ValueError("no key"),
    LookupError(),
    OSError("disk"),
    BrokenPipeError(),
    ConnectionResetError(),
    TimeoutError(),
    requests.ConnectionError(),
    http.client.BadStatusLine("x"),
]


@pytest.mark.parametrize("before", [[], [b"ab"]], ids=["at once", "midway"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_source_that_fails_is_no_fault_of_the_upstream(client: HTTP, fault: Exception, before: list[bytes]) -> None:
    def break_off() -> Iterator[bytes]:
        yield from before
        raise fault

    with serving(whole(200, {})) as server:
        client.call(sending(server.url, lambda: iter([b"abc"]), 3))
        with pytest.raises(BodyBroken) as caught:
            client.call(sending(server.url, break_off, 3))
        assert caught.value.__cause__ is fault
        client.call(sending(server.url, lambda: iter([b"abc"]), 3))
        assert server.connections == 2
        assert [sent.body for sent in server.received if len(sent.body) == 3] == [b"abc", b"abc"]


@pytest.mark.parametrize("off", [-5, -1, 1, 7])
def test_a_body_of_another_length_than_announced_is_never_whole(client: HTTP, off: int) -> None:
    with serving(whole(200, {})) as server:
        with pytest.raises(BodyBroken) as caught:
            client.call(sending(server.url, lambda: iter([b"x" * 5, b"x" * (5 + off)]), 10))
        assert isinstance(caught.value.__cause__, ValueError)
        assert all(len(sent.body) < 10 for sent in server.received)


@pytest.mark.parametrize("off", [-1, 1, CLOSING_LINE, -CLOSING_LINE])
def test_a_file_of_another_size_than_announced_is_never_whole(client: HTTP, off: int) -> None:
    size = 100
    _, body = form_with_file({}, FilePart("a.pdf", "application/pdf", size, lambda: iter([b"x" * (size + off)])))
    with serving(whole(200, {})) as server:
        with pytest.raises(BodyBroken):
            client.call(Outgoing("example", "upload", "POST", server.url, True, 30, stream=body))
        assert all(len(sent.body) < body.length for sent in server.received)


def test_a_source_is_closed_when_the_connection_breaks(client: HTTP) -> None:
    closed = threading.Event()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(MIB)
        finally:
            closed.set()

    def hang_up(sock: socket.socket) -> None:
        read_head(sock)
        reset(sock)

    with answering_with(hang_up) as url, pytest.raises(Unanswered):
        client.call(sending(url, endless, 1 << 40, seconds=5))
    assert closed.is_set()


def test_nothing_is_read_for_an_upstream_that_is_not_there(client: HTTP) -> None:
    with pytest.raises(Unavailable):
        client.call(sending(closed_port(), lambda: pytest.fail("was read"), 3))


def test_a_body_that_breaks_is_logged_without_what_broke_it(client: HTTP, caplog: pytest.LogCaptureFixture) -> None:
    def break_off() -> Iterator[bytes]:
        raise LookupError("chunk of 1012345678V123456")
        yield b""

    caplog.set_level(logging.INFO, "flaskapp.upstreams.transport.http")
    with serving(silence) as server, pytest.raises(BodyBroken):
        client.call(sending(server.url, break_off, 3))
    (line,) = [vars(record) for record in caplog.records if record.name == "flaskapp.upstreams.transport.http"]
    assert (line["error"], line["http_status"]) == ("BodyBroken", None) and "1012345678" not in str(line)
