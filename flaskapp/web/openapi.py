"""Description of the API, built from the schemas that the routes really load, so that it cannot drift from them.

A route is described beside its code with `@describe`. `undescribed` names the routes that are not; a test refuses them.
The tests hold every answer that they get against it. Its examples are such answers: `make examples` keeps them.

Answers come in two spellings, and one document can describe one of them: there is one for each.
"""

from __future__ import annotations

import inspect
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import (
    Blueprint,
    Flask,
    Response,
    after_this_request,
    current_app,
    jsonify,
    make_response,
    render_template,
    request,
)
from marshmallow import Schema
from werkzeug.http import http_date
from werkzeug.routing import Rule

from flaskapp.config import Config
from flaskapp.flows import Flows, Told
from flaskapp.web import access
from flaskapp.web.access import Access
from flaskapp.web.cross_origin import PAGE_POLICY
from flaskapp.web.errors import DETAILS, ERRORS_SHAPE, Problem, add_page_prefix, entry, under_pages
from flaskapp.web.inflection import to_camel, with_keys
from flaskapp.web.shapes import OBJECT, TEXT, TIMESTAMP, WHOLE, Shape, any_of, said, thing, word

View = TypeVar("View", bound=Callable[..., Any])

VERSION = "0.1.0"
JSON = "application/json"
CAMEL, SNAKE = "camel", "snake"
INFLECTION = {
    "name": "X-Key-Inflection",
    "in": "header",
    "required": True,
    "schema": {"type": "string"},
    "example": CAMEL,
    "description": "`camel`, for the keys as they are written here. Without it, or with any other word, keys are in"
    " snake_case, as `/openapi.json?keys=snake` describes them. Bodies are read in both spellings.",
}
RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait before the next try.", "schema": {"type": "integer"}}}
# The statuses of refusals before a route runs: of any request, and more of a request with a body.
ANY = (400, 429, 500)
READING = (408, 413, 415, 422)
TYPES = {"int": {"type": "integer"}, "uuid": {"type": "string", "format": "uuid"}}

INTRODUCTION = (
    "A 202 is a promise: the submission reaches a final state and the person is informed, or a named human has it. "
    "Requests may use camelCase or snake_case keys; unknown keys are ignored. Every failure is an `errors` list. "
    "Every answer carries `X-Request-Id`. New fields, words and codes may come at any time: ignore what you do not "
    "know."
)
TAGS = {
    "Check-in": "Who the person is, what they confirm, and that they are there.",
    "Travel claims": "Travel pay requested at check-in.",
    "Intent to file": "Intents to file a disability, pension or survivor claim.",
    "Form 526": "The disability form, its files, and what becomes of each.",
    "Travel pay": "Claims, documents and appointments of signed-in travelers.",
    "Submissions": "Everything that a signed-in person was promised, of every flow.",
    "VANotify": "What VANotify tells us.",
    "Webhooks": "What receivers are told that an operator has added.",
    "Service": "Whether the service runs.",
    "Documentation": "This description.",
}
WEBHOOKS = "Webhooks"
DELIVERY_HEADERS = [
    {"name": name, "in": "header", "required": True, "schema": TEXT, "description": words}
    for name, words in (
        ("webhook-id", "The same whenever this delivery is sent: by it, duplicates are known."),
        ("webhook-timestamp", "When it was sent, in seconds since 1970. Refuse what is older than five minutes."),
        (
            "webhook-signature",
            "`v1,` and the base64 of an HMAC-SHA256 of id, timestamp and body; several with a blank.",
        ),
    )
]
PASSED_ON = "An upstream refuses: with its own status and code."
EXAMPLES = Path(__file__).with_name("examples.json")


@dataclass(frozen=True)
class Answer:
    """An answer in words and as a shape of its JSON; `media` where it is none. `example` is what our code sends, for an
    answer of which none is kept."""

    words: str
    shape: Shape | None = None
    media: tuple[str, ...] = ()
    example: Any = None


@dataclass(frozen=True)
class Deprecated:
    """That a route ends: known since when, when, and the address of what to use instead."""

    since: datetime
    ends: datetime
    instead: str

    def headers(self) -> dict[str, str]:
        """As RFC 9745 and RFC 8594 write them."""
        return {
            "Deprecation": f"@{int(self.since.timestamp())}",
            "Sunset": http_date(self.ends),
            "Link": f'<{self.instead}>; rel="deprecation"',
        }


@dataclass(frozen=True)
class Operation:
    """What `describe` recorded about one view."""

    summary: str
    body: type[Schema] | None
    example: Any
    answers: Mapping[int, Answer]
    problems: Mapping[int, str]
    security: Access | None
    tag: str
    parameters: list[dict[str, Any]] = field(default_factory=list)
    content: Mapping[str, Any] = field(default_factory=dict)
    passes_on: bool = False
    deprecated: Deprecated | None = None


def describe(
    summary: str,
    *,
    body: type[Schema] | None = None,
    example: Any = None,
    answers: Mapping[int, Answer] | None = None,
    problems: Mapping[int, str] | None = None,
    security: Access | None = None,
    tag: str = "Service",
    parameters: list[dict[str, Any]] | None = None,
    content: Mapping[str, Any] | None = None,
    passes_on: bool = False,
    deprecated: Deprecated | None = None,
) -> Callable[[View], View]:
    """Describe a view that serves one method. Keys in schemas and examples are given in snake case.

    `answers` maps a status to its answer, also for a refusal whose body is no `errors` list. `problems` maps the status
    of an `errors` list to when it happens; a status in both is answered in either shape. `security` says who may call.
    `parameters` are OpenAPI parameter objects for query and headers, and for what there is to say about a part of the
    path. `content` is the OpenAPI content of a body that no schema of ours reads, with its names as they are sent.
    `passes_on`: an upstream's refusal is answered with its own status and code. Every answer of a `deprecated` route
    says so.
    """
    operation = Operation(
        summary,
        body,
        example,
        answers or {200: Answer("OK")},
        problems or {},
        security,
        tag,
        parameters or [],
        content or {},
        passes_on,
        deprecated,
    )

    def keep(view: View) -> View:
        view = saying_so(view, deprecated) if deprecated is not None else view
        # In the view's dict, so that decorators using functools.wraps hand it on.
        vars(view)["openapi"] = operation
        return view

    return keep


def saying_so(view: View, deprecated: Deprecated) -> View:
    """The view with the headers of a deprecated route, on refusals too."""

    def add(response: Response) -> Response:
        response.headers.update(deprecated.headers())
        return response

    @wraps(view)
    def viewed(*args: Any, **kwargs: Any) -> Any:
        after_this_request(add)
        return view(*args, **kwargs)

    return cast(View, viewed)


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


def document(app: Flask, keys: str = CAMEL) -> dict[str, Any]:
    """The OpenAPI 3.1 document of this app, with the keys of answers in camelCase, or in snake_case."""
    marshmallow = MarshmallowPlugin(schema_name_resolver=lambda schema: schema_name(schema))
    spec = APISpec(
        "Surefile",
        VERSION,
        "3.1.0",
        plugins=[marshmallow],
        info={"description": INTRODUCTION, "license": {"name": "CC0 1.0 Universal", "identifier": "CC0-1.0"}},
        servers=[{"url": "/", "description": "The host that serves this description."}],
    )
    proofs: dict[str, Any] = {}
    tags: dict[str, None] = {}
    for rule in sorted(public_rules(app), key=lambda rule: rule.rule):
        operation = operation_of(app, rule)
        if operation is not None:
            proofs |= operation.security.proofs if operation.security is not None else {}
            tags[operation.tag] = None
            described = {method.lower(): openapi_operation(rule, operation, keys) for method in methods_of(rule)}
            spec.path(path=re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule), operations=described)
    written = spec.to_dict()
    components = dict(written.get("components", {}).get("schemas", {}))
    paths = hoisted(written["paths"], components)
    told = hoisted({kind: {"post": delivery(kind, each)} for kind, each in flows_of(app).tells.items()}, components)
    tags |= {WEBHOOKS: None} if told else {}
    schemas = {name: browsers_patterns(spelled(schema, keys)) for name, schema in sorted(components.items())}
    described_tags = [{"name": name, "description": TAGS.get(name, name)} for name in sorted(tags)]
    return {
        **written,
        "paths": paths,
        **({"webhooks": told} if told else {}),
        "tags": described_tags,
        "components": {"schemas": schemas, "securitySchemes": proofs},
    }


def flows_of(app: Flask) -> Flows:
    """The registered ones; none in an application that has only routes."""
    found: Flows = app.extensions.get("flows", Flows())
    return found


def delivery(kind: str, told: Told) -> dict[str, Any]:
    """What a receiver of webhooks is sent of one kind. It has no key of two words, so there is one spelling."""
    example = {"type": kind, "timestamp": "2026-11-30T19:47:05.123456Z", "sequence": 4711, "data": told.example}
    fields = {
        "type": word(kind),
        "timestamp": said(TIMESTAMP, "When it happened."),
        "sequence": said(WHOLE, "Grows from delivery to delivery of one receiver, in the order of what happened."),
        "data": told.shape,
    }
    named = "".join(part.capitalize() for part in re.split(r"[._]", kind))
    return {
        "operationId": to_camel(f"told_{kind.replace('.', '_')}"),
        "summary": told.words,
        "description": f"{told.words} Sent to receivers that an operator has added (docs/webhooks.md).",
        "tags": [WEBHOOKS],
        "security": [],
        "parameters": DELIVERY_HEADERS,
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": thing(f"{named}Delivery", fields), "example": example}},
        },
        "responses": {
            "2XX": {"description": "Taken; it is not sent again."},
            "410": {"description": "This receiver is gone: nothing more is sent until an operator says so."},
            "4XX": {"description": "This delivery is refused, and tried again for three days."},
            "default": {"description": "Not now: everything waits, and is tried again for three days."},
        },
    }


def schema_name(schema: Any) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return str(kind.__name__).removesuffix("Schema")


def hoisted(node: Any, components: dict[str, Any]) -> Any:
    """The same, with every titled shape as a reference to the component that it became."""
    if isinstance(node, list):
        return [hoisted(item, components) for item in node]
    if not isinstance(node, dict):
        return node
    inner = {key: item if key in ("example", "examples") else hoisted(item, components) for key, item in node.items()}
    if "title" not in inner or "properties" not in inner:
        return inner
    if components.setdefault(inner["title"], inner) != inner:
        raise ValueError(f"two shapes are called {inner['title']}")
    return {"$ref": f"#/components/schemas/{inner['title']}"}


def openapi_operation(rule: Rule, operation: Operation, keys: str) -> dict[str, Any]:
    name = operation_id(rule)
    described: dict[str, Any] = {
        "operationId": name,
        "summary": operation.summary,
        "description": operation.summary,
        "tags": [operation.tag],
        "parameters": [*path_parameters(rule, operation), *([INFLECTION] if keys == CAMEL else [])],
        "responses": responses(operation, name, keys),
        "security": [],
    }
    if operation.deprecated is not None:
        described["deprecated"] = True
    if operation.security is not None:
        described["description"] = f"Caller: {operation.security.words}"
        described["security"] = [{proof: []} for proof in operation.security.proofs]
        described["security"] += [{}] if operation.security.optional else []
    content = dict(operation.content)
    if operation.body is not None:
        content[JSON] = {"schema": operation.body, "example": with_spelling(operation.example, keys)}
    if content:
        described["requestBody"] = {"required": True, "content": content}
    return described


def operation_id(rule: Rule) -> str:
    """The name by which generated clients call it, such as `travelClaimsRequestClaim`. It never changes."""
    return to_camel(rule.endpoint.replace(".", "_"))


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


def responses(operation: Operation, name: str, keys: str) -> dict[str, Any]:
    """Every answer by its status. A status that is an answer and a problem has either shape."""
    always = ANY if operation.body is None else (*ANY, *READING)
    refusals = {**{status: DETAILS[status] for status in always}, **operation.problems}
    found: dict[str, Any] = {}
    for status in sorted({*operation.answers, *refusals}):
        answer, when = operation.answers.get(status), refusals.get(status)
        shapes = [answer.shape] if answer is not None and answer.shape is not None else []
        shapes += [ERRORS_SHAPE] if when is not None else []
        words = " ".join(text for text in (answer.words if answer is not None else None, when) if text)
        found[str(status)] = {"description": words}
        if status in (429, 503):
            found[str(status)]["headers"] = RETRY_AFTER
        if shapes:
            content = {"schema": shapes[0] if len(shapes) == 1 else any_of(*shapes)}
            given = answer.example if answer is not None else None
            content |= {"example": with_spelling(example_of(name, status, given), keys)}
            found[str(status)]["content"] = {JSON: content}
        elif answer is not None and answer.media:
            found[str(status)]["content"] = {media: {"schema": FILE} for media in answer.media}
    if operation.passes_on:
        content = {"schema": ERRORS_SHAPE, "example": with_spelling(example_of(name, 422), keys)}
        found["4XX"] = {"description": PASSED_ON, "content": {JSON: content}}
    return found


FILE = {"type": "string", "format": "binary"}


@cache
def examples() -> dict[str, Any]:
    """Answers that were really given, by operation and status, with keys in snake case."""
    found: dict[str, Any] = json.loads(EXAMPLES.read_text())
    return found


def example_of(name: str, status: int, example: Any = None) -> Any:
    """An answer that was given; else `example` or, of a refusal, what our code makes where it says nothing special."""
    refusal = {"errors": [{**entry(status), "meta": {"request_id": "0c4f6d1e"}}]} if status >= 400 else None
    return examples().get(name, {}).get(str(status), example or refusal)


def with_spelling(value: Any, keys: str) -> Any:
    return with_keys(value, to_camel) if keys == CAMEL else value


def spelled(node: Any, keys: str) -> Any:
    """The same schemas with property names, and the lists of required ones, in this spelling."""
    if isinstance(node, list):
        return [spelled(item, keys) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: spelled(value, keys) for key, value in node.items()}
    if isinstance(found.get("properties"), dict) and keys == CAMEL:
        found["properties"] = {to_camel(key): value for key, value in found["properties"].items()}
        found["required"] = [to_camel(key) for key in found.get("required", [])]
    return found


def browsers_patterns(node: Any) -> Any:
    """The same schemas with patterns as ECMA-262 has them. Ours are matched from the beginning, and end in `\\Z`."""
    if isinstance(node, list):
        return [browsers_patterns(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: browsers_patterns(value) for key, value in node.items()}
    if isinstance(found.get("pattern"), str):
        found["pattern"] = f"^(?:{found['pattern'].removesuffix(chr(92) + 'Z')})$"
    return found


MAKING = threading.Lock()


def described(app: Flask, keys: str = CAMEL) -> tuple[dict[str, Any], bytes]:
    """The document and its JSON, made at the first request: they stay the same until the process ends."""
    with MAKING:
        made: dict[str, tuple[dict[str, Any], bytes]] = app.extensions.setdefault("openapi", {})
        if keys not in made:
            written = document(app, keys)
            made[keys] = written, jsonify(written).get_data()
        return made[keys]


blueprint = Blueprint("openapi", __name__)
access.declare(blueprint, "anybody: it shows the description and nothing else")
KEYS = {
    "name": "keys",
    "in": "query",
    "schema": word(CAMEL, SNAKE),
    "description": "Which spelling of answers to describe: `camel`, if left out, or `snake`.",
}
HEAD = {"openapi": "3.1.0", "info": {"title": "Surefile", "version": VERSION}, "paths": {}}
DOCUMENT = thing("Description", {"openapi": TEXT, "info": OBJECT, "paths": OBJECT}, additionalProperties=True)


@blueprint.get("/openapi.json")
@describe(
    "This description, as OpenAPI 3.1",
    tag="Documentation",
    parameters=[KEYS],
    answers={200: Answer("The document.", DOCUMENT, example=HEAD)},
    problems={400: "`keys` is neither `camel` nor `snake`."},
)
def openapi_json() -> Response:
    keys = request.args.get("keys", CAMEL)
    if keys not in (CAMEL, SNAKE):
        raise Problem(400, detail=f"keys has to be {CAMEL} or {SNAKE}.")
    return Response(described(current_app, keys)[1], mimetype=JSON)


@blueprint.get("/docs")
@describe(
    "This description, as a page",
    tag="Documentation",
    answers={200: Answer("The page.", media=("text/html",))},
)
def docs() -> Response:
    written, _ = described(current_app)
    page = make_response(render_template("docs.html", document=written, endpoints=endpoints(written)))
    page.headers["Content-Security-Policy"] = f"{PAGE_POLICY}; script-src 'self'; connect-src 'self'"
    return page


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
                    "parts": form_parts(operation),
                    "responses": sorted(operation["responses"].items()),
                }
            )
    return found


def form_parts(operation: dict[str, Any]) -> dict[str, Any]:
    """The parts of a form with a file, by name."""
    content = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data", {})
    found: dict[str, Any] = content.get("schema", {}).get("properties", {})
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
