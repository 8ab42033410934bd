"""Whoever waits for Travel Pay is answered in time and in one shape, whatever upstream does, and holds up nobody."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flaskapp.db import db
from flaskapp.web.passthrough import Places
from sandbox.scenarios import without_email, without_icn
from sandbox.upstreams.cast import DEFAULT_CAST, Veteran
from tests.house import ADA, House, eventually
from tests.integration.steps import reconfigure
from tests.integration.travel_pay_reading import (
    ALWAYS,
    APPOINTMENTS_URL,
    CONTACTS_URL,
    LIST,
    mend,
    plant,
    reads,
    refusal,
)
from tests.integration.travel_pay_steps import CLAIMS_URL, Traveling, traveling

BEN = DEFAULT_CAST[1]


def test_every_failure_of_upstream_is_told_in_the_shape_the_page_reads(house: House) -> None:
    """A page that reads `errors[0].status` of anything else crashes."""
    person = traveling(house)
    person.get(CLAIMS_URL)
    table: list[tuple[str, dict[str, Any], int]] = [
        *(("status", {"status": status}, status) for status in (400, 404, 413, 422, 429, 500, 503, 504)),
        *(("status", {"status": status}, 502) for status in (301, 401, 501, 502)),
        *(("html", {"status": status}, 502) for status in (200, 403, 404, 408, 502)),
        ("html", {"status": 503}, 503),
        ("empty", {"status": 200}, 502),
        ("empty", {"status": 404}, 502),
        ("throttle", {}, 429),
        ("drop", {}, 502),
        ("half", {}, 502),
        ("down", {}, 502),
        ("slow", {"seconds": 1}, 504),
        ("drip", {"seconds": 0.05}, 504),
    ]
    patience = house.app.extensions["config"].travel_pay_read_seconds
    for kind, fields, status in table:
        # Only whoever keeps us waiting meets the limit: a busy machine may take a third of a second for any of them.
        reconfigure(house, travel_pay_read_seconds=0.6 if status == 504 and kind != "status" else patience)
        house.control.set("travel_pay", kind, operation=LIST, **fields)
        assert refusal(person.get(CLAIMS_URL))[0] == status, (kind, fields)
        mend(house)
    reconfigure(house, travel_pay_read_seconds=patience)
    assert person.get(CLAIMS_URL).status_code == 200


def test_with_no_time_left_nothing_is_asked_and_no_silence_counted(house: House) -> None:
    person = traveling(house)
    person.get(CLAIMS_URL)
    before = reads(house)
    reconfigure(house, travel_pay_read_seconds=0.2)
    assert [refusal(person.get(CLAIMS_URL))[0] for _ in range(3)] == [504] * 3
    assert reads(house) == before
    assert house.value("SELECT cardinality(unanswered) FROM outbox_gates WHERE upstream = 'travel_pay'") == 0


def test_every_page_of_travel_pay_fails_alike(house: House) -> None:
    person, filed = traveling(house), plant(house)
    one = f"{CLAIMS_URL}/{filed['id']}"
    pages: list[tuple[str, dict[str, str]]] = [
        (CLAIMS_URL, {}),
        (CLAIMS_URL, ALWAYS),
        (one, {}),
        (f"{one}/documents/{filed['id']}", {}),
        (APPOINTMENTS_URL, {}),
        (f"{APPOINTMENTS_URL}/{filed['appointmentId']}", {}),
        (CONTACTS_URL, {}),
    ]
    for kind, fields, status in (("status", {"status": 500}, 500), ("status", {"status": 401}, 502)):
        for path, query in pages:
            house.control.set("travel_pay", kind, **fields)
            assert refusal(person.get(path, **query))[0] == status, (path, kind)
            mend(house)


def test_a_token_that_is_not_to_be_had_never_signs_anybody_out(house: House) -> None:
    person = traveling(house)
    person.get(CONTACTS_URL)
    for upstream, kind, fields, status in (
        ("sts", "status", {"status": 401}, 502),
        ("sts", "status", {"status": 500}, 500),
        ("veis", "status", {"status": 401}, 502),
        ("veis", "html", {"status": 200}, 502),
        ("veis", "refuse", {}, 502),
        ("sts", "drop", {}, 502),
        ("travel_pay", "status", {"status": 401}, 502),
        ("travel_pay", "status", {"status": 403}, 403),
        ("va_profile", "status", {"status": 401}, 502),
        ("va_profile", "status", {"status": 403}, 502),
        ("va_profile", "html", {"status": 404}, 502),
        ("va_profile", "html", {"status": 200}, 502),
    ):
        house.redis.flushall()
        reconfigure(house)
        house.control.set(upstream, kind, **fields)
        assert refusal(person.get(CONTACTS_URL))[0] == status, (upstream, kind, fields)
        mend(house, upstream)
    assert person.get(CONTACTS_URL).status_code == 200


def test_who_cannot_be_asked_for_is_told_why_and_not_to_sign_in_again(house: House) -> None:
    for veteran, code in ((without_icn(), "NO_ICN"), (without_email(), "NO_EMAIL")):
        for path in (CLAIMS_URL, APPOINTMENTS_URL, CONTACTS_URL):
            assert refusal(traveling(house, veteran).get(path)) == (403, code)
    assert house.control.received("travel_pay") == []
    person = traveling(house)
    for status in (500, 503):
        house.control.set("accounts", "status", status=status)
        assert refusal(person.get(CLAIMS_URL))[0] == status
        house.control.clear("accounts")


# -- once more, and not too long ----------------------------------------------


def test_a_broken_connection_is_tried_once_more_and_a_bad_answer_is_not(house: House) -> None:
    person = traveling(house)
    person.get(CLAIMS_URL)

    def asked_in(kind: str, **fields: Any) -> tuple[int, int]:
        """The HTTP status, and how often BTSSS was asked; of a connection that is `down` it sees nothing."""
        before = reads(house, LIST)
        house.control.set("travel_pay", kind, operation=LIST, **fields)
        status = person.get(CLAIMS_URL).status_code
        mend(house)
        return status, reads(house, LIST) - before

    assert asked_in("drop", times=1) == (200, 2)
    assert asked_in("down", times=1) == (200, 1)
    assert asked_in("half", times=1) == (200, 2)
    assert asked_in("drop") == (502, 2)
    assert asked_in("status", status=500, times=1) == (500, 1)
    assert asked_in("throttle", times=1) == (429, 1)


def test_a_slow_answer_is_not_waited_for_twice(house: House) -> None:
    person = traveling(house)
    person.get(CLAIMS_URL)
    house.redis.flushall()
    reconfigure(house, sts_total_seconds=0.2)
    house.control.set("sts", "slow", seconds=0.5)
    before = len(house.control.received("sts"))
    assert refusal(person.get(CLAIMS_URL)) == (504, "504")
    assert len(house.control.received("sts")) == before + 1


def test_one_limit_holds_for_everything_a_person_waits_for(house: House) -> None:
    """Whose account it is, three tokens, the call and its repeat: all of it together."""
    for slow, veteran in (("accounts", BEN), ("veis", ADA), ("sts", ADA)):
        person = fresh(house, veteran, travel_pay_read_seconds=0.5)
        house.control.set(slow, "slow", seconds=3)
        began = time.monotonic()
        assert refusal(person.get(CLAIMS_URL)) == (504, "504")
        assert time.monotonic() - began < 2, slow
        mend(house, slow)
    person, filed = fresh(house, ADA, travel_pay_read_seconds=1), plant(house)
    house.control.set("travel_pay", "slow", seconds=0.6)
    assert refusal(person.get(CLAIMS_URL)) == (504, "504")
    # The token was had in time, so it is there for the next one.
    assert person.get(CLAIMS_URL).status_code == 200
    assert person.read(f"{CLAIMS_URL}/{filed['id']}")["documentsMessage"]


def fresh(house: House, veteran: Veteran, **settings: float) -> Traveling:
    """Somebody for whom no token is at hand."""
    house.redis.flushall()
    reconfigure(house, **settings)
    return traveling(house, veteran)


def held_while_waiting(house: House, upstream: str, request: Callable[[], Any]) -> int:
    """Connections to our database that are out of the pool while this upstream takes its time over a request."""
    house.control.set(upstream, "hold")
    before = len(house.control.received(upstream))
    with ThreadPoolExecutor(1) as hands:
        asked = hands.submit(request)
        eventually(lambda: len(house.control.received(upstream)) > before)
        held: int = db.engine.pool.checkedout()
        assert not asked.done()
        house.control.clear(upstream)
    assert asked.result().status_code in (200, 404)
    return held


def test_no_connection_to_our_database_is_held_while_upstream_thinks(house: House) -> None:
    filed = plant(house)
    for upstream in ("accounts", "veis", "sts"):
        person = fresh(house, ADA)
        assert held_while_waiting(house, upstream, lambda person=person: person.get(CLAIMS_URL)) == 0
    for path in (CLAIMS_URL, f"{CLAIMS_URL}/{filed['id']}", APPOINTMENTS_URL, CONTACTS_URL):
        assert held_while_waiting(house, "travel_pay", lambda path=path: person.get(path)) == 0
    assert held_while_waiting(house, "va_profile", lambda: person.get(CONTACTS_URL)) == 0
    reconfigure(house, travel_pay_cache_seconds=30)
    assert held_while_waiting(house, "travel_pay", lambda: person.get(CLAIMS_URL)) == 0


# -- places -------------------------------------------------------------------


def test_without_a_place_one_is_told_so_at_once(house: House) -> None:
    person, other = traveling(house), traveling(house, BEN)
    house.app.extensions["waiting_places"] = Places(1)
    filed_id = other.file()
    house.control.set("travel_pay", "slow", seconds=0.8, operation=LIST)
    with ThreadPoolExecutor(1) as hands:
        waiting = hands.submit(lambda: person.get(CLAIMS_URL))
        eventually(lambda: reads(house, LIST))
        for path in (CLAIMS_URL, APPOINTMENTS_URL):
            response = other.get(path)
            assert refusal(response) == (503, "503")
            assert response.headers["Retry-After"] == "2"
            assert "Many people" in response.get_json()["errors"][0]["detail"]
        assert other.get(f"{CLAIMS_URL}/{filed_id}").status_code == 200
        assert not waiting.done()
    assert waiting.result().status_code == 200
    assert reads(house) == 1


def test_a_place_is_given_back_however_the_call_ended(house: House) -> None:
    person = traveling(house)
    house.app.extensions["waiting_places"] = Places(1)
    for kind, fields in (("status", {"status": 500}), ("status", {"status": 400}), ("drop", {}), ("html", {})):
        house.control.set("travel_pay", kind, operation=LIST, **fields)
        assert refusal(person.get(CLAIMS_URL))[0] in (400, 500, 502)
        mend(house)
        assert person.get(CLAIMS_URL).status_code == 200
    places = house.app.extensions["waiting_places"]
    with places.take("travel_pay") as free, places.take("travel_pay") as again:
        assert (free, again) == (True, False)
