"""The security headers of every answer, of every route and every failure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from flaskapp.config_readers import Rate
from sandbox.settings import OPERATOR, kept_secrets
from tests.edge_app import ORIGIN, log_in
from tests.hostile.routes import every_request
from tests.integration.itf_steps import sign_in
from tests.integration.steps import reconfigure
from tests.product import Product

CLOSED = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Permitted-Cross-Domain-Policies": "none",
}
# Our files that are the same for everybody: a browser may keep them, and checks whether they have changed.
NOBODYS = ("static", "rq_dashboard.static", "rq_dashboard.favicon")


def assert_closed(answer: Any, where: Any) -> None:
    reported = {name: answer.headers.get(name) for name in CLOSED}
    assert reported == CLOSED, where
    assert answer.headers["Cache-Control"] == "no-store" or where[0] in NOBODYS, where
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "frame-ancestors 'none'" in policy, where
    assert "geolocation=()" in answer.headers["Permissions-Policy"], where
    assert not re.search(r"\d", answer.headers.get("Server", "")), where
    assert "X-Powered-By" not in answer.headers, where
    if answer.mimetype != "text/html":
        assert "script-src" not in policy or where[2].startswith("/rq"), where
    if answer.status_code >= 400 and "json" in answer.mimetype:
        assert "Traceback" not in answer.text, where


def clients(product: Product, password: str) -> Iterator[tuple[FlaskClient, dict[str, str]]]:
    """Nobody, somebody who is signed in, and an operator."""
    yield product.app.test_client(), {"Origin": ORIGIN}
    yield product.app.test_client(), sign_in(product).headers
    operator = product.app.test_client()
    assert log_in(operator, password, OPERATOR).status_code == 303
    yield operator, {"X-Requested-With": "XMLHttpRequest"}


def test_every_route_sends_the_headers_to_every_caller(product: Product, secrets_folder: Any) -> None:
    statuses = set()
    for client, headers in clients(product, kept_secrets(secrets_folder).operator_password):
        for requested in every_request(product.app):
            answer = client.open(requested.path, method=requested.method, headers=headers)
            assert_closed(answer, requested)
            statuses.add(answer.status_code)
            answer.close()
    assert {200, 302, 401, 403, 404, 415} <= statuses


def test_every_failure_sends_the_headers(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setitem(product.app.view_functions, "ops_login.login_page", fail)
    monkeypatch.setitem(product.app.view_functions, "health.live", fail)
    client = product.app.test_client()
    failures = {
        404: client.get("/nowhere"),
        405: client.delete("/healthz/live"),
        413: client.post("/check_in/v2/sessions", data="x" * 70_000, content_type="application/json"),
        415: client.post("/check_in/v2/sessions", data="x"),
        422: client.post("/check_in/v2/sessions", json={}),
        500: client.get("/healthz/live"),
    }
    for status, answer in (*failures.items(), (500, client.get("/ops/login"))):
        assert answer.status_code == status
        assert_closed(answer, ("failure", "", str(status)))
        assert "a fault of ours" not in answer.text


def test_a_429_sends_the_headers(product: Product) -> None:
    reconfigure(product, rate_limit_per_address=Rate(1, 86_400))
    client = product.app.test_client()
    client.get("/nowhere")
    answer = client.get("/docs")
    assert answer.status_code == 429
    assert_closed(answer, ("limit", "GET", "/docs"))


def test_our_pages_run_no_script_but_files_of_our_own(product: Product, secrets_folder: Any) -> None:
    operator = product.app.test_client()
    log_in(operator, kept_secrets(secrets_folder).operator_password, OPERATOR)
    for path in ("/ops/cases/", "/ops/login", "/rq/", "/rq/0/view/jobs"):
        answer = operator.get(path)
        assert "script-src" not in answer.headers["Content-Security-Policy"]
        assert "<script" not in answer.text and not re.search(r"\son\w+=", answer.text)
    for path, file in (("/docs", "try.js"), ("/ops/", "fresh.js")):
        answer = operator.get(path)
        assert "script-src 'self'; connect-src 'self'" in answer.headers["Content-Security-Policy"]
        assert re.findall(r"<script[^>]*>[^<]*", answer.text) == [f'<script src="/static/{file}" defer>']
        assert not re.search(r"\s(on\w+|style)=", answer.text)
