"""When a request is complete: at its last byte, and with no longer wait than needed."""

from __future__ import annotations

import pytest

from flaskapp.web.worker import MOST_BYTES, is_whole

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
WHOLE = [
    b"GET / HTTP/1.1\r\n\r\n",
    HEAD + b"\r\n",
    HEAD + b"Content-Length: 5\r\n\r\n{\n\n}\n",
    HEAD + b"Content-Length: 9\r\n\r\n1\r\n\r\n2345",
    HEAD + b"CONTENT-LENGTH:5 \r\n\r\n12345",
    HEAD + b"X-Content-Length: 9\r\nContent-Length: 1\r\nX: 2\r\n\r\n1",
]
FOR_A_THREAD_TO_READ = [
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
    HEAD + b"Content-Length: %d\r\n\r\n" % MOST_BYTES,
    HEAD + b"Content-Length: what\r\n\r\n",
    HEAD + b"Content-Length: 64\r\nExpect: 100-continue\r\n\r\n",
]


@pytest.mark.parametrize("data", WHOLE + FOR_A_THREAD_TO_READ)
def test_a_request_is_complete_at_the_last_byte_and_not_before(data: bytes) -> None:
    assert [is_whole(bytearray(data[:size])) for size in range(len(data))] == [False] * len(data)
    assert is_whole(bytearray(data))


def test_the_bytes_of_a_next_request_do_not_hold_up_the_first() -> None:
    assert is_whole(bytearray(WHOLE[-1] + b"GET"))
