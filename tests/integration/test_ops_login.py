"""Log-in of operators: with name and password, for eight hours, and for nobody else."""

from dataclasses import replace

import pytest
import time_machine
from flask import Blueprint
from werkzeug.security import check_password_hash, generate_password_hash

from flaskapp import ops
from flaskapp.ops.operators import NOBODY, fingerprint, signer
from tests.edge_app import CONFIG, OPERATORS, PASSWORD, csrf_of, log_in, make_app


def console():
    blueprint = Blueprint("cases", __name__, url_prefix="/ops/cases")
    ops.require_operator(blueprint)
    blueprint.add_url_rule("/", "all", lambda: f"for {ops.operator_name()}")
    blueprint.add_url_rule("/close", "close", lambda: "closed", methods=["POST"])
    return blueprint


def routes(app):
    app.register_blueprint(console())
    ops.link(app, "RQ dashboard", "/rq/", "Failed jobs, to be requeued.")


def fresh_app(config=CONFIG):
    """There is no Redis at its address: failures are counted in memory, from zero for each app."""
    return make_app(config, routes, operators=True)


@pytest.fixture
def app():
    return fresh_app()


@pytest.fixture
def client(app):
    return app.test_client()


def test_an_anonymous_person_is_sent_to_the_log_in_and_back(client):
    response = client.get("/ops/cases/?page=2")
    assert response.status_code == 302
    assert response.location == "/ops/login?next=/ops/cases/?page%3D2"
    page = client.get(response.location)
    form = {"name": "ana", "password": PASSWORD, "csrf_token": csrf_of(page.text)}
    back = client.post(response.location, data=form)
    assert (back.status_code, back.location) == (303, "/ops/cases/?page=2")
    assert client.get("/ops/cases/").text == "for ana"


def test_an_anonymous_script_and_an_anonymous_change_get_a_401(client):
    read = client.get("/ops/cases/", headers={"X-Requested-With": "XMLHttpRequest"})
    assert (read.status_code, read.json["errors"][0]["status"]) == (401, "401")
    assert client.post("/ops/cases/close").status_code == 401


@pytest.mark.parametrize(("name", "password"), [("ana", "wrong"), ("bob", PASSWORD), ("", PASSWORD), ("ana", "")])
def test_a_wrong_name_and_a_wrong_password_are_refused_with_the_same_text(client, name, password):
    response = log_in(client, password, name)
    assert response.status_code == 401
    assert "do not match" in response.text
    assert client.get("/ops/").status_code == 302


def test_an_unknown_name_is_checked_against_a_hash_of_the_same_cost(client, monkeypatch):
    checked = []

    def noted(password_hash, password):
        checked.append(password_hash)
        return check_password_hash(password_hash, password)

    monkeypatch.setattr("flaskapp.ops.operators.check_password_hash", noted)
    log_in(client, PASSWORD, "nobody")
    assert checked == [OPERATORS["ana"]]
    assert not check_password_hash(NOBODY, PASSWORD)


def test_nobody_gets_in_where_no_operator_is_set():
    client = fresh_app(replace(CONFIG, operators={})).test_client()
    assert log_in(client).status_code == 401


def test_a_log_in_without_the_pages_token_is_refused(client):
    response = client.post("/ops/login", data={"name": "ana", "password": PASSWORD})
    assert response.status_code == 401
    assert "open too long" in response.text


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/ops/",
        "//evil.example/ops",
        "/\\evil.example/ops",
        "/ops\\evil",
        "javascript:alert(1)",
        "/opsevil",
        "/other",
        "ops/cases",
        "/ops/%0d%0aSet-Cookie:x",
        "",
    ],
)
def test_the_log_in_returns_only_to_our_own_pages(client, target):
    response = log_in(client, target=target)
    assert response.status_code == 303
    assert response.location == ("/ops/" if "%0d" not in target else response.location)
    assert "Set-Cookie:x" not in str(response.headers.get_all("Set-Cookie"))


@pytest.mark.parametrize("insecure", [True, False])
def test_the_cookie_is_closed_to_scripts_and_other_sites(insecure):
    client = fresh_app(replace(CONFIG, insecure_cookies=insecure)).test_client()
    cookie = client.get("/ops/login", base_url="https://localhost").headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
    assert ("Secure" in cookie) is not insecure


def test_a_session_from_before_the_log_in_does_not_survive_it(client):
    with client.session_transaction() as session:
        session["planted"] = "by somebody else"
    log_in(client)
    with client.session_transaction() as session:
        assert "planted" not in session
        assert "csrf_token" not in session


def test_a_log_in_ends_after_eight_hours_of_any_activity(client):
    with time_machine.travel("2031-03-04T08:00:00Z") as clock:
        log_in(client)
        for _ in range(7):
            clock.shift(3600)
            assert client.get("/ops/cases/").status_code == 200
            client.get("/ops/")
        clock.shift(3601)
        assert client.get("/ops/cases/").status_code == 302


def test_a_changed_password_or_a_removed_name_ends_the_log_in(client, app):
    log_in(client)
    for operators in ({"ana": generate_password_hash("new", "pbkdf2:sha256:1000")}, {}):
        app.extensions["operators_config"] = replace(CONFIG, operators=operators)
        assert client.get("/ops/").status_code == 302
    app.extensions["operators_config"] = CONFIG
    assert client.get("/ops/").status_code == 200


def test_a_forged_session_is_anonymous(client, app):
    with app.app_context():
        outdated = signer().dumps(["ana", fingerprint(OPERATORS["ana"])])
    for planted in ("ana", ["ana"], 7, outdated):
        with client.session_transaction() as session:
            session["_user_id"] = planted
        assert client.get("/ops/").status_code == 302


def test_repeated_failures_are_throttled_with_a_retry_after(client):
    statuses = [log_in(client, "wrong").status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    refused = log_in(client)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.mimetype == "text/html" and "Try again in 1" in refused.text
    other = client.get("/ops/login", headers={"X-Forwarded-For": "192.0.2.9"})
    assert other.status_code == 200


def test_one_name_is_throttled_across_addresses(client):
    def attempt(number):
        token = csrf_of(client.get("/ops/login").text)
        form = {"name": "ana", "password": "wrong", "csrf_token": token}
        return client.post("/ops/login", data=form, headers={"X-Forwarded-For": f"192.0.2.{number}"})

    statuses = [attempt(number).status_code for number in range(31)]
    assert statuses == [401] * 30 + [429]


def test_successful_log_ins_are_not_counted(app):
    assert {log_in(app.test_client()).status_code for _ in range(15)} == {303}


def test_log_out_needs_a_post_with_the_token(client):
    log_in(client)
    assert client.get("/ops/logout").status_code == 405
    assert client.post("/ops/logout").status_code == 403
    assert client.get("/ops/").status_code == 200
    token = csrf_of(client.get("/ops/").text)
    assert client.post("/ops/logout", data={"csrf_token": token}).status_code == 303
    assert client.get("/ops/").status_code == 302


def test_a_change_on_a_console_needs_the_token(client):
    log_in(client)
    forged = client.post("/ops/cases/close")
    assert forged.status_code == 403
    assert "Load it again" in forged.text
    token = csrf_of(client.get("/ops/").text)
    assert client.post("/ops/cases/close", data={"csrf_token": token}).text == "closed"
    assert client.post("/ops/cases/close", headers={"X-CSRFToken": token}).text == "closed"


def test_the_home_page_shows_links_and_panels_and_survives_a_broken_panel(app, client, tmp_path):
    def broken():
        raise RuntimeError("database away")

    (tmp_path / "count.html").write_text("<p>{{ count }} waiting for {{ who }}</p>")
    app.jinja_loader.searchpath.append(str(tmp_path))
    ops.panel(app, "Parked", "count.html", lambda: {"count": 3, "who": "<b>"})
    ops.panel(app, "Audit", "count.html", broken)
    log_in(client)
    page = client.get("/ops/").text
    assert "3 waiting for &lt;b&gt;" in page
    assert "could not be read just now" in page and "database away" not in page
    assert 'href="/rq/"' in page and "Failed jobs, to be requeued." in page


def test_the_hash_command_prompts_and_prints_a_hash_that_works(app):
    result = app.test_cli_runner().invoke(args=["operators", "hash"], input=f"{PASSWORD}\n{PASSWORD}\n")
    assert result.exit_code == 0
    assert check_password_hash(result.output.splitlines()[-1], PASSWORD)
