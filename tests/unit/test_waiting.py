"""What a failed read says of its upstream, and what of the person alone: the one shuts a gate, the other must not."""

from __future__ import annotations

import pytest

from flaskapp.upstreams.errors import Rejected, Throttled, Unauthorized, Unavailable, UpstreamError
from flaskapp.waiting import is_failure, told

OF_ALL: list[UpstreamError] = [
    Unavailable("travel_pay"),
    Unavailable("travel_pay", http_status=503),
    Unavailable("travel_pay", http_status=404),
    Throttled("travel_pay", http_status=429),
    Unauthorized("travel_pay", http_status=401, code="VEIS_TOKEN"),
    Unauthorized("travel_pay", http_status=401, code="TOKEN"),
]
OF_ONE: list[UpstreamError] = [
    Unavailable("travel_pay", "the answer cannot be read", http_status=200),
    Unavailable("travel_pay", code="TOO_LARGE"),
    Unauthorized("travel_pay", http_status=401, code="BTSSS_TOKEN"),
    Rejected("travel_pay", http_status=404),
    Rejected("sts", http_status=404),
]


@pytest.mark.parametrize("error", OF_ALL, ids=lambda error: f"{error} {error.http_status} {error.code}")
def test_an_upstream_that_cannot_is_a_failure(error: UpstreamError) -> None:
    assert is_failure(error)


@pytest.mark.parametrize("error", OF_ONE, ids=lambda error: f"{error} {error.http_status} {error.code}")
def test_one_persons_bad_record_or_token_keeps_nobody_else_out(error: UpstreamError) -> None:
    assert not is_failure(error)


def test_whoever_would_not_vouch_for_the_person_says_nothing_of_what_was_asked_for() -> None:
    problem = told("travel_pay", Rejected("sts", "No such person.", http_status=404, code="404"))
    assert (problem.status, problem.entry["code"]) == (403, "NO_ACCESS")
    problem = told("travel_pay", Rejected("travel_pay", "No such claim.", http_status=404, code="404"))
    assert (problem.status, problem.entry["detail"]) == (404, "No such claim.")
