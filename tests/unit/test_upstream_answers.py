"""Small parts of an answer: when to try again, and what it says went wrong."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flaskapp.upstreams.transport.http import messages, retry_after_seconds

NOW = datetime(2025, 3, 7, 12, 0, 0, tzinfo=UTC)
LONGEST = 1e9


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 5 ", 5),
        ("0", 0),
        ("Fri, 07 Mar 2025 12:01:30 GMT", 90),
        ("Fri, 07 Mar 2025 12:01:30 -0000", 90),
        ("Fri, 07 Mar 2025 11:59:00 GMT", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        (None, None),
        ("٣", None),
        ("99999999999999", LONGEST),
        ("9" * 5000, LONGEST),
        ("Fri, 31 Dec 9999 23:59:59 -1200", LONGEST),
        ("Fri, 99 Mar 2025 12:01:30 GMT", None),
        ("Fri, 07 Mar 99999999999 12:01:30 GMT", None),
        ("Fri, 07 Mar 2025 12:01:30 +99999999999999", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, NOW) == seconds


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"message": "a"}, ["a"]),
        ({"error": "code", "error_description": "long"}, ["long"]),
        ({"errors": [{"error": "X", "message": "a"}, {"error": "Y", "message": "b"}]}, ["a", "b"]),
        ({"message": 5, "title": "t"}, ["t"]),
        ({"errors": ["text", None]}, []),
        ([], []),
        (None, []),
    ],
)
def test_messages_are_found_in_every_known_error_shape(payload: object, said: list[str]) -> None:
    assert messages(payload) == said
