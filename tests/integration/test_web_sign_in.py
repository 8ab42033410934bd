"""A signed-in browser: its changes need the CSRF token of its own session, which every answer gives to it.

Over real HTTP where cookies and headers must travel as they do between a browser and a server.
"""

import threading
from datetime import datetime

import pytest
import requests
import time_machine
from werkzeug.serving import make_server

from tests.edge_app import ORIGIN, csrf_of
from tests.sign_in_edge import ACCOUNT, PATH, make_signed_in_app, token

CHANGES = ("POST", "PUT", "PATCH", "DELETE")
PREFLIGHT = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}


@pytest.fixture(scope="module")
def app():
    return make_signed_in_app()


def browser(app, **changes):
    client = app.test_client()
    client.set_cookie("vagov_access_token", token(**changes))
    return client


@pytest.fixture
def client(app):
    return browser(app)


@pytest.fixture(scope="module")
def server(app):
    running = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=running.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{running.port}"
    running.shutdown()
    thread.join()
    running.server_close()


def csrf_in(response):
    return response.headers["X-CSRF-Token"]


def refused(response):
    assert response.status_code == 403
    [error] = response.json["errors"]
    assert (error["code"], error["status"]) == ("CSRF", "403")
    assert "Load it again" in error["detail"]
    return True


def change(client, csrf=None, method="POST"):
    return client.open(PATH, method=method, headers={} if csrf is None else {"X-CSRF-Token": csrf})


def test_a_page_reads_changes_and_keeps_changing(server):
    """As the front end does it: the token it holds goes with every call, and each answer replaces it."""
    page = requests.Session()
    page.headers.update({"Origin": ORIGIN, "X-Key-Inflection": "camel", "X-CSRF-Token": "null"})
    page.cookies.set("vagov_access_token", token())
    for method, status in (("GET", 200), ("POST", 200), ("GET", 200), ("DELETE", 200)):
        response = page.request(method, server + PATH, timeout=30)
        assert response.status_code == status
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert {"X-CSRF-Token", "X-Session-Expiration"} <= set(
            response.headers["Access-Control-Expose-Headers"].split(", ")
        )
        page.headers["X-CSRF-Token"] = csrf_in(response)
    assert response.json() == {"account": ACCOUNT, "byCookie": True}


def test_an_authorization_header_of_maximum_size_is_answered_like_any_bad_token(server):
    response = requests.get(server + PATH, headers={"Authorization": f"Bearer {'a.' * 20_000}"}, timeout=30)
    assert (response.status_code, response.json()) == (401, {"errors": "Access token JWT is malformed"})


def test_the_session_cookie_is_closed_to_scripts_and_other_sites_and_set_once(client):
    first = client.get(PATH)
    [cookie] = [value for value in first.headers.getlist("Set-Cookie") if value.startswith("surefile_session=")]
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert first.headers["Cache-Control"] == "no-store"
    assert not client.get(PATH).headers.getlist("Set-Cookie")


def test_over_https_the_session_cookie_is_secure():
    response = browser(make_signed_in_app(insecure_cookies=False)).get(PATH)
    assert "; Secure" in response.headers["Set-Cookie"]


@pytest.mark.parametrize("method", CHANGES)
def test_a_change_passes_with_the_given_token_and_not_without(client, method):
    csrf = csrf_in(client.get(PATH))
    assert refused(change(client, method=method))
    assert change(client, csrf, method).status_code == 200


@pytest.mark.parametrize("csrf", ["", "null", "undefined", "é", "a.b.c", "x" * 20_000])
def test_a_missing_token_and_a_senseless_one_are_refused_alike(client, csrf):
    assert refused(change(client, csrf))
    client.get(PATH)
    assert refused(change(client, csrf))


@pytest.mark.parametrize("origin", [ORIGIN, "http://localhost"])
@pytest.mark.parametrize("csrf", [None, "null", "of another backend"])
def test_a_change_from_one_of_our_pages_needs_no_token(client, origin, csrf):
    """The page's one token may be that of another backend on the same host."""
    headers = {"Origin": origin} | ({} if csrf is None else {"X-CSRF-Token": csrf})
    assert client.post(PATH, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [f"{ORIGIN}.evil.example", f"{ORIGIN}:444", ORIGIN.upper(), f"{ORIGIN}/", "https://localhost", "null", ""],
)
def test_an_origin_is_compared_whole(client, origin):
    assert refused(client.post(PATH, headers={"Origin": origin}))


def test_where_another_backend_hands_tokens_out_ours_gives_none():
    client = browser(make_signed_in_app(hand_out_csrf_tokens=False))
    response = client.get(PATH)
    assert response.status_code == 200 and "X-CSRF-Token" not in response.headers
    assert client.post(PATH, headers={"Origin": ORIGIN, "X-CSRF-Token": "theirs"}).status_code == 200
    assert refused(change(client, "theirs"))


def test_the_token_of_another_session_is_refused(app, client):
    client.get(PATH)
    assert refused(change(client, csrf_in(browser(app).get(PATH))))


def test_the_answer_to_a_refused_change_has_the_token_for_the_next_one(client):
    response = change(client, "null")
    assert refused(response)
    assert change(client, csrf_in(response)).status_code == 200


def test_a_page_left_open_for_days_can_still_be_sent(app, client):
    csrf = csrf_in(client.get(PATH))
    with time_machine.travel(datetime.now().timestamp() + 30 * 86_400, tick=False):
        client.set_cookie("vagov_access_token", token())
        assert change(client, csrf).status_code == 200


def test_a_call_with_a_bearer_token_needs_no_csrf_token(app):
    client = app.test_client()
    response = client.post(PATH, headers={"Authorization": f"Bearer {token()}"})
    assert response.json == {"account": ACCOUNT, "by_cookie": False}


def test_another_authorization_header_does_not_replace_the_csrf_token(client):
    assert refused(client.post(PATH, headers={"Authorization": "Basic c3RhZ2luZzpkb29y"}))


@pytest.mark.parametrize(("path", "status"), [(PATH, 200), (f"{PATH}/gone", 404), (f"{PATH}/broken", 500)])
def test_every_answer_has_the_token_and_the_end_of_the_sign_in(app, path, status):
    response = browser(app, exp=4_000_000_000).get(path)
    assert response.status_code == status
    assert csrf_in(response)
    assert response.headers["X-Session-Expiration"] == "2096-10-02T07:06:40+00:00"


@pytest.mark.parametrize(("changes", "status"), [({"exp": 1}, 403), ({"aud": "other"}, 401)])
def test_the_answer_to_a_refused_sign_in_has_a_token_too_and_no_end(app, changes, status):
    client = browser(app, **changes)
    response = client.get(PATH)
    assert response.status_code == status
    assert "X-Session-Expiration" not in response.headers
    client.set_cookie("vagov_access_token", token())
    assert change(client, csrf_in(response)).status_code == 200


def test_the_access_token_is_checked_before_the_csrf_token(app):
    response = change(browser(app, exp=1))
    assert (response.status_code, response.json) == (403, {"errors": "Access token has expired"})


@pytest.mark.parametrize("headers", [PREFLIGHT, PREFLIGHT | {"Origin": "https://evil.example"}, {}])
def test_a_preflight_needs_no_sign_in_and_starts_no_session(app, headers):
    response = app.test_client().options(PATH, headers=headers)
    assert response.status_code == (204 if headers == PREFLIGHT else 200)
    assert not {"X-CSRF-Token", "Set-Cookie", "X-Session-Expiration"} & set(response.headers.keys())


def test_the_front_ends_token_does_not_pass_for_the_operators_forms(client):
    csrf = csrf_in(client.get(PATH))
    own = csrf_of(client.get("/ops/login").text)
    assert client.post("/ops/logout", headers={"X-CSRFToken": csrf}).status_code == 403
    assert refused(change(client, own))
    assert client.post("/ops/logout", headers={"X-CSRFToken": own}).status_code == 303
