"""Every failure has one shape and names nobody, and every unreadable body is refused with its reason."""

import pytest
from flask import abort
from marshmallow import ValidationError, fields, validate
from sqlalchemy.exc import InterfaceError, OperationalError, TimeoutError

from flaskapp.web.errors import Problem
from flaskapp.web.inflection import answer
from flaskapp.web.json_body import Body, json_body
from tests.edge_app import make_app

SECRET = "Zebediah"
CAMEL = {"X-Key-Inflection": "camel"}


class Claim(Body):
    uuid = fields.UUID(required=True)
    appointment_date = fields.Date(required=True)
    kind = fields.String(validate=validate.OneOf(["travel", "check_in"]))


class ClaimRequest(Body):
    travel_claims = fields.Nested(Claim, required=True)


def raise_later(error):
    def view():
        raise error

    return view


def routes(app):
    @app.post("/claims/")
    def claims():
        loaded = json_body(ClaimRequest())
        return answer({"keys": sorted(loaded["travel_claims"])})

    database = OperationalError("INSERT", {"name": SECRET}, Exception(SECRET))
    broken = InterfaceError("INSERT", {"name": SECRET}, Exception(SECRET))
    failures = {
        "problem": Problem(410, "Too many", "Ask the desk.", "MAX_410", "/session/last_name", {"Retry-After": "7"}),
        "unauthorized": Problem(401),
        "crash": RuntimeError(SECRET),
        "database": database,
        "interface": broken,
        "pool": TimeoutError(SECRET),
        "listed": ValidationError({"items": {0: {"last_name": ["Too long."]}}, "_schema": ["No."]}),
    }
    for name, error in failures.items():
        app.add_url_rule(f"/{name}", name, raise_later(error))
    app.add_url_rule("/aborted", "aborted", lambda: abort(400, description=SECRET))


@pytest.fixture
def client():
    return make_app(routes=routes).test_client()


def post(client, body, **options):
    options.setdefault("content_type", "application/json")
    return client.post("/claims/", data=body, **options)


def only_error(response, status):
    assert response.status_code == status
    assert response.content_type == "application/json"
    assert SECRET not in response.text
    [error] = response.json["errors"]
    assert error["status"] == str(status)
    assert error["meta"]["request_id"] == response.headers["X-Request-Id"]
    assert error["title"] and error["detail"] and error["code"]
    return error


def test_a_problem_is_answered_in_its_own_words(client):
    response = client.get("/problem")
    error = only_error(response, 410)
    assert (error["title"], error["detail"], error["code"]) == ("Too many", "Ask the desk.", "MAX_410")
    assert error["source"] == {"pointer": "/session/last_name"}
    assert response.headers["Retry-After"] == "7"


def test_an_error_follows_the_spelling_the_caller_uses(client):
    [error] = client.get("/problem", headers=CAMEL).json["errors"]
    assert error["source"] == {"pointer": "/session/lastName"}
    assert error["meta"].keys() == {"requestId"}


def test_a_401_names_the_token_scheme(client):
    response = client.get("/unauthorized")
    only_error(response, 401)
    assert response.headers["WWW-Authenticate"] == 'Token realm="Application"'


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/claims/", 405)])
def test_what_flask_refuses_has_the_same_shape(client, method, path, status):
    response = client.open(path, method=method)
    only_error(response, status)
    assert ("Allow" in response.headers) == (status == 405)


@pytest.mark.parametrize(("path", "status"), [("/crash", 500), ("/aborted", 400)])
def test_no_text_of_an_exception_is_answered(client, path, status):
    only_error(client.get(path), status)


@pytest.mark.parametrize("path", ["/database", "/interface", "/pool"])
def test_a_database_that_is_away_is_a_503_to_be_repeated(client, path):
    response = client.get(path)
    only_error(response, 503)
    assert int(response.headers["Retry-After"]) > 0


def test_every_wrong_field_has_an_entry_that_says_what_to_fix(client):
    response = post(client, '{"travelClaims": {"uuid": "Zebediah", "kind": "boat"}}', headers=CAMEL)
    assert response.status_code == 422
    found = {error["source"]["pointer"]: error["detail"] for error in response.json["errors"]}
    assert found == {
        "/travelClaims/uuid": "travelClaims/uuid: Not a valid UUID.",
        "/travelClaims/appointmentDate": "travelClaims/appointmentDate: Missing data for required field.",
        "/travelClaims/kind": "travelClaims/kind: Must be one of: travel, check_in.",
    }
    assert SECRET not in response.text


def test_list_items_and_whole_objects_have_pointers_too(client):
    errors = client.get("/listed").json["errors"]
    assert {error["source"]["pointer"] for error in errors} == {"/items/0/last_name", ""}


GOOD = '{"uuid": "0c4f6d1e-0000-4000-8000-00000000aa01", "appointmentDate": "2031-03-04"}'


@pytest.mark.parametrize("inner", [GOOD, GOOD.replace("appointmentDate", "appointment_date")])
def test_both_spellings_and_unknown_keys_are_accepted(client, inner):
    wider = inner.replace("}", ', "facilityName": "x", "timeToComplete": "NaN"}')
    response = post(client, f'{{"travelClaims": {wider}, "extra": 1}}')
    assert response.status_code == 200
    assert response.json == {"keys": ["appointment_date", "uuid"]}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "null",
        '"text"',
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        '{"a": ' + "1" * 1900 + "e1900}",
        '{"a": 1, "a": 2}',
        '{"aB": 1, "a_b": 2}',
        '{"a\\u0000": 1}',
        '{"a\\ud800": 1}',
        '{"a":' * 33 + "1" + "}" * 33,
        "[" * 1000,
        b'{"a": "\xff"}',
    ],
)
def test_what_is_not_one_clean_object_is_a_400(client, body):
    only_error(post(client, body), 400)


def test_a_nesting_at_the_limit_is_read(client):
    deep = '{"a":' * 31 + "{}" + "}" * 31
    assert post(client, deep).status_code == 422


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
def test_another_content_type_is_a_415(client, content_type):
    only_error(post(client, "{}", content_type=content_type), 415)


def test_a_body_over_the_limit_is_a_413(client):
    only_error(post(client, '{"a": "' + "x" * 2_000 + '"}'), 413)


@pytest.mark.parametrize("offered", ["abc-1_2.3", "x" * 64])
def test_a_plain_request_id_is_kept(client, offered):
    assert client.get("/nowhere", headers={"X-Request-Id": offered}).headers["X-Request-Id"] == offered


@pytest.mark.parametrize("offered", ["x" * 65, "<b>", "a b", "ä", ""])
def test_any_other_request_id_is_replaced(client, offered):
    given = client.get("/nowhere", headers={"X-Request-Id": offered.encode().decode("latin-1")})
    assert given.headers["X-Request-Id"] != offered
    assert len(given.headers["X-Request-Id"]) == 32
