"""When a request is complete: the same answer however its bytes are cut, and no longer wait than needed."""

from __future__ import annotations

import pytest

from flaskapp.web.request_framing import MOST_BODY_BYTES, MOST_HEAD_BYTES, Arrival

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
WHOLE = [
    b"GET / HTTP/1.1\r\n\r\n",
    HEAD + b"\r\n",
    HEAD + b"Content-Length: 5\r\n\r\n{\n\n}\n",
    HEAD + b"CONTENT-LENGTH:5 \r\n\r\n12345",
    HEAD + b"X-Content-Length: 9\r\nContent-Length: 1\r\n\r\n1",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: gzip, Chunked\r\n\r\n0\r\n\r\n",
    HEAD + b"Content-Length: 64\r\nExpect: 100-continue\r\n\r\n",
    HEAD + b"Content-Length: %d\r\n\r\n" % (MOST_BODY_BYTES + 1),
    HEAD + b"Content-Length: what\r\n\r\n",
]
REFUSED = [
    (b"\r\n", 400),
    (b"\nGET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\n\n", 400),
    (b"GET / HTTP/1.1\nHost: x\r\n\n", 400),
    (b"GET / HTTP/1.1\r\nX: " + b"x" * MOST_HEAD_BYTES, 431),
]


def cut(data: bytes, size: int) -> Arrival:
    """The data as it arrives in pieces, up to the first piece after which there is something to answer."""
    arrival = Arrival()
    for start in range(0, len(data), size):
        arrival.add(data[start : start + size])
        if arrival.refusal is not None or arrival.is_whole:
            break
    return arrival


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100_000])
@pytest.mark.parametrize("data", WHOLE)
def test_a_whole_request_is_whole_at_its_last_byte_and_not_before(data: bytes, size: int) -> None:
    arrival = cut(data, size)
    assert arrival.is_whole and arrival.refusal is None
    assert bytes(arrival.received) == data
    assert not cut(data[:-1], size).is_whole


@pytest.mark.parametrize("size", [1, 2, 100_000])
@pytest.mark.parametrize(("data", "status"), REFUSED)
def test_what_cannot_become_a_request_is_refused_as_soon_as_it_shows(data: bytes, status: int, size: int) -> None:
    assert cut(data, size).refusal == status


def test_a_body_in_chunks_is_read_up_to_a_size_before_it_is_whole() -> None:
    arrival = Arrival()
    arrival.add(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    arrival.add(b"1\r\n{\r\n" * (MOST_BODY_BYTES // 6))
    assert not arrival.is_whole
    arrival.add(b"1\r\n{\r\n" * 2)
    assert arrival.is_whole


def test_what_follows_a_request_is_kept_for_the_next() -> None:
    arrival = Arrival()
    arrival.add(WHOLE[0] + b"GET")
    assert arrival.is_whole and arrival.received.endswith(b"GET")
