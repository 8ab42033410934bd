"""The served description is true: it holds every route, its examples work, and real answers are those that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from flaskapp.web import openapi
from tests.product import ADA, Product

CAMEL = {"X-Key-Inflection": "camel"}
ERROR_KEYS = {"title", "detail", "code", "status"}
STRANGER = "0c4f6d1e-0000-4000-8000-0000000000aa"


@pytest.fixture
def document(product: Product) -> dict[str, Any]:
    found: dict[str, Any] = product.app.test_client().get("/openapi.json").get_json()
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


def test_real_answers_are_the_ones_described(product: Product, document: dict[str, Any]) -> None:
    """Each call's status is described, and what is described as an `errors` list is one."""
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
        described = document["paths"][template][method]["responses"]
        assert str(response.status_code) in described, (method, path, response.status_code)
        assert_shape(described[str(response.status_code)], response)


def assert_shape(described: dict[str, Any], response: Any) -> None:
    """Only refusals have a schema: that of the `errors` list."""
    schema = described.get("content", {}).get("application/json", {}).get("schema")
    if schema is None:
        assert response.status_code < 400 or "errors" not in response.get_json()
        return
    assert schema == {"$ref": "#/components/schemas/Errors"}
    entries = response.get_json()["errors"]
    assert entries and all(entry.keys() >= ERROR_KEYS for entry in entries)
    assert all(isinstance(entry["status"], str) for entry in entries)


def test_a_postgres_that_is_away_is_described_as_it_is_answered(product: Product, document: dict[str, Any]) -> None:
    described = document["paths"]["/healthz/ready"]["get"]["responses"]["503"]
    product.app.extensions["expected_migration"] = "9999_later"
    response = product.app.test_client().get("/healthz/ready")
    assert response.status_code == 503
    assert_shape(described, response)


def test_the_human_page_names_every_path(product: Product, document: dict[str, Any]) -> None:
    page = product.app.test_client().get("/docs").text
    assert [path for path in document["paths"] if path not in page] == []
