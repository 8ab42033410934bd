"""The promises of every HTTP call, whatever the network does: limits that hold, and the truth about what was done."""

from __future__ import annotations

import logging
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from flaskapp.upstreams.errors import Throttled, Unanswered, Unavailable, UpstreamError
from flaskapp.upstreams.transport.deadline import Call, connect_within
from flaskapp.upstreams.transport.http import HTTP, LARGEST_BODY, Outgoing, within
from tests.unit.loopback import DRIP_SECONDS, Reply, closed_port, drip, raw, reset, serving, silence, whole

# Short only where it has to strike: a busy machine may pause for most of a second.
LIMIT = 1.0


def request(url: str, *, write: bool = True, seconds: float = 30.0, **content: Any) -> Outgoing:
    return Outgoing("example", "try_it", "POST", f"{url}/secret/1012345678V123456", write, seconds, **content)


@pytest.fixture
def http() -> HTTP:
    return HTTP(connect_seconds=5)


@pytest.fixture
def impatient() -> HTTP:
    return HTTP(connect_seconds=0.3)


DRIPS = {
    "body": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
    "body without a length": drip(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"),
    "chunked body": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "status line": drip(b"HTTP/1.1 200 "),
    "headers": drip(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
    "one endless header": drip(b"HTTP/1.1 200 OK\r\nX-A: "),
    "endless 100 Continue": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("reply", DRIPS.values(), ids=DRIPS)
def test_a_dripping_answer_is_cut_at_the_total_limit(http: HTTP, reply: Reply) -> None:
    with serving(reply) as server:
        started = time.monotonic()
        with pytest.raises(Unanswered) as caught:
            http.send(request(server.url, seconds=LIMIT))
    assert LIMIT <= time.monotonic() - started < DRIP_SECONDS / 2
    assert caught.value.http_status is None


def test_calls_within_a_common_limit_share_it(http: HTTP) -> None:
    started = time.monotonic()
    with serving(silence) as server, within(LIMIT), within(60):
        for _ in range(20):
            # Once the limit is used up, a busy machine may send none of a request.
            with pytest.raises((Unanswered, Unavailable)) as caught:
                http.send(request(server.url, seconds=30))
            assert caught.value.timed_out
    assert LIMIT <= time.monotonic() - started < 15 * LIMIT


def test_a_call_ended_by_its_socket_before_the_watchdog_is_late_all_the_same(
    http: HTTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Call, "cut_off", lambda self: None)
    with serving(silence) as server, pytest.raises(Unavailable) as caught:
        http.send(request(server.url, write=False, seconds=LIMIT))
    assert (caught.value.timed_out, caught.value.detail) == (True, "TotalLimitPassed, after it was sent")


def test_many_calls_are_cut_each_at_its_own_limit(http: HTTP) -> None:
    took: dict[float, float] = {}

    def call(url: str, seconds: float) -> None:
        started = time.monotonic()
        with pytest.raises(Unanswered):
            http.send(request(url, seconds=seconds))
        took[seconds] = time.monotonic() - started

    with serving(silence) as server:
        limits = [4.0, 1.0, 3.0, 2.0]
        threads = [threading.Thread(target=call, args=(server.url, seconds)) for seconds in limits]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    # In the order of their limits, and the shortest long before the longest.
    assert sorted(took, key=took.__getitem__) == sorted(limits)
    assert all(limit <= seconds for limit, seconds in took.items()) and took[1.0] < 4.0


LOST = {
    "reset": reset,
    "closed without a word": raw(b""),
    "half a status line": raw(b"HTTP/1.1 2"),
    "not HTTP": raw(b"220 mail.example ESMTP\r\n"),
    "half a body": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
    "half a chunk": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf"),
    "silence": silence,
    "a body beyond the cap": whole(200, b"x" * (LARGEST_BODY + 1)),
}


def patience(reply: Reply) -> float:
    """A limit that is long enough to send on a busy machine, where the answer never comes."""
    return 3 * LIMIT if reply is silence else 30.0


@pytest.mark.parametrize("reply", LOST.values(), ids=LOST)
def test_a_lost_answer_leaves_a_write_unanswered(http: HTTP, reply: Reply) -> None:
    with serving(reply) as server, pytest.raises(Unanswered) as caught:
        http.send(request(server.url, seconds=patience(reply)))
    assert "after it was sent" in caught.value.detail


@pytest.mark.parametrize("reply", LOST.values(), ids=LOST)
def test_a_lost_answer_to_a_read_is_only_unavailable(http: HTTP, reply: Reply) -> None:
    with serving(reply) as server, pytest.raises(Unavailable) as caught:
        http.send(request(server.url, write=False, seconds=patience(reply)))
    # It may be this one request that upstream fails on.
    assert not caught.value.unreachable


def test_a_request_that_cannot_be_written_says_nothing_about_the_upstream(http: HTTP) -> None:
    with serving(whole(200, {})) as server, pytest.raises(Unavailable) as caught:
        http.send(request(server.url, headers={"X-Name": "Marlow\n"}))
    assert (caught.value.unreachable, server.received) == (False, [])


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_an_answer_whose_body_is_not_encoded_as_it_says_still_counts(http: HTTP, encoding: str) -> None:
    """Otherwise a proxy's 429 to a write reads as a lost answer: "slow down" would become "it may have happened"."""
    page = {"Content_Encoding": encoding, "Retry_After": "53"}
    with serving(whole(429, b"<html>Too many requests</html>", **page)) as server:
        with pytest.raises(Throttled) as caught:
            http.call(request(server.url))
        assert caught.value.retry_after == 53
        server.replies[:] = [whole(404, b"plain", **page), whole(200, b"plain", **page)]
        answers = [http.send(request(server.url)) for _ in range(2)]
        assert [(answer.status, answer.body) for answer in answers] == [(404, b""), (200, b"")]


def test_a_body_at_the_cap_is_read_whole(http: HTTP) -> None:
    with serving(whole(200, b"x" * LARGEST_BODY)) as server:
        assert len(http.send(request(server.url)).body) == LARGEST_BODY


def test_a_reset_on_a_reused_connection_leaves_a_write_unanswered(http: HTTP) -> None:
    with serving(whole(200, {}), reset) as server:
        http.send(request(server.url))
        with pytest.raises(Unanswered):
            http.send(request(server.url))
        assert server.connections == 1


def test_connections_are_reused(http: HTTP) -> None:
    with serving(whole(200, {})) as server:
        for _ in range(3):
            http.send(request(server.url))
        assert server.connections == 1


def test_a_connection_long_idle_is_not_written_to(http: HTTP, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flaskapp.upstreams.transport.deadline.MOST_IDLE_SECONDS", 0.0)
    with serving(whole(200, {})) as server:
        for _ in range(2):
            http.send(request(server.url))
        assert server.connections == 2


@pytest.mark.parametrize("host", ["no-such-host.invalid", "127.0.0.1"])
def test_what_cannot_be_connected_did_nothing(http: HTTP, host: str) -> None:
    url = closed_port().replace("127.0.0.1", host)
    with pytest.raises(Unavailable) as caught:
        http.send(request(url))
    assert "before anything was sent" in caught.value.detail and caught.value.unreachable


def test_a_failed_tls_handshake_did_nothing(impatient: HTTP) -> None:
    with serving(raw(b"this is no TLS")) as server, pytest.raises(Unavailable) as caught:
        impatient.send(request(server.url.replace("http:", "https:")))
    assert caught.value.unreachable


def test_a_tls_handshake_that_hangs_did_nothing(impatient: HTTP) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            impatient.send(request(f"https://127.0.0.1:{listener.getsockname()[1]}"))
    assert caught.value.unreachable
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_down_did_nothing(http: HTTP, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{scheme.upper()}_PROXY", closed_port())
    with pytest.raises(Unavailable):
        http.send(request(f"{scheme}://upstream.example"))


def test_a_proxy_that_refuses_the_tunnel_did_nothing(http: HTTP, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(whole(502)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(Unavailable) as caught:
            http.send(request("https://upstream.example"))
    assert "before anything was sent" in caught.value.detail


def test_name_resolution_counts_towards_the_connect_limit(impatient: HTTP, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: released.wait(20) and [])
    started = time.monotonic()
    with pytest.raises(Unavailable):
        impatient.send(request("http://slow-names.example"))
    released.set()
    assert time.monotonic() - started < 15


def test_a_connection_that_comes_too_late_is_closed() -> None:
    ours, theirs = socket.socketpair()
    released = threading.Event()

    def connect() -> socket.socket:
        released.wait(5)
        return ours

    with pytest.raises(TimeoutError):
        connect_within(0.05, connect)
    released.set()
    theirs.settimeout(5)
    assert theirs.recv(1) == b""
    theirs.close()


@pytest.mark.parametrize(("write", "kind"), [(True, Unanswered), (False, Unavailable)])
@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
def test_a_5xx_is_unanswered_to_a_write_only(http: HTTP, status: int, write: bool, kind: type[UpstreamError]) -> None:
    reply = whole(status, "<html>1012345678V123456</html>", Retry_After="7")
    with serving(reply) as server, pytest.raises(kind) as caught:
        http.call(request(server.url, write=write))
    assert type(caught.value) is kind
    assert (caught.value.http_status, caught.value.retry_after) == (status, 7)
    assert "1012345678" not in caught.value.detail and "<" not in caught.value.detail


@pytest.mark.parametrize(
    ("header", "seconds"), [({"Retry_After": "30"}, 30), ({}, None), ({"Retry_After": "-3"}, None)]
)
def test_a_429_is_throttled(http: HTTP, header: dict[str, str], seconds: float | None) -> None:
    with serving(whole(429, {"message": "slow down"}, **header)) as server, pytest.raises(Throttled) as caught:
        http.call(request(server.url))
    assert (caught.value.retry_after, caught.value.detail) == (seconds, "slow down")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_answers_and_not_followed(http: HTTP, status: int) -> None:
    with serving(whole(status, "moved", Location="/elsewhere")) as server:
        assert http.call(request(server.url)).status == status
        assert len(server.received) == 1


def test_a_redirects_body_is_capped_too(http: HTTP) -> None:
    with serving(whole(302, b"x" * (LARGEST_BODY + 1), Location="/x")) as server, pytest.raises(Unanswered):
        http.send(request(server.url))


def test_cookies_and_netrc_add_nothing(http: HTTP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with serving(whole(200, {}, Set_Cookie="a=b; Path=/")) as server:
        for _ in range(2):
            http.call(request(server.url, headers={"Authorization": "Bearer ours"}))
        assert [received.headers["authorization"] for received in server.received] == ["Bearer ours"] * 2
        assert "cookie" not in server.received[1].headers


@pytest.mark.parametrize("content_type", ["text/html", "application/octet-stream", "nonsense", ""])
def test_json_is_read_whatever_its_content_type(http: HTTP, content_type: str) -> None:
    with serving(whole(200, {"a": 1}, Content_Type=content_type)) as server:
        assert http.call(request(server.url)).json() == {"a": 1}


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a": ', b"\xff\xfe\xfd", b"[" * 200_000])
def test_what_is_not_json_reads_as_none(http: HTTP, body: bytes) -> None:
    with serving(whole(200, body)) as server:
        assert http.call(request(server.url)).json() is None


def test_each_call_leaves_one_log_line_without_url_or_body(http: HTTP, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "flaskapp.upstreams.transport.http")
    with serving(whole(200, {"icn": "1012345678V123456"}), reset) as server:
        http.call(request(server.url, json={"icn": "1012345678V123456"}))
        with pytest.raises(Unanswered):
            http.call(request(server.url))
    lines = [vars(record) for record in caplog.records if record.name == "flaskapp.upstreams.transport.http"]
    assert [[line[name] for name in ("event", "upstream", "operation", "http_status", "error")] for line in lines] == [
        ["upstream.called", "example", "try_it", 200, None],
        ["upstream.called", "example", "try_it", None, "ConnectionError"],
    ]
    assert all(isinstance(line["ms"], int) and "1012345678" not in str(line) for line in lines)


def test_an_error_carries_no_url_in_its_causes(http: HTTP) -> None:
    with serving(reset) as server, pytest.raises(Unanswered) as caught:
        http.call(request(server.url))
    assert caught.value.__cause__ is None and caught.value.__context__ is None
