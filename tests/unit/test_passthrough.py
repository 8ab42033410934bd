"""What whoever waited for a call is told when it fails."""

from __future__ import annotations

from flaskapp.upstreams.errors import Rejected
from flaskapp.web.passthrough import problem_of


def test_whoever_would_not_vouch_for_the_person_says_nothing_of_what_was_queried_for() -> None:
    problem = problem_of("travel_pay", Rejected("sts", "No such person.", http_status=404, code="404"))
    assert (problem.status, problem.entry["code"]) == (403, "NO_ACCESS")
    problem = problem_of("travel_pay", Rejected("travel_pay", "No such claim.", http_status=404, code="404"))
    assert (problem.status, problem.entry["detail"]) == (404, "No such claim.")
