"""What a failed call says about its upstream, and what only about one person: only the first may open a breaker."""

from __future__ import annotations

import pytest

from flaskapp.upstreams.errors import (
    ALIVE,
    DOUBTFUL,
    FAILING,
    REFUSED,
    SILENT,
    Duplicate,
    Rejected,
    Throttled,
    Unanswered,
    Unauthorized,
    Unavailable,
    UpstreamError,
    breaker_signal,
)
from flaskapp.upstreams.transport.http import Answer, failure

SAID: list[tuple[str, UpstreamError]] = [
    (FAILING, Unavailable("travel_pay", unreachable=True)),
    (DOUBTFUL, Unavailable("travel_pay", "ConnectionError, after it was sent")),
    (DOUBTFUL, Unavailable("travel_pay", http_status=503)),
    (DOUBTFUL, Unavailable("travel_pay", http_status=404)),
    (DOUBTFUL, Unavailable("travel_pay", http_status=502)),
    (REFUSED, Unauthorized("travel_pay", http_status=403)),
    (FAILING, Throttled("travel_pay", http_status=429)),
    (REFUSED, Unauthorized("travel_pay", http_status=401, code="VEIS_TOKEN")),
    (REFUSED, Unauthorized("travel_pay", http_status=401, code="TOKEN")),
    (REFUSED, Unauthorized("btsss", http_status=400)),
    (REFUSED, Unauthorized("sts", http_status=403)),
    (FAILING, Unauthorized("sts", http_status=400)),
    (FAILING, Unauthorized("veis", http_status=401)),
    (FAILING, Unavailable("lighthouse_auth", http_status=404)),
    (FAILING, Unavailable("lighthouse_auth", "ChunkedEncodingError, after it was sent")),
    (DOUBTFUL, Unavailable("sts", http_status=503)),
    (SILENT, Unanswered("travel_pay", http_status=500)),
    (SILENT, Unanswered("travel_pay", "the success cannot be read", http_status=200)),
    (DOUBTFUL, Unavailable("travel_pay", timed_out=True)),
    (ALIVE, Unavailable("travel_pay", "the answer cannot be read", http_status=200)),
    (ALIVE, Unavailable("travel_pay", "busy with this very one", http_status=409)),
    (ALIVE, Unavailable("travel_pay", code="TOO_LARGE")),
    (ALIVE, Unanswered("travel_pay", code="TOO_LARGE")),
    (ALIVE, Unauthorized("travel_pay", http_status=401, code="BTSSS_TOKEN")),
    (ALIVE, Duplicate("travel_pay", http_status=409)),
    (ALIVE, Rejected("travel_pay", http_status=404)),
]


@pytest.mark.parametrize(("said", "error"), SAID, ids=lambda each: f"{each} {getattr(each, 'http_status', '')}")
def test_one_persons_bad_record_or_token_says_nothing_about_the_upstream(said: str, error: UpstreamError) -> None:
    assert breaker_signal(error) == said
    assert breaker_signal(error, hurried=True) == (SILENT if error.timed_out else said)


@pytest.mark.parametrize(
    ("said", "body"),
    [(DOUBTFUL, b"<html>We are moving.</html>"), (DOUBTFUL, b""), (ALIVE, b"{}"), (ALIVE, b'[{"icn": 7}]')],
)
def test_a_page_instead_of_an_answer_is_none_and_a_bad_record_is_one(said: str, body: bytes) -> None:
    """Both come with a 200; only JSON shows that the upstream itself answered."""
    error = failure(Unavailable, "accounts", Answer(200, {}, body), "200", detail="the account cannot be read")
    assert (breaker_signal(error), error.detail) == (said, "the account cannot be read")
