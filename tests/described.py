"""Check of every JSON answer that a test gets against the description of the API, so that this cannot lie.

Fields may be added, so the description forbids none. Here an answer with a field that is not described is as wrong as
one without a field that is.
"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema_rs
from flask import Flask, Response, request

from flaskapp.web.error_codes import NAMED, code_of
from flaskapp.web.inflection import camel_wanted
from flaskapp.web.openapi import CAMEL, JSON, SNAKE, document, operation_id, operation_of

# Where `make examples` wants the answers to be kept, a line each.
EXAMPLES = os.environ.get("SUREFILE_EXAMPLES")
# By the set of routes and the spelling: the toy flow has a route more.
documents: dict[tuple[frozenset[str], str], Document] = {}


class Document:
    """One document with the validators of its answers, each made when it is first needed."""

    def __init__(self, app: Flask, keys: str) -> None:
        written = document(app, keys)
        self.components = closed(written["components"])
        self.operations = {op["operationId"]: op for methods in written["paths"].values() for op in methods.values()}
        self.validators: dict[tuple[str, str], Any] = {}

    def fault(self, operation_id: str, status: str, body: bytes) -> str | None:
        """What is wrong with this answer; None for nothing."""
        answers = self.operations[operation_id]["responses"]
        described = answers.get(status) or answers.get(f"{status[0]}XX")
        if described is None:
            return f"{operation_id}: {status} is not described: {body[:300]!r}"
        key = operation_id, status
        if key not in self.validators:
            schema = described.get("content", {}).get(JSON, {}).get("schema")
            self.validators[key] = schema and jsonschema_rs.Draft202012Validator(
                {**closed(schema), "components": self.components}, validate_formats=True
            )
        validator = self.validators[key]
        if validator is None:
            return f"{operation_id}: {status} is described without a JSON body: {body[:300]!r}"
        value = json.loads(body)
        if validator.is_valid(value):
            return None
        wrong = next(iter(validator.iter_errors(value)))
        return f"{operation_id}: {status}: {wrong.message[:300]} at {wrong.instance_path}: {body[:600]!r}"


def closed(node: Any) -> Any:
    """The same schemas, with no other fields than those that are named."""
    if isinstance(node, list):
        return [closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: closed(value) for key, value in node.items()}
    if isinstance(found.get("properties"), dict):
        found.setdefault("additionalProperties", False)
    return found


def check_answers(app: Flask) -> list[str]:
    """From now on check every answer of this app; returns the list to which whatever is wrong is added."""
    faults: list[str] = []
    routes = frozenset(rule.rule for rule in app.url_map.iter_rules())
    app.after_request(partial(check, app, routes, faults))
    return faults


def check(app: Flask, routes: frozenset[str], faults: list[str], response: Response) -> Response:
    rule = request.url_rule
    if rule is None or response.direct_passthrough or response.mimetype != JSON or request.method == "OPTIONS":
        return response
    operation = operation_of(app, rule)
    if operation is None or rule.endpoint == "openapi.openapi_json":
        return response
    keys = CAMEL if camel_wanted() else SNAKE
    if (routes, keys) not in documents:
        documents[routes, keys] = Document(app, keys)
    name = operation_id(rule)
    fault = documents[routes, keys].fault(name, str(response.status_code), response.get_data())
    fault = fault or (unknown_code(name, operation.passes_on, response) if response.status_code >= 400 else None)
    if fault is not None:
        faults.append(fault)
    elif EXAMPLES and request.method != "HEAD":
        keep(name, response)
    return response


def unknown_code(name: str, passes_on: bool, response: Response) -> str | None:
    """A code that docs/errors.md does not explain for this status; an upstream's own may be any."""
    value = response.get_json()
    entries = value.get("errors") if isinstance(value, dict) else None
    for each in entries if isinstance(entries, list) else []:
        if passes_on and each["code"] not in NAMED:
            continue
        found = code_of(each["code"])
        if found is None:
            return f"{name}: nobody explains the code {each['code']}"
        if response.status_code not in found.statuses:
            return f"{name}: {each['code']} is not explained for a {response.status_code}"
    return None


def keep(name: str, response: Response) -> None:
    with Path(f"{EXAMPLES}.{os.getpid()}").open("a") as kept:
        kept.write(json.dumps([name, response.status_code, response.get_json()]) + "\n")
