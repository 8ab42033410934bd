"""Description of the API, built from the schemas that the routes really load, so that it cannot drift from them.

A route is described beside its code with `@describe`. `undescribed` names the routes that are not; a test refuses them.
"""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeVar

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Blueprint, Flask, Response, current_app, jsonify, render_template
from marshmallow import Schema
from werkzeug.routing import Rule

from flaskapp.config import Config
from flaskapp.web import access
from flaskapp.web.access import Access
from flaskapp.web.errors import DETAILS, ERRORS_SHAPE, add_page_prefix, under_pages
from flaskapp.web.inflection import to_camel, with_keys

View = TypeVar("View", bound=Callable[..., Any])

INFLECTION = {
    "name": "X-Key-Inflection",
    "in": "header",
    "schema": {"type": "string", "examples": ["camel"]},
    "description": "`camel`: keys of the answer in camelCase, as written here. Without it, or with any other word, in"
    " snake_case.",
}
# The statuses of refusals before a route runs: of any request, and more of a request with a body.
ANY = (400, 429, 500)
READING = (408, 413, 415, 422)
TYPES = {"int": {"type": "integer"}, "uuid": {"type": "string", "format": "uuid"}}

INTRODUCTION = (
    "A 202 is a promise: the submission reaches a final state and the person is informed, or a named human has it. "
    "Requests may use camelCase or snake_case keys; unknown keys are ignored. Every failure is an `errors` list. "
    "Every answer carries `X-Request-Id`."
)


@dataclass(frozen=True)
class Operation:
    """What `describe` recorded about one view."""

    summary: str
    body: type[Schema] | None
    example: Any
    answers: Mapping[int, type[Schema] | str]
    answer_example: Any
    problems: Mapping[int, str]
    security: Access | None
    tag: str
    parameters: list[dict[str, Any]] = field(default_factory=list)
    content: Mapping[str, Any] = field(default_factory=dict)


def describe(
    summary: str,
    *,
    body: type[Schema] | None = None,
    example: Any = None,
    answers: Mapping[int, type[Schema] | str] | None = None,
    answer_example: Any = None,
    problems: Mapping[int, str] | None = None,
    security: Access | None = None,
    tag: str = "Service",
    parameters: list[dict[str, Any]] | None = None,
    content: Mapping[str, Any] | None = None,
) -> Callable[[View], View]:
    """Describe a view that serves one method. Keys in schemas and examples are given in snake case.

    `answers` maps a status to a schema or to words, also for a refusal whose body is no `errors` list. `problems` maps
    the status of an `errors` list to when it happens. `security` says who may call. `parameters` are OpenAPI parameter
    objects for query and headers, and for what there is to say about a part of the path. `content` is the OpenAPI
    content of a body that no schema of ours reads, with its names as they are sent.
    """
    operation = Operation(
        summary,
        body,
        example,
        answers or {200: "OK"},
        answer_example,
        problems or {},
        security,
        tag,
        parameters or [],
        content or {},
    )

    def keep(view: View) -> View:
        # In the view's dict, so that decorators using functools.wraps hand it on.
        vars(view)["openapi"] = operation
        return view

    return keep


def public_rules(app: Flask) -> Iterator[Rule]:
    """Routes of the API: not the consoles, not static files."""
    for rule in app.url_map.iter_rules():
        if rule.endpoint != "static" and not (under_pages(app, rule.rule.rstrip("/")) and rule.rule != "/docs"):
            yield rule


def operation_of(app: Flask, rule: Rule) -> Operation | None:
    view = inspect.unwrap(app.view_functions[rule.endpoint])
    found = vars(app.view_functions[rule.endpoint]).get("openapi") or vars(view).get("openapi")
    return found if isinstance(found, Operation) else None


def undescribed(app: Flask) -> list[str]:
    """`<method> <path>` of every public route without a description."""
    rules = [rule for rule in public_rules(app) if operation_of(app, rule) is None]
    return sorted(f"{method} {rule.rule}" for rule in rules for method in methods_of(rule))


def methods_of(rule: Rule) -> list[str]:
    return sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})


def document(app: Flask) -> dict[str, Any]:
    """The OpenAPI 3.1 document of this app, in the camelCase the front end uses."""
    marshmallow = MarshmallowPlugin(schema_name_resolver=lambda schema: schema_name(schema))
    spec = APISpec("Surefile", "1.0", "3.1.0", plugins=[marshmallow], info={"description": INTRODUCTION})
    spec.components.schema("Errors", ERRORS_SHAPE)
    proofs: dict[str, Any] = {}
    for rule in sorted(public_rules(app), key=lambda rule: rule.rule):
        operation = operation_of(app, rule)
        if operation is not None:
            proofs |= operation.security.proofs if operation.security is not None else {}
            described = {method.lower(): openapi_operation(rule, operation) for method in methods_of(rule)}
            spec.path(path=re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule), operations=described)
    written = spec.to_dict()
    schemas = camel_properties(written["components"]["schemas"])
    return {**written, "components": {"schemas": schemas, "securitySchemes": proofs}}


def schema_name(schema: Any) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return str(kind.__name__).removesuffix("Schema")


def openapi_operation(rule: Rule, operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*path_parameters(rule, operation), INFLECTION],
        "responses": responses(operation),
    }
    if operation.security is not None:
        described["description"] = f"Caller: {operation.security.words}"
        described["security"] = [{name: []} for name in operation.security.proofs]
        described["security"] += [{}] if operation.security.optional else []
    content = dict(operation.content)
    if operation.body is not None:
        content["application/json"] = {"schema": operation.body, **example_of(operation.example)}
    if content:
        described["requestBody"] = {"required": True, "content": content}
    return described


def path_parameters(rule: Rule, operation: Operation) -> list[dict[str, Any]]:
    """The parameters of the path, with what the route says about them, and then the others."""
    described = {each["name"]: each for each in operation.parameters}
    parts = re.findall(r"<(?:(\w+)[^:<>]*:)?(\w+)>", rule.rule)
    in_path = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": TYPES.get(kind, {"type": "string"}),
            **described.pop(name, {}),
        }
        for kind, name in parts
    ]
    return [*in_path, *described.values()]


def responses(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, what in operation.answers.items():
        found[str(status)] = {"description": what if isinstance(what, str) else HTTPStatus(status).phrase}
        if not isinstance(what, str):
            content = {"schema": what, **example_of(operation.answer_example)}
            found[str(status)]["content"] = {"application/json": content}
    refusals = {"application/json": {"schema": "Errors"}}
    always = ANY if operation.body is None else (*ANY, *READING)
    for status, when in {**{status: DETAILS[status] for status in always}, **operation.problems}.items():
        found[str(status)] = {"description": when, "content": refusals}
    return found


def example_of(example: Any) -> dict[str, Any]:
    return {} if example is None else {"example": with_keys(example, to_camel)}


def camel_properties(node: Any) -> Any:
    """The same schemas with property names, and the lists of required ones, in camelCase."""
    if isinstance(node, list):
        return [camel_properties(item) for item in node]
    if not isinstance(node, dict):
        return node
    spelled = {key: camel_properties(value) for key, value in node.items()}
    if isinstance(spelled.get("properties"), dict):
        spelled["properties"] = {to_camel(key): value for key, value in spelled["properties"].items()}
        spelled["required"] = [to_camel(key) for key in spelled.get("required", [])]
    return spelled


MAKING = threading.Lock()


def described(app: Flask) -> tuple[dict[str, Any], bytes]:
    """The document and its JSON, made at the first request: they stay the same until the process ends."""
    with MAKING:
        if "openapi" not in app.extensions:
            written = document(app)
            app.extensions["openapi"] = written, jsonify(written).get_data()
    made: tuple[dict[str, Any], bytes] = app.extensions["openapi"]
    return made


blueprint = Blueprint("openapi", __name__)
access.declare(blueprint, "anybody: it shows the description and nothing else")


@blueprint.get("/openapi.json")
@describe("This description, as OpenAPI 3.1", tag="Documentation", answers={200: "The document, as JSON."})
def openapi_json() -> Response:
    return Response(described(current_app)[1], mimetype="application/json")


@blueprint.get("/docs")
@describe("This description, as a page", tag="Documentation", answers={200: "The page, as HTML."})
def docs() -> str:
    written, _ = described(current_app)
    return render_template("docs.html", document=written, endpoints=endpoints(written))


def endpoints(written: dict[str, Any]) -> list[dict[str, Any]]:
    """The document as the page shows it: one entry for each method and path, with its fields in one flat list."""
    found = []
    for path, operations in written["paths"].items():
        for method, operation in operations.items():
            content: dict[str, Any] = next(iter(operation.get("requestBody", {}).get("content", {}).values()), {})
            found.append(
                {
                    "path": path,
                    "method": method.upper(),
                    "operation": operation,
                    "fields": list(fields_of(written, content.get("schema", {}))),
                    "example": content.get("example"),
                    "responses": sorted(operation["responses"].items()),
                }
            )
    return found


def fields_of(written: dict[str, Any], schema: dict[str, Any], prefix: str = "") -> Iterator[dict[str, Any]]:
    """The schema's fields, nested ones with the path to them; `[]` stands for the items of a list."""
    if "items" in schema:
        schema, prefix = schema["items"], f"{prefix.removesuffix('.')}[]."
    reference = schema.get("$ref") or next((part["$ref"] for part in schema.get("allOf", []) if "$ref" in part), "")
    resolved = written["components"]["schemas"][reference.rpartition("/")[2]] if reference else schema
    for key, item in resolved.get("properties", {}).items():
        required = key in resolved.get("required", [])
        yield {"name": prefix + key, "required": required, "schema": item}
        yield from fields_of(written, item, f"{prefix}{key}.")


def init_app(app: Flask, config: Config) -> None:
    add_page_prefix(app, "/docs")
    app.register_blueprint(blueprint)
