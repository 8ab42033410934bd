"""Every call that a request waits for: a place of its own, one limit for the whole request, and nothing held
meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import psycopg2
import pytest
from sqlalchemy import text

from flaskapp.db import db, transaction
from flaskapp.web.passthrough import FULL_RETRY_SECONDS, Bulkhead, bulkhead
from flaskapp.web.threads import shares_of
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration.itf_steps import sign_in
from tests.integration.steps import reconfigure
from tests.integration.travel_pay_reading import APPOINTMENTS_URL, CONTACTS_URL
from tests.integration.travel_pay_steps import CLAIMS_URL, traveling
from tests.product import ADA, Product, eventually

BEN, CARLA = DEFAULT_CAST[1:3]
DETAILS = {"demographics": {"demographicConfirmations": {"demographicsUpToDate": True}}}
ARRIVAL = {"patientCheckIns": {"uuid": ADA.uuid, "appointmentIen": "4444"}}
# Far more than a refusal takes, and far less than any limit of the tests' settings.
AT_ONCE_SECONDS = 20.0
Ask = Callable[[], Any]


def waiting_routes(product: Product) -> list[tuple[str, str, Ask]]:
    """The place, the upstream and the request of every route that waits for an upstream."""
    browser, ada, traveler = product.sign_in(), sign_in(product), traveling(product)
    assert ada.get("/pension").status_code == 404 and traveler.get(CLAIMS_URL).status_code == 200
    session = {"session": {"uuid": ADA.uuid, "dob": ADA.dob, "lastName": ADA.last_name}}
    check_ins = f"/check_in/v2/patient_check_ins/{ADA.uuid}"
    # People whom nobody has looked up yet.
    ben, carla = sign_in(product, BEN), traveling(product, CARLA)
    return [
        ("lorota", "lorota", lambda: browser.post("/check_in/v2/sessions/", json=session)),
        ("lorota", "lorota", lambda: browser.get(check_ins)),
        ("chip", "chip", lambda: browser.patch(f"/check_in/v2/demographics/{ADA.uuid}", json=DETAILS)),
        ("chip", "chip", lambda: browser.post("/check_in/v2/patient_check_ins/", json=ARRIVAL)),
        ("accounts", "accounts", lambda: ben.get("/pension")),
        ("accounts", "accounts", lambda: ben.post("survivor")),
        ("accounts", "accounts", lambda: carla.get(CLAIMS_URL)),
        ("lighthouse_claims", "lighthouse", lambda: ada.get("/pension")),
        ("lighthouse_claims", "lighthouse", lambda: ada.post("pension")),
        ("travel_pay", "travel_pay", lambda: traveler.get(CLAIMS_URL)),
        ("travel_pay", "travel_pay", lambda: traveler.get(APPOINTMENTS_URL)),
        ("va_profile", "va_profile", lambda: traveler.get(CONTACTS_URL)),
    ]


@contextmanager
def taken(name: str, places: int) -> Iterator[None]:
    with ExitStack() as held:
        for _ in range(places):
            assert held.enter_context(bulkhead().take(name))
        yield


def assert_refused(response: Any) -> None:
    """In the shape that the pages read, with the time after which to try again."""
    (entry,) = response.get_json()["errors"]
    assert (response.status_code, entry["status"]) == (503, "503")
    assert entry["title"] and "again" in entry["detail"]
    least, most = FULL_RETRY_SECONDS
    assert least <= int(response.headers["Retry-After"]) <= most


def test_without_a_free_place_every_route_refuses_at_once_and_calls_nobody(product: Product) -> None:
    routes = waiting_routes(product)
    upstreams = {upstream for _, upstream, _ in routes}
    before = {upstream: len(product.control.received(upstream)) for upstream in upstreams}
    for name, _, ask in routes:
        product.app.extensions["bulkhead"] = Bulkhead(2, 4)
        with taken(name, 2):
            assert_refused(ask())
        with taken("others", 2), taken("more of them", 2):
            assert_refused(ask())
    assert {upstream: len(product.control.received(upstream)) for upstream in upstreams} == before
    assert [ask().status_code for _, _, ask in routes].count(503) == 0


def test_a_request_ends_in_time_whatever_its_calls_may_take(product: Product) -> None:
    """The limit of each call by itself is a minute, and some requests make several."""
    routes = waiting_routes(product)
    reconfigure(product, request_seconds=0.5)
    for _, upstream, ask in routes:
        product.control.set(upstream, "hold")
        began = time.monotonic()
        assert ask().status_code in (502, 504), upstream
        assert time.monotonic() - began < AT_ONCE_SECONDS, upstream
        product.control.clear(upstream)


def test_waits_for_our_own_work_end_with_the_request(product: Product) -> None:
    """No worker runs, so whoever waits here waits in vain."""
    person, traveler = sign_in(product), traveling(product)
    reconfigure(product, request_seconds=0.5, itf_first_look_seconds=60.0, travel_pay_wait_seconds=60.0)
    began = time.monotonic()
    assert (person.get().status_code, traveler.post().status_code) == (200, 202)
    assert time.monotonic() - began < AT_ONCE_SECONDS


def test_no_database_connection_is_held_while_an_upstream_works(product: Product) -> None:
    for _, upstream, ask in waiting_routes(product):
        product.control.set(upstream, "hold")
        before = len(product.control.received(upstream))
        with ThreadPoolExecutor(1) as hands:
            response = hands.submit(ask)
            eventually(lambda upstream=upstream, before=before: len(product.control.received(upstream)) > before)
            assert db.engine.pool.checkedout() == 0, upstream  # type: ignore[attr-defined]
            product.control.clear(upstream)
        assert response.result().status_code < 500


@pytest.mark.parametrize("threads", [1, 2, 4, 16, 24, 100])
def test_waiting_calls_leave_threads_free(threads: int) -> None:
    shares = shares_of(threads)
    places = Bulkhead(shares.each, shares.waiting)
    with ExitStack() as held:
        one = sum(held.enter_context(places.take("one")) for _ in range(threads))
        rest = sum(held.enter_context(places.take(str(number))) for number in range(threads))
    assert 1 <= one <= max(1, threads // 4)
    assert one + rest == max(1, threads // 2)


@pytest.mark.parametrize("threads", range(6, 201))
def test_crowds_of_every_kind_together_leave_a_thread_free(threads: int) -> None:
    shares = shares_of(threads)
    assert shares.waiting + shares.bodies + shares.files == threads - 1


# -- keys ------------------------------------------------------------------------


def test_a_cold_start_without_keys_costs_nobody_time(product: Product) -> None:
    browser, person = product.sign_in(), sign_in(product)
    product.control.set("sign_in", "hold")
    reconfigure(product, sis_public_keys=(), sis_total_seconds=60.0)
    began = time.monotonic()
    refused = person.get()
    assert (refused.status_code, refused.get_json()["errors"][0]["status"]) == (503, "503")
    assert int(refused.headers["Retry-After"]) > 0
    assert product.ask(browser).status_code == 202
    assert time.monotonic() - began < AT_ONCE_SECONDS
    product.control.clear("sign_in")
    eventually(lambda: person.get().status_code == 200)


# -- locks -------------------------------------------------------------------------


def test_a_request_behind_a_lock_is_refused_after_one_wait(
    product: Product, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A rerun would wait for the same lock again. The wait is shorter than five seconds, and longer than a client that
    hangs may keep a lock."""
    browser = product.sign_in()
    wait, idle = (
        product.value("SELECT setting::int FROM pg_settings WHERE name = :name", name=name)
        for name in ("lock_timeout", "idle_in_transaction_session_timeout")
    )
    assert 0 < idle < wait < 5_000
    with transaction() as session:
        session.execute(text("SET lock_timeout = 200"))
    with closing(psycopg2.connect(database_url.replace("+psycopg2", ""))) as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLE travel_claims IN ACCESS EXCLUSIVE MODE")
        refused = product.ask(browser)
        assert refused.status_code == 503 and int(refused.headers["Retry-After"]) > 0
    assert "transaction rerun" not in caplog.text
    assert product.ask(browser).status_code == 202
