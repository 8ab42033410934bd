"""The answer to a caller who waits for an upstream call that fails, and how long a request may wait at all."""

from __future__ import annotations

import time
from contextvars import Context

from flask import Flask

from flaskapp import REGISTERED
from flaskapp.upstreams.errors import Rejected, Unauthorized
from flaskapp.upstreams.transport.http import seconds_left
from flaskapp.web.passthrough import arrived_at, init_app, problem_of
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


def test_the_limit_of_a_request_counts_from_its_arrival_and_ends_with_it() -> None:
    app = Flask("toy")
    config = app.extensions["config"] = settings(request_seconds=25)
    init_app(app, config)
    app.add_url_rule("/", view_func=lambda: str(seconds_left(1000)))

    def left() -> float:
        return float(app.test_client().get("/").text)

    assert 15 < left() <= 25
    waited = Context()
    waited.run(arrived_at.set, time.monotonic() - 20)
    assert waited.run(left) <= 5
    assert seconds_left(1000) == 1000
