"""What a browser meets: preflights, cookies from the front end's host, protective headers, and a true API description.

Over real HTTP where the server's own parsing matters, through the test client elsewhere.
"""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import requests
from flask import Response, request
from marshmallow import fields
from werkzeug.serving import make_server

from flaskapp.web import openapi, shapes
from flaskapp.web.access import Access
from flaskapp.web.errors import Problem, add_page_prefix
from flaskapp.web.inflection import answer
from flaskapp.web.json_body import Body, json_body
from flaskapp.web.openapi import describe
from tests.edge_app import CONFIG, ORIGIN, make_app

PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "x-csrf-token",
}


class Claim(Body):
    uuid = fields.UUID(required=True, metadata={"description": "The check-in session."})
    appointment_date = fields.Date(metadata={"description": "A day."})


THING = shapes.thing("Thing", {"id": shapes.TEXT})


class TravelClaim(Body):
    travel_claims = fields.Nested(Claim, required=True, metadata={"description": "What is claimed."})
    others = fields.List(fields.Nested(Claim))


def routes(app):
    add_page_prefix(app, "/ops")

    @app.post("/check_in/v0/travel_claims")
    @describe(
        "Ask for a travel claim",
        body=TravelClaim,
        example={"travel_claims": {"appointment_date": "2031-03-04"}},
        answers={202: openapi.Answer("It will be filed.")},
        problems={401: "No check-in session."},
        security=Access("a check-in session", {}),
        tag="Check-in",
    )
    def claims():
        json_body(TravelClaim())
        return answer({"data": {"status_code": 202}}, 202)

    @app.get("/things/<uuid:thing_id>/")
    @describe("One thing", answers={200: openapi.Answer("It.", THING, example={"id": "a"})})
    def thing(thing_id):
        return answer({"id": str(thing_id)})

    app.add_url_rule("/ops/page", "ops_page", lambda: "a page")
    app.add_url_rule("/ops/broken", "ops_broken", broken)
    app.add_url_rule("/own", "own", lambda: Response("x", headers={"Cache-Control": "max-age=5"}))


def broken():
    raise Problem(409, "Conflict", "<b>Somebody</b> was first.")


@pytest.fixture
def app():
    return make_app(routes=routes)


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def server(app):
    running = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=running.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{running.port}"
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_post_is_accepted_with_and_without_slash_and_never_redirected(server, slash):
    body = {"travelClaims": {"uuid": "0c4f6d1e-0000-4000-8000-00000000aa01", "facilityName": "x"}}
    response = requests.post(
        f"{server}/check_in/v0/travel_claims{slash}",
        json=body,
        headers={"Origin": ORIGIN, "X-Key-Inflection": "camel", "X-CSRF-Token": "null"},
        allow_redirects=False,
        timeout=30,
    )
    assert (response.status_code, response.json()) == (202, {"data": {"statusCode": 202}})
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN


@pytest.mark.parametrize("path", ["/check_in/v0/travel_claims", "/things/0c4f6d1e-0000-4000-8000-00000000aa01"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_preflight_is_answered_on_the_exact_address(server, path, slash):
    response = requests.options(server + path + slash, headers=PREFLIGHT, allow_redirects=False, timeout=30)
    assert response.status_code == 204
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    allowed = set(response.headers["Access-Control-Allow-Headers"].split(", "))
    assert {"content-type", "x-key-inflection", "source-app-name", "x-csrf-token", "idempotency-key"} <= allowed


def test_a_chunked_body_over_the_limit_is_refused_as_json(server):
    response = requests.post(
        f"{server}/check_in/v0/travel_claims",
        data=(b"x" * 500 for _ in range(10)),
        headers={"Content-Type": "application/json"},
        timeout=30,
    )
    assert response.status_code in (400, 413)
    assert response.json()["errors"][0]["status"] == str(response.status_code)


def test_a_script_of_the_front_end_can_read_errors_and_the_named_headers(client):
    response = client.get("/nowhere", headers={"Origin": ORIGIN})
    assert response.status_code == 404
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    exposed = set(response.headers["Access-Control-Expose-Headers"].split(", "))
    assert {"X-CSRF-Token", "X-Session-Expiration", "X-RateLimit-Reset", "X-Request-Id"} <= exposed
    assert "Origin" in response.headers["Vary"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", f"{ORIGIN}.evil.example", "null", ORIGIN.upper(), f"{ORIGIN}/", "*"]
)
def test_any_other_origin_gets_no_cors_headers(client, origin):
    for method in ("GET", "OPTIONS"):
        headers = PREFLIGHT | {"Origin": origin}
        response = client.open("/check_in/v0/travel_claims", method=method, headers=headers)
        assert not [name for name, _ in response.headers if name.startswith("Access-Control-")]


def test_consoles_take_no_cross_origin_call(client):
    response = client.options("/ops/page", headers=PREFLIGHT | {"Access-Control-Request-Method": "GET"})
    assert "Access-Control-Allow-Origin" not in response.headers


def test_every_answer_has_the_protective_headers(client):
    for path in ("/own", "/nowhere", "/ops/page"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "Strict-Transport-Security" not in headers
    assert client.get("/own").headers["Cache-Control"] == "max-age=5"
    assert client.get("/nowhere").headers["Cache-Control"] == "no-store"
    assert "style-src" not in client.get("/own").headers["Content-Security-Policy"]
    assert "script-src" not in client.get("/ops/page").headers["Content-Security-Policy"]


def test_https_at_the_router_is_recognized_and_one_proxy_is_trusted(app):
    seen = []
    app.before_request(lambda: seen.append(request.remote_addr))
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "10.9.9.9, 192.0.2.7"}
    response = app.test_client().get("/own", headers=headers)
    assert "max-age" in response.headers["Strict-Transport-Security"]
    assert seen == ["192.0.2.7"]


def test_a_console_failure_is_a_page_for_people_and_json_for_scripts(client):
    shown = client.get("/ops/broken")
    assert (shown.status_code, shown.mimetype) == (409, "text/html")
    assert "&lt;b&gt;Somebody" in shown.text and "<b>Somebody" not in shown.text
    read = client.get("/ops/broken", headers={"X-Requested-With": "XMLHttpRequest"})
    assert read.json["errors"][0]["status"] == "409"


def test_the_description_holds_every_route_with_its_real_schema(client):
    document = client.get("/openapi.json").json
    operation = document["paths"]["/check_in/v0/travel_claims"]["post"]
    assert operation["summary"] == "Ask for a travel claim"
    assert operation["requestBody"]["content"]["application/json"]["example"] == {
        "travelClaims": {"appointmentDate": "2031-03-04"}
    }
    assert {"202", "401", "500"} <= operation["responses"].keys()
    assert document["components"]["schemas"]["Claim"]["required"] == ["uuid"]
    assert "appointmentDate" in document["components"]["schemas"]["Claim"]["properties"]
    [path] = [item for item in document["paths"]["/things/{thing_id}/"]["get"]["parameters"] if item["in"] == "path"]
    assert path["schema"] == {"type": "string", "format": "uuid"}


def test_the_description_is_made_once_for_all_requests_and_for_its_page(app, monkeypatch):
    made, make = [], openapi.document

    def slowly(application, keys):
        made.append(application.extensions)
        # So that the other requests, if they did not wait, would begin as well.
        time.sleep(0.05)
        return make(application, keys)

    monkeypatch.setattr(openapi, "document", slowly)
    with ThreadPoolExecutor(4) as many:
        bodies = set(many.map(lambda _: app.test_client().get("/openapi.json").data, range(8)))
    assert app.test_client().get("/docs").status_code == 200
    assert (len(bodies), made) == (1, [app.extensions])
    (body,) = bodies
    assert json.loads(body) == make(app)
    other = make_app(routes=lambda _: None)
    assert "/own" not in other.test_client().get("/openapi.json").json["paths"]
    assert len(made) == 2, "another application has another description"


def test_a_public_route_without_description_is_named(app):
    assert openapi.undescribed(app) == ["GET /own"]


def test_the_docs_page_shows_endpoints_fields_and_answers_without_a_script_having_run(client):
    response = client.get("/docs")
    assert response.status_code == 200
    for text in (
        "POST /check_in/v0/travel_claims",
        "travelClaims.uuid",
        "others[].uuid",
        "The check-in session.",
        "No check-in session.",
    ):
        assert text in response.text
    assert response.text.count("<script") == 1, "only the file that tries routes out"


def test_no_origin_is_allowed_when_none_is_set():
    client = make_app(replace(CONFIG, frontend_origins=()), routes).test_client()
    response = client.options("/own", headers=PREFLIGHT)
    assert "Access-Control-Allow-Origin" not in response.headers
