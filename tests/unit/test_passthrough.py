"""The answer to a caller who waits for an upstream call that fails."""

from __future__ import annotations

from flask import Flask

from flaskapp import REGISTERED
from flaskapp.upstreams.errors import Rejected, Unauthorized
from flaskapp.web.passthrough import problem_of
from tests.unit.upstream_settings import settings


def test_a_refusal_of_our_own_credentials_is_an_outage_and_no_word_about_the_person() -> None:
    app = Flask("toy")
    app.extensions["flows"], app.extensions["config"] = REGISTERED, settings(breaker_open_seconds=14.2)
    with app.app_context():
        for refused, seconds in (
            (Unauthorized("sts", "Assertion issuance timestamp is not valid", http_status=400), "15"),
            (Unauthorized("veis", http_status=401, retry_after=120.0), "120"),
            (Unauthorized("travel_pay", http_status=401, code="BTSSS_TOKEN"), "15"),
        ):
            problem = problem_of("travel_pay", refused)
            assert (problem.status, problem.headers) == (503, {"Retry-After": seconds})
            assert problem.entry["detail"].startswith(
                "VA's travel pay system is not answering just now. What you filed"
            )
    problem = problem_of("travel_pay", Rejected("travel_pay", "No such claim.", http_status=404, code="404"))
    assert (problem.status, problem.entry["detail"]) == (404, "No such claim.")
