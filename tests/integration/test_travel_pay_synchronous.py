"""Synchronous travel pay calls: answered in time and in one shape, whatever upstream does, without delaying others."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flaskapp.db import db
from flaskapp.web.passthrough import Bulkhead
from sandbox.upstreams.cast import DEFAULT_CAST, Veteran
from sandbox.upstreams.scenarios import without_email, without_icn
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
from tests.product import ADA, Product, eventually

BEN = DEFAULT_CAST[1]
ACCESS_TOKEN = "POST /api/v2/Auth/access-token"


def test_every_failure_of_upstream_has_the_shape_that_the_page_reads(product: Product) -> None:
    """A page that does not find `errors[0].status` crashes."""
    person = traveling(product)
    person.get(CLAIMS_URL)
    table: list[tuple[str, dict[str, Any], int]] = [
        *(("status", {"status": status}, status) for status in (500, 503, 504)),
        *(("status", {"status": status}, 502) for status in (301, 400, 404, 413, 422, 501, 502)),
        *(("status", {"status": status}, 503) for status in (401, 429)),
        *(("html", {"status": status}, 502) for status in (200, 403, 404, 408, 502)),
        ("html", {"status": 503}, 503),
        ("empty", {"status": 200}, 502),
        ("empty", {"status": 404}, 502),
        ("throttle", {}, 503),
        ("drop", {}, 502),
        ("half", {}, 502),
        ("down", {}, 502),
        ("slow", {"seconds": 1}, 504),
        ("drip", {"seconds": 0.05}, 504),
    ]
    patience = product.app.extensions["config"].travel_pay_read_seconds
    for kind, fields, status in table:
        # Only slow answers meet the short limit: a busy machine may take a third of a second for any other.
        reconfigure(product, travel_pay_read_seconds=0.6 if status == 504 and kind != "status" else patience)
        product.control.set("travel_pay", kind, operation=LIST, **fields)
        assert refusal(person.get(CLAIMS_URL))[0] == status, (kind, fields)
        mend(product)
    reconfigure(product, travel_pay_read_seconds=patience)
    assert person.get(CLAIMS_URL).status_code == 200


def test_without_time_left_upstream_is_not_called_and_no_silence_counted(product: Product) -> None:
    person = traveling(product)
    person.get(CLAIMS_URL)
    before = reads(product)
    reconfigure(product, travel_pay_read_seconds=0.2)
    assert [refusal(person.get(CLAIMS_URL))[0] for _ in range(3)] == [504] * 3
    assert reads(product) == before
    assert product.value("SELECT cardinality(unanswered) FROM outbox_breakers WHERE upstream = 'travel_pay'") == 0


def test_every_page_of_travel_pay_fails_alike(product: Product) -> None:
    person, filed = traveling(product), plant(product)
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
    for kind, fields, status in (("status", {"status": 500}, 500), ("status", {"status": 401}, 503)):
        for path, query in pages:
            product.control.set("travel_pay", kind, **fields)
            assert refusal(person.get(path, **query))[0] == status, (path, kind)
            mend(product)


def test_an_unobtainable_token_never_signs_anybody_out(product: Product) -> None:
    person = traveling(product)
    person.get(CONTACTS_URL)
    for upstream, kind, fields, status in (
        ("sts", "status", {"status": 500}, 500),
        ("veis", "html", {"status": 200}, 502),
        ("veis", "refuse", {}, 502),
        ("sts", "drop", {}, 502),
        ("travel_pay", "status", {"status": 403}, 502),
        ("va_profile", "html", {"status": 404}, 502),
        ("va_profile", "html", {"status": 200}, 502),
    ):
        product.redis.flushall()
        reconfigure(product)
        product.control.set(upstream, kind, **fields)
        assert refusal(person.get(CONTACTS_URL))[0] == status, (upstream, kind, fields)
        mend(product, upstream)
    assert person.get(CONTACTS_URL).status_code == 200


def test_a_refusal_of_our_credentials_is_an_outage_and_nobody_is_unknown_by_it(product: Product) -> None:
    person = traveling(product)
    person.get(CONTACTS_URL)
    for upstream, status in (
        *(("sts", status) for status in (400, 401, 403)),
        ("veis", 401),
        ("travel_pay", 401),
        ("va_profile", 401),
        ("va_profile", 403),
    ):
        product.redis.flushall()
        reconfigure(product)
        product.control.set(upstream, "status", status=status)
        refused, next_one = person.get(CONTACTS_URL), person.get(CONTACTS_URL)
        for response in (refused, next_one):
            assert refusal(response) == (503, "503"), (upstream, status)
            assert 1 <= int(response.headers["Retry-After"]) <= 16
            assert "is not answering just now" in response.get_json()["errors"][0]["detail"]
        mend(product, upstream)
    assert person.get(CONTACTS_URL).status_code == 200


def test_a_person_without_identity_is_informed_why_and_not_to_sign_in_again(product: Product) -> None:
    for veteran, code in ((without_icn(), "NO_ICN"), (without_email(), "NO_EMAIL")):
        for path in (CLAIMS_URL, APPOINTMENTS_URL, CONTACTS_URL):
            assert refusal(traveling(product, veteran).get(path)) == (403, code)
    assert product.control.received("travel_pay") == []
    person = traveling(product)
    for status in (500, 503):
        product.control.set("accounts", "status", status=status)
        assert refusal(person.get(CLAIMS_URL))[0] == status
        product.control.clear("accounts")


# -- repeats and limits ----------------------------------------------------------


def test_a_call_on_a_broken_connection_is_repeated_once_and_a_bad_answer_is_not(product: Product) -> None:
    person = traveling(product)
    person.get(CLAIMS_URL)

    def calls_with(kind: str, **fields: Any) -> tuple[int, int]:
        """The HTTP status and the number of calls that BTSSS saw; it sees none on a connection that is `down`."""
        before = reads(product, LIST)
        product.control.set("travel_pay", kind, operation=LIST, **fields)
        status = person.get(CLAIMS_URL).status_code
        mend(product)
        return status, reads(product, LIST) - before

    assert calls_with("drop", times=1) == (200, 2)
    assert calls_with("down", times=1) == (200, 1)
    assert calls_with("half", times=1) == (200, 2)
    assert calls_with("drop") == (502, 2)
    assert calls_with("status", status=500, times=1) == (500, 1)
    assert calls_with("throttle", times=1) == (503, 1)


def test_a_slow_token_is_not_requested_twice(product: Product) -> None:
    person = traveling(product)
    person.get(CLAIMS_URL)
    product.redis.flushall()
    reconfigure(product, sts_total_seconds=1.0)
    product.control.set("sts", "hold")
    before = len(product.control.received("sts"))
    assert refusal(person.get(CLAIMS_URL)) == (504, "504")
    assert len(product.control.received("sts")) == before + 1


def test_one_limit_covers_everything_in_a_synchronous_call(product: Product) -> None:
    """The account, three tokens, the call and its repeat together."""
    patience = product.app.extensions["config"].travel_pay_read_seconds
    for slow, veteran in (("accounts", BEN), ("veis", ADA), ("sts", ADA)):
        person = fresh(product, veteran, travel_pay_read_seconds=0.5)
        product.control.set(slow, "hold")
        began = time.monotonic()
        assert refusal(person.get(CLAIMS_URL)) == (504, "504")
        # The limit of each call by itself is a minute.
        assert time.monotonic() - began < 30, slow
        mend(product, slow)
    # Two answers together take longer than the limit, and one takes little more than half of it.
    person, filed = fresh(product, ADA, travel_pay_read_seconds=3), plant(product)
    product.control.set("travel_pay", "slow", seconds=1.7)
    assert refusal(person.get(CLAIMS_URL)) == (504, "504")
    # The token arrived in time, so the next calls have it.
    reconfigure(product, travel_pay_read_seconds=patience)
    assert person.get(CLAIMS_URL).status_code == 200
    reconfigure(product, travel_pay_read_seconds=3)
    details = person.get(f"{CLAIMS_URL}/{filed['id']}")
    assert (details.status_code, "documentsMessage" in details.text) == (206, True)
    assert reads(product, ACCESS_TOKEN) == 1


def fresh(product: Product, veteran: Veteran, **settings: float) -> Traveling:
    """Somebody for whom no token is cached."""
    product.redis.flushall()
    reconfigure(product, **settings)
    return traveling(product, veteran)


def connections_during(product: Product, upstream: str, request: Callable[[], Any]) -> int:
    """Our database connections in use while this upstream takes its time over a request."""
    product.control.set(upstream, "hold")
    before = len(product.control.received(upstream))
    with ThreadPoolExecutor(1) as hands:
        response = hands.submit(request)
        eventually(lambda: len(product.control.received(upstream)) > before)
        held: int = db.engine.pool.checkedout()
        assert not response.done()
        product.control.clear(upstream)
    assert response.result().status_code in (200, 404)
    return held


def test_no_database_connection_is_held_while_upstream_works(product: Product) -> None:
    filed = plant(product)
    for upstream in ("accounts", "veis", "sts"):
        person = fresh(product, ADA)
        assert connections_during(product, upstream, lambda person=person: person.get(CLAIMS_URL)) == 0
    for path in (CLAIMS_URL, f"{CLAIMS_URL}/{filed['id']}", APPOINTMENTS_URL, CONTACTS_URL):
        assert connections_during(product, "travel_pay", lambda path=path: person.get(path)) == 0
    assert connections_during(product, "va_profile", lambda: person.get(CONTACTS_URL)) == 0
    reconfigure(product, travel_pay_cache_seconds=30)
    assert connections_during(product, "travel_pay", lambda: person.get(CLAIMS_URL)) == 0


# -- capacity -------------------------------------------------------------------


def test_a_call_without_capacity_is_refused_at_once(product: Product) -> None:
    person, other = traveling(product), traveling(product, BEN)
    product.app.extensions["bulkhead"] = Bulkhead(1)
    filed_id = other.file()
    product.control.set("travel_pay", "hold", operation=LIST)
    with ThreadPoolExecutor(1) as hands:
        waiting = hands.submit(lambda: person.get(CLAIMS_URL))
        eventually(lambda: reads(product, LIST))
        response = other.get(APPOINTMENTS_URL)
        assert refusal(response) == (503, "503")
        assert 2 <= int(response.headers["Retry-After"]) <= 6
        assert "many requests just now" in response.get_json()["errors"][0]["detail"]
        assert other.get(f"{CLAIMS_URL}/{filed_id}").status_code == 200
        assert other.get(CLAIMS_URL).status_code == 206
        assert not waiting.done()
        product.control.clear("travel_pay")
    assert waiting.result().status_code == 200
    assert reads(product) == 1


def test_capacity_is_given_back_however_the_call_ended(product: Product) -> None:
    person = traveling(product)
    product.app.extensions["bulkhead"] = Bulkhead(1)
    for kind, fields in (("status", {"status": 500}), ("status", {"status": 400}), ("drop", {}), ("html", {})):
        product.control.set("travel_pay", kind, operation=LIST, **fields)
        assert refusal(person.get(CLAIMS_URL))[0] in (400, 500, 502)
        mend(product)
        assert person.get(CLAIMS_URL).status_code == 200
    bulkhead = product.app.extensions["bulkhead"]
    with bulkhead.take("travel_pay") as free, bulkhead.take("travel_pay") as again:
        assert (free, again) == (True, False)
