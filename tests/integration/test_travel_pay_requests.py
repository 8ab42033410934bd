"""Requests to file a travel pay claim: those accepted, those refused before anything is written, those that wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from flaskapp.db import db
from flaskapp.web.passthrough import Bulkhead
from tests.integration import travel_pay_steps as steps
from tests.integration.steps import reconfigure
from tests.integration.travel_pay_filing import BEN, CARLA, JONAS, plant
from tests.integration.travel_pay_steps import BEGIN, CLAIMS_URL, FIND, STARTS_AT, Traveling, traveling
from tests.product import ADA, Product, eventually

WRITTEN = ("accounts", "travel_pay_claims", "outbox_messages", "outbox_history", "idempotency_keys")
KEY = {"Idempotency-Key": "one"}
# Half past nine on the facility's clock, written in several ways.
SPELLINGS = (
    "2031-03-04T09:30:00",
    "2031-03-04T09:30",
    "2031-03-04T09:30:00.000Z",
    "2031-03-04T09:30:00-06:00",
    "2031-03-04T09:30:00.123456+1400",
)
WRONG: dict[str, tuple[Any, ...]] = {
    "appointmentDateTime": (
        None,
        "",
        "tomorrow",
        "2031-03-04",
        "2031-02-30T09:30:00",
        "2031-03-04T24:30:00",
        "2031-03-04T09:30:00+",
        "2031-03-04T09:30:00Z\n",
        "２０31-03-04T09:30:00",
        1930296600,
        ["2031-03-04T09:30:00"],
    ),
    "facilityStationNumber": (None, "", "98", "983 ", "983\n", "98-3", "9" * 9, 983, {"id": "983"}),
    "facilityName": ("x" * 201, 5, ["Example VA"]),
    "appointmentType": ("x" * 65, 5),
    "appointmentName": ("x" * 201, {}),
    "isComplete": ("perhaps", 5, []),
}


def counts(product: Product) -> dict[str, int]:
    return {table: product.value(f"SELECT count(*) FROM {table}") for table in WRITTEN}


# -- accepted -------------------------------------------------------------------


def test_twenty_identical_requests_at_once_are_one_claim(product: Product) -> None:
    person = traveling(product)
    with ThreadPoolExecutor(10) as hands:
        answers = list(hands.map(lambda _: person.post(), range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert {answer.get_json()["id"] for answer in answers} == {str(steps.row(product)["id"])}
    assert product.outstanding() == 1
    product.work()
    assert [steps.received(product, operation) for operation in (FIND, BEGIN)] == [1, 1]
    assert (len(steps.on_file(product)), steps.e_mails(product)) == (1, ["travel_pay.submitted"])


def test_every_spelling_of_a_time_means_the_facilitys_wall_clock(product: Product) -> None:
    """Also, station and time name the appointment of one person, and the station's letters become capitals."""
    person = traveling(product)
    answers = [person.post(text, facilityName=None, isComplete=None) for text in SPELLINGS]
    assert len({answer.get_json()["id"] for answer in answers}) == 1
    assert f"{steps.row(product)['starts_at']:%Y-%m-%d %H:%M:%S}" == "2031-03-04 09:30:00"
    product.work()
    (response,) = product.control.received("travel_pay", FIND)
    assert response["body"]["appointmentDateTime"].startswith("2031-03-04T09:30:00")
    (claim,) = steps.on_file(product)
    assert claim["wallClock"] == STARTS_AT
    for other in (person.post("2031-03-04T09:31:00"), person.post(facilityStationNumber="983gc")):
        assert other.status_code == 202
    assert traveling(product, BEN).post().status_code == 202
    assert person.post(facilityStationNumber="983GC").get_json()["id"] == other.get_json()["id"]
    assert len(steps.rows(product)) == 4


def test_an_idempotency_key_names_one_request_of_one_person(product: Product) -> None:
    person = traveling(product)
    first = person.post(headers=KEY)
    written = counts(product)
    assert person.post(f"{STARTS_AT}Z", headers=KEY).get_json() == first.get_json()
    for refused in (person.post("2031-03-05T09:30:00", headers=KEY), person.post(facilityName="Other", headers=KEY)):
        (entry,) = refused.get_json()["errors"]
        assert (refused.status_code, entry["status"], entry["code"]) == (422, "422", "IDEMPOTENCY_KEY_REUSED")
    assert counts(product) == written
    assert traveling(product, BEN).post("2031-03-05T09:30:00", headers=KEY).status_code == 202


# -- refused --------------------------------------------------------------------


def test_an_unreadable_field_is_named_and_nothing_is_written(product: Product) -> None:
    person = traveling(product)
    for field, values in WRONG.items():
        for value in values:
            answer = person.post(headers=KEY, **{field: value})
            (entry,) = answer.get_json()["errors"]
            assert (answer.status_code, entry["status"]) == (422, "422"), (field, value)
            assert (entry["source"]["pointer"], bool(entry["detail"])) == (f"/{field}", True), (field, value)
    empty = send(person, b"{}", "application/json")
    assert {entry["source"]["pointer"] for entry in empty.get_json()["errors"]} == {
        "/appointmentDateTime",
        "/facilityStationNumber",
    }
    for data, kind, status in ((b"[]", "json", 400), (b'{"a":', "json", 400), (b"\xff", "json", 400), (b"", "x", 415)):
        answer = send(person, data, f"application/{kind}")
        (entry,) = answer.get_json()["errors"]
        assert (answer.status_code, entry["status"]) == (status, str(status))
    nobody = product.app.test_client().post(CLAIMS_URL, json={})
    assert (nobody.status_code, bool(nobody.get_json()["errors"])) == (401, True)
    assert set(counts(product).values()) == {0}


def send(person: Traveling, data: bytes, kind: str) -> Any:
    headers = person.signed.headers
    return person.product.app.test_client().post(CLAIMS_URL, data=data, content_type=kind, headers=headers)


# -- waiting for the end --------------------------------------------------------


def test_a_caller_that_waits_gets_the_end_of_the_claim(product: Product) -> None:
    """No connection to our database is held meanwhile."""
    reconfigure(product, travel_pay_wait_seconds=20.0)
    plant(product, CARLA)
    people = [traveling(product, veteran) for veteran in (ADA, CARLA, JONAS)]
    with ThreadPoolExecutor(3) as hands:
        waiting = [hands.submit(person.post) for person in people]
        eventually(lambda: len(steps.rows(product)) == 3 and db.engine.pool.checkedout() == 0)
        assert not any(each.done() for each in waiting)
        product.work(until=lambda: all(each.done() for each in waiting))
    filed, found, refused = (each.result() for each in waiting)
    (claim,) = steps.on_file(product)
    assert (filed.status_code, filed.get_json()["claimId"]) == (201, claim["id"])
    assert (filed.get_json()["status"], filed.get_json()["recordState"]) == ("Claim submitted", "submitted")
    codes = [(each.status_code, each.get_json()["errors"][0]["code"]) for each in (found, refused)]
    assert codes == [(400, "ALREADY_FILED"), (422, "NOT_FILED")]


def test_no_caller_waits_for_a_distant_end(product: Product) -> None:
    """Not when too many wait already, not after a failure, and not at an open breaker."""
    reconfigure(product, travel_pay_wait_seconds=20.0, breaker_open_seconds=30.0, breaker_cap_seconds=30.0)
    began = time.monotonic()
    person = traveling(product)
    crowded, product.app.extensions["bulkhead"] = product.app.extensions["bulkhead"], Bulkhead(0)
    first = answered(product, lambda: person.post())
    product.app.extensions["bulkhead"] = crowded
    product.work()
    assert (first.status_code, first.get_json()["claimId"], first.headers["Retry-After"]) == (202, None, "20")
    assert steps.row(product)["state"] == "submitted"
    reconfigure(product, retry_scale=1.0)
    product.control.set("travel_pay", "status", status=500, operation=BEGIN, times=1)
    assert answered(product, lambda: person.post("2031-03-05T09:30:00")).status_code == 202
    product.control.set("travel_pay", "throttle")
    assert answered(product, lambda: person.post("2031-03-06T09:30:00")).status_code == 202
    assert product.value("SELECT count(*) FROM outbox_breakers WHERE opened_at IS NOT NULL") == 1
    assert person.post("2031-03-07T09:30:00").status_code == 202
    assert time.monotonic() - began < 20


def answered(product: Product, post: Callable[[], Any]) -> Any:
    """The answer to a request, while a worker works."""
    with ThreadPoolExecutor(1) as hands:
        response: Future[Any] = hands.submit(post)
        product.work(until=response.done)
        return response.result()
