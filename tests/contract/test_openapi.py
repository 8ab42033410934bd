"""The served description is true: it holds every route, and its examples are accepted and were given.

That answers are as described is checked wherever a test gets one (`tests/described.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import wraps
from typing import Any

import pytest
from flask import Flask, Response, abort

from flaskapp.ops import health
from flaskapp.web import openapi
from flaskapp.web.inflection import answer
from tests import described
from tests.product import ADA, Product

CAMEL = {"X-Key-Inflection": "camel"}
STRANGER = "0c4f6d1e-0000-4000-8000-0000000000aa"


@pytest.fixture
def document(product: Product) -> dict[str, Any]:
    found: dict[str, Any] = product.app.test_client().get("/openapi.json").get_json()
    return found


@pytest.fixture
def in_snake_case(product: Product) -> dict[str, Any]:
    found: dict[str, Any] = product.app.test_client().get("/openapi.json?keys=snake").get_json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def references(node: Any) -> Iterator[str]:
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
        yield from references(value)
    if isinstance(node, dict) and isinstance(node.get("$ref"), str):
        yield node["$ref"]


def test_it_holds_every_route(product: Product, document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    for reference in references(document):
        assert reference.rpartition("/")[2] in document["components"]["schemas"]
    routes = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule) for rule in openapi.public_rules(product.app)}
    assert set(document["paths"]) == routes
    for path, _, operation in operations(document):
        assert operation["summary"] and operation["responses"], path
        named = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path)), path


def test_the_names_in_it_are_the_ones_the_front_end_sends(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert set(schemas["ClaimFields"]["properties"]) == {"uuid", "appointmentDate"}
    assert set(schemas["ClaimFields"]["required"]) == {"uuid", "appointmentDate"}
    assert set(schemas["SessionFields"]["properties"]) == {"uuid", "dob", "lastName"}
    assert "appointmentIen" in schemas["CheckInFields"]["required"]


def test_every_body_has_an_example_that_is_accepted_as_it_stands(product: Product, document: dict[str, Any]) -> None:
    client = product.app.test_client()
    bodies = [each for each in operations(document) if "requestBody" in each[2]]
    contents = {path: operation["requestBody"]["content"] for path, _, operation in bodies}
    # A file can hardly be shown.
    assert [path for path, content in contents.items() if set(content) != {"application/json"}] == [
        "/v0/upload_supporting_evidence"
    ]
    for path, method, operation in bodies:
        if path == "/v0/upload_supporting_evidence":
            continue
        example = contents[path]["application/json"]["example"]
        response = client.open(path, method=method.upper(), json=example, headers=CAMEL)
        assert response.status_code not in (400, 415, 422), path
        assert str(response.status_code) in operation["responses"], path


def test_what_each_route_answers_is_described(product: Product, document: dict[str, Any]) -> None:
    client = product.sign_in()
    claim = product.ask(client).get_json()["data"]["id"]
    body = {"travelClaims": {"uuid": ADA.uuid, "appointmentDate": "2031-03-04"}}
    claims, sessions, check_ins = (
        "/check_in/v0/travel_claims",
        "/check_in/v2/sessions",
        "/check_in/v2/patient_check_ins",
    )
    demographics = "/check_in/v2/demographics"
    confirmed = {"demographics": {"demographicConfirmations": {"demographicsUpToDate": True}}}
    wrong = {"session": {"uuid": ADA.uuid, "dob": ADA.dob, "lastName": "Nobody"}}
    calls: list[tuple[str, str, str, dict[str, Any]]] = [
        ("get", sessions + "/{uuid}", f"{sessions}/{ADA.uuid}", {}),
        ("post", sessions, sessions, {"json": wrong}),
        ("post", sessions, sessions, {"json": {}}),
        ("post", sessions, sessions, {"json": {"session": wrong["session"] | {"uuid": STRANGER}}}),
        ("get", check_ins + "/{uuid}", f"{check_ins}/{ADA.uuid}", {}),
        ("post", check_ins, check_ins, {"json": {"patientCheckIns": {"uuid": ADA.uuid}}}),
        ("patch", demographics + "/{uuid}", f"{demographics}/{ADA.uuid}", {"json": confirmed}),
        ("patch", demographics + "/{uuid}", f"{demographics}/{ADA.uuid}", {"json": {}}),
        ("patch", demographics + "/{uuid}", f"{demographics}/{STRANGER}", {"json": confirmed}),
        ("post", claims, claims, {"json": body}),
        ("post", claims, claims, {"json": {}}),
        ("post", claims, claims, {"data": "{"}),
        ("post", claims, claims, {"data": b"{", "content_type": "application/json"}),
        ("post", claims, claims, {"data": b"x" * 70_000, "content_type": "application/json"}),
        ("post", claims, claims, {"json": {"travelClaims": body["travelClaims"] | {"uuid": STRANGER}}}),
        ("get", claims + "/{claim_id}", f"{claims}/{claim}", {}),
        ("get", claims + "/{claim_id}", f"{claims}/{STRANGER}", {}),
        ("post", "/va_notify/callbacks", "/va_notify/callbacks", {"json": {}}),
        ("post", "/va_notify/callbacks", "/va_notify/callbacks", {"data": b"["}),
        ("get", "/healthz/live", "/healthz/live", {}),
        ("get", "/healthz/ready", "/healthz/ready", {}),
        ("get", "/metrics", "/metrics", {}),
    ]
    for method, template, path, parts in calls:
        response = client.open(path, method=method.upper(), headers=CAMEL, **parts)
        assert str(response.status_code) in document["paths"][template][method]["responses"], (path, response.text)
    product.app.extensions["expected_migration"] = "9999_later"
    assert product.app.test_client().get("/healthz/ready").status_code == 503


def test_an_answer_that_is_not_as_described_fails_the_test_that_got_it(product: Product) -> None:
    client, faults = product.app.test_client(), product.faults
    client.get("/healthz/live")
    assert faults == []
    for view in (
        lambda: answer({"status": "alive", "since": "today"}),
        lambda: answer({"status": "dead"}),
        lambda: answer({"status": "alive"}, 299),
    ):
        product.app.view_functions["health.live"] = wraps(health.live)(view)
        client.get("/healthz/live")
    assert [fault[:24] for fault in faults] == [
        "healthLive: 200: Additio",
        'healthLive: 200: "dead" ',
        "healthLive: 299 is not d",
    ]
    faults.clear()


def test_every_example_was_given_and_is_as_described(
    product: Product, document: dict[str, Any], in_snake_case: dict[str, Any]
) -> None:
    """Those of answers are real ones, kept by `make examples`; refusals without one have what our code says."""
    kept = openapi.examples()
    ids = {operation["operationId"]: operation for _, _, operation in operations(document)}
    assert kept.keys() <= ids.keys()
    for keys in (openapi.CAMEL, openapi.SNAKE):
        checked = described.Document(product.app, keys)
        for name, operation in ids.items():
            for status, each in checked.operations[name]["responses"].items():
                content = each.get("content", {}).get(openapi.JSON)
                if content is not None and status != "4XX":
                    assert int(status) >= 400 or status in kept.get(name, {}) or name == "openapiOpenapiJson"
                    assert checked.fault(name, status, json.dumps(content["example"]).encode()) is None, (name, status)
                    assert operation["description"]
    assert in_snake_case["paths"].keys() == document["paths"].keys()


def test_patterns_are_ones_that_a_browser_knows(document: dict[str, Any]) -> None:
    patterns = re.findall(r'"pattern": "(.*?)"', json.dumps(document))
    assert len(patterns) >= 4
    assert [each for each in patterns if re.search(r"\\[AZz]|\(\?(?!:)", json.loads(f'"{each}"'))] == []
    assert all(each.startswith("^") and each.endswith("$") for each in patterns)


def test_a_deprecated_route_says_so_in_every_answer() -> None:
    app = Flask(__name__)
    ends = openapi.Deprecated(datetime(2031, 1, 1, tzinfo=UTC), datetime(2031, 7, 1, tzinfo=UTC), "/v1/new")

    @app.get("/v0/old")
    @openapi.describe("An old route", deprecated=ends)
    def old() -> Response:
        abort(404)

    headers = app.test_client().get("/v0/old").headers
    assert headers["Deprecation"] == "@1924992000"
    assert headers["Sunset"] == "Tue, 01 Jul 2031 00:00:00 GMT"
    assert headers["Link"] == '</v1/new>; rel="deprecation"'
    assert openapi.document(app)["paths"]["/v0/old"]["get"]["deprecated"] is True


def test_the_human_page_names_every_path(product: Product, document: dict[str, Any]) -> None:
    page = product.app.test_client().get("/docs").text
    assert [path for path in document["paths"] if path not in page] == []
