"""Ten thousand wrong log-ins: little work for us, nothing learned, and no known operator locked out."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient
from werkzeug.security import check_password_hash, generate_password_hash
from werkzeug.test import EnvironBuilder, run_wsgi_app

from flaskapp.config_readers import Rate
from flaskapp.ops.login import ADDRESS_LIMIT, KNOWN_COOKIE, NAME_LIMIT
from tests.edge_app import CONFIG, PASSWORD, csrf_of, make_app
from tests.product import eventually

TRIES = 2_000
ADDRESSES = 25
CHEAP = generate_password_hash(PASSWORD, "pbkdf2:sha256:1000")
QUIET = replace(
    CONFIG, operators={"ana": CHEAP, "ben": CHEAP}, log_level="ERROR", rate_limit_per_address=Rate(TRIES, 60)
)


class Door:
    """The log-in page and the clients that try it. `hashed` holds every hash that a password was compared with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hashed: list[str] = []
        monkeypatch.setattr("flaskapp.ops.operators.check_password_hash", self.check)
        self.app = make_app(QUIET, operators=True)

    def check(self, password_hash: str, password: str) -> bool:
        self.hashed.append(password_hash)
        return check_password_hash(password_hash, password)

    def browser(self, address: str) -> Browser:
        client = self.app.test_client()
        client.environ_base["REMOTE_ADDR"] = address
        return Browser(client)

    def robot(self, address: str) -> Callable[[str, str], int]:
        """A client at that address with the page open, which guesses as fast as a program can. Returns the status of
        each guess."""
        browser = self.browser(address)
        token = browser.open_page()
        cookie = browser.client.get_cookie("surefile_session")
        assert cookie is not None
        base = EnvironBuilder(
            "/ops/login", method="POST", headers={"Cookie": f"{cookie.key}={cookie.value}"}
        ).get_environ()
        base |= {"REMOTE_ADDR": address, "CONTENT_TYPE": "application/x-www-form-urlencoded"}

        def guess(name: str, password: str) -> int:
            form = urlencode({"name": name, "password": password, "csrf_token": token}).encode()
            environ = {**base, "wsgi.input": BytesIO(form), "CONTENT_LENGTH": str(len(form))}
            environ["HTTP_X_REQUESTED_WITH"] = "XMLHttpRequest"
            _, status, _ = run_wsgi_app(self.app.wsgi_app, environ)
            return int(status[:3])

        return guess


@dataclass
class Browser:
    client: FlaskClient

    def open_page(self) -> str:
        """The form's token, with nobody logged in."""
        self.client.delete_cookie("surefile_session")
        return csrf_of(self.client.get("/ops/login").text)

    def type_in(self, name: str, password: str) -> Any:
        form = {"name": name, "password": password, "csrf_token": self.open_page()}
        return self.client.post("/ops/login", data=form)


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    return Door(monkeypatch)


def test_two_thousand_wrong_log_ins_cost_a_few_hashes_and_keep_nobody_out(door: Door) -> None:
    known = door.browser("192.0.2.200")
    assert known.type_in("ana", PASSWORD).status_code == 303
    door.hashed.clear()
    robots = [door.robot(f"198.51.100.{number}") for number in range(ADDRESSES)]
    statuses = Counter(
        robots[number % ADDRESSES]("ana" if number % 2 else f"nobody {number}", f"guess {number}")
        for number in range(TRIES)
    )
    assert set(statuses) == {401, 429} and statuses.total() == TRIES
    assert 0 < statuses[401] == len(door.hashed) <= ADDRESSES * ADDRESS_LIMIT.amount
    assert len(door.app.extensions["limits"].periods) < 2 * ADDRESSES * ADDRESS_LIMIT.amount
    assert known.type_in("ana", PASSWORD).status_code == 303


def test_guesses_at_one_name_from_everywhere_end_and_its_operator_still_gets_in(door: Door) -> None:
    known = door.browser("192.0.2.200")
    assert known.type_in("ana", PASSWORD).status_code == 303
    statuses = [door.robot(f"198.51.100.{number}")("ana", "guess") for number in range(40)]
    assert statuses == [401] * NAME_LIMIT.amount + [429] * (40 - NAME_LIMIT.amount)
    assert door.browser("192.0.2.9").type_in("ana", PASSWORD).status_code == 429
    assert known.type_in("ana", PASSWORD).status_code == 303
    assert [known.type_in("ana", "guess").status_code for _ in range(11)] == [401] * 10 + [429]


def test_a_right_password_from_elsewhere_gets_in_while_one_address_guesses(door: Door) -> None:
    guess = door.robot("198.51.100.1")
    assert [guess("ana", f"guess {number}") for number in range(200)] == [401] * 10 + [429] * 190
    assert door.browser("198.51.100.2").type_in("ana", PASSWORD).status_code == 303


def test_guesses_lock_only_the_guessed_name_at_that_address_and_say_for_how_long(door: Door) -> None:
    known, office = door.browser("192.0.2.200"), door.browser("198.51.100.1")
    assert known.type_in("ana", PASSWORD).status_code == 303
    known.client.environ_base["REMOTE_ADDR"] = "198.51.100.1"
    assert [office.type_in("ana", "guess").status_code for _ in range(10)] == [401] * 10
    locked = office.type_in("ana", PASSWORD)
    assert locked.status_code == 429 and 60 < int(locked.headers["Retry-After"]) <= 900
    assert "Too many wrong passwords for this name from here. Try again in 1" in locked.text
    assert office.type_in("ben", PASSWORD).status_code == 303
    assert known.type_in("ana", PASSWORD).status_code == 303


def test_a_flood_from_one_address_ends_and_says_for_how_long(door: Door) -> None:
    known, robot = door.browser("192.0.2.200"), door.robot("198.51.100.1")
    assert known.type_in("ana", PASSWORD).status_code == 303
    known.client.environ_base["REMOTE_ADDR"] = "198.51.100.1"
    statuses = [robot(f"nobody {number}", "guess") for number in range(ADDRESS_LIMIT.amount + 10)]
    assert statuses == [401] * ADDRESS_LIMIT.amount + [429] * 10
    refused = door.browser("198.51.100.1").type_in("ben", PASSWORD)
    assert refused.status_code == 429 and "from here. Try again in 1" in refused.text
    assert known.type_in("ana", PASSWORD).status_code == 303


def test_the_cookie_of_a_known_browser_logs_nobody_in_and_fits_one_name(door: Door) -> None:
    known, stranger = door.browser("192.0.2.1"), door.browser("192.0.2.2")
    assert known.type_in("ana", PASSWORD).status_code == 303
    mark = known.client.get_cookie(KNOWN_COOKIE, path="/ops/login")
    assert mark is not None and mark.http_only and mark.same_site == "Strict"
    stranger.client.set_cookie("surefile_session", mark.value)
    assert stranger.client.get("/ops/").status_code == 302
    stranger.client.set_cookie(KNOWN_COOKIE, mark.value)
    for number in range(NAME_LIMIT.amount):
        assert door.robot(f"198.51.100.{number}")("ben", "guess") == 401
    assert stranger.type_in("ben", PASSWORD).status_code == 429
    for broken in ("x", f"{mark.value}x", mark.value.partition(".")[0]):
        stranger.client.set_cookie(KNOWN_COOKIE, broken)
        assert stranger.type_in("ben", PASSWORD).status_code == 429


def test_every_wrong_log_in_gets_the_same_answer_and_costs_the_same(door: Door) -> None:
    wrong = (("ana", "guess"), ("nobody", PASSWORD), ("nobody", "guess"), ("ana ", PASSWORD), ("ANA", PASSWORD))
    answers = [door.browser("192.0.2.1").type_in(*typed) for typed in wrong]
    assert {answer.status_code for answer in answers} == {401}
    assert len(door.hashed) == len(wrong)
    words = [answer.text.partition("<form")[0] for answer in answers]
    assert len(set(words)) == 1 and "do not match" in words[0]
    assert not [answer for answer in answers if KNOWN_COOKIE in str(answer.headers)]


def test_few_passwords_are_hashed_at_once_and_a_wait_that_is_too_long_gets_a_503(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes 32 MiB: a crowd from many addresses would end the process."""
    go_on, at_once = threading.Event(), []

    def hold(*_: str) -> bool:
        at_once.append(len(at_once) + 1)
        return not go_on.wait(60)

    monkeypatch.setattr("flaskapp.ops.operators.check_password_hash", hold)
    monkeypatch.setattr("flaskapp.ops.operators.HASH_WAIT_SECONDS", 0.05)
    robots = [door.robot(f"198.51.100.{number}") for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        statuses = [threads.submit(robot, "ana", "guess") for robot in robots]
        eventually(lambda: sum(each.done() for each in statuses) == 6)
        go_on.set()
    assert sorted(each.result() for each in statuses) == [401] * 2 + [503] * 6
    assert len(at_once) == 2


def test_an_endless_name_costs_no_hash(door: Door) -> None:
    type_in = door.browser("192.0.2.1").type_in
    assert type_in("a" * 1_500, PASSWORD).status_code == 401
    assert type_in("ana", "b" * 1_500).status_code == 401
    assert door.hashed == []
