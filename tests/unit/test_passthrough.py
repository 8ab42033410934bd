"""The answer to a caller who waits for an upstream call that fails."""

from __future__ import annotations

from flask import Flask

from flaskapp import REGISTERED
from flaskapp.upstreams.errors import Rejected
from flaskapp.web.passthrough import problem_of


def test_a_refusal_by_sts_says_nothing_about_the_requested_claim() -> None:
    app = Flask("toy")
    app.extensions["flows"] = REGISTERED
    with app.app_context():
        problem = problem_of("travel_pay", Rejected("sts", "No such person.", http_status=404, code="404"))
    assert (problem.status, problem.entry["code"]) == (403, "NO_ACCESS")
    problem = problem_of("travel_pay", Rejected("travel_pay", "No such claim.", http_status=404, code="404"))
    assert (problem.status, problem.entry["detail"]) == (404, "No such claim.")
