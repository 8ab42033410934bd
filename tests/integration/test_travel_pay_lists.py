"""Lists of travel pay: a partial one says so, and appointments come with their claims, by the facility's clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from flaskapp.upstreams.transport.http import Answer
from flaskapp.upstreams.travel_pay.reads import TravelPayClient
from sandbox.upstreams import travel_pay as fake
from sandbox.upstreams.cast import DEFAULT_CAST
from sandbox.upstreams.travel_pay_book import Document
from tests.integration import travel_pay_steps as steps
from tests.integration.steps import reconfigure
from tests.integration.travel_pay_reading import (
    ALWAYS,
    APPOINTMENTS_URL,
    MANY,
    SEARCH,
    STATUSES,
    book,
    mend,
    plant,
    reads,
    refusal,
)
from tests.integration.travel_pay_steps import CLAIMS_URL, READ, Traveling, traveling
from tests.product import Product

BEN = DEFAULT_CAST[1]
APPOINTMENT_READS = "GET /api/v2/appointments"
WITH_CLAIMS = {"_include": "facilities,travel_pay_claims"}
PART = "Not all could be read"


def partly(response: Any) -> list[dict[str, Any]]:
    """The data of a list that says in its metadata that it is not complete."""
    assert response.status_code == 206
    body = response.get_json()
    assert (body["metadata"]["status"], body["metadata"]["success"]) == (206, False)
    assert PART in body["metadata"]["message"]
    found: list[dict[str, Any]] = body["data"]
    return found


def test_many_claims_are_read_page_by_page_and_a_lost_page_is_reported(product: Product) -> None:
    """BTSSS returns fifty at a time, whatever page size is requested."""
    person = traveling(product, MANY)
    whole = person.read(CLAIMS_URL, **ALWAYS)
    assert len({item["id"] for item in whole["data"]}) == whole["metadata"]["totalRecordCount"] == 120
    assert [each["query"]["pageNumber"] for each in product.control.received("travel_pay", SEARCH)] == ["1", "2", "3"]
    unfiltered = partly(person.get(CLAIMS_URL))
    assert len(unfiltered) == 50
    product.control.turn("travel_pay", minute_limit=reads(product, "/api/") + 2)
    assert partly(person.get(CLAIMS_URL, **ALWAYS)) == whole["data"][:100]
    mend(product)
    response = person.get(CLAIMS_URL, **ALWAYS)
    # Of a 4xx the page says that the person may not file.
    assert refusal(response) == (503, "503") and 1 <= int(response.headers["Retry-After"]) <= 60


@pytest.mark.parametrize("said", [{"totalRecordCount": 0}, {}])
def test_a_later_page_that_counts_less_makes_no_list_whole(product: Product, said: dict[str, int]) -> None:
    """Nor is what it should have held told as not there, or a claim filed for another time than the page was served."""
    person = traveling(product, MANY)
    served = person.read(APPOINTMENTS_URL)["data"][-1]
    lying = {"statusCode": 200, "message": "ok", "success": True, "data": [], "pageNumber": 2, "pageSize": 50, **said}
    with second_pages(product, lying):
        found = partly(person.get(CLAIMS_URL, **ALWAYS))
        assert len(found) == 50
        assert person.get(f"{APPOINTMENTS_URL}/{served['id']}").status_code == 502
        start = served["attributes"]["start"]
        refused = person.post(start, facilityStationNumber=served["attributes"]["locationId"])
        assert (refused.status_code, steps.rows(product)) == (502, [])


@contextmanager
def second_pages(product: Product, said: dict[str, Any]) -> Iterator[None]:
    """Upstream answers so to each second page."""
    real = TravelPayClient._get

    def get(self: Any, who: Any, operation: str, path: str, seconds: float, params: Any = None) -> Answer:
        answer = real(self, who, operation, path, seconds, params)
        return (
            Answer(200, answer.headers, json.dumps(said).encode())
            if (params or {}).get("pageNumber") == "2"
            else answer
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TravelPayClient, "_get", get)
        yield


def test_all_pages_together_take_no_longer_than_the_limit(product: Product) -> None:
    person = traveling(product, MANY)
    person.read(CLAIMS_URL, **ALWAYS)
    reconfigure(product, travel_pay_read_seconds=3.0)
    product.control.set("travel_pay", "slow", seconds=1.1, operation=SEARCH)
    assert len(partly(person.get(CLAIMS_URL, **ALWAYS))) in (50, 100)


def test_an_unreadable_item_is_left_out_and_reported_as_missing(product: Product) -> None:
    person = traveling(product)
    good, odd = plant(product), plant(product, appointmentDateTime="2031-01-01T10:00:00")
    book(product).claims[odd["id"]].status = ""
    for query in ({}, ALWAYS):
        assert [item["id"] for item in partly(person.get(CLAIMS_URL, **query))] == [good["id"]]
    assert refusal(person.get(f"{CLAIMS_URL}/{odd['id']}")) == (502, "502")


def test_a_claim_whose_documents_cannot_be_read_is_shown_without_them(product: Product) -> None:
    person, filed = traveling(product), plant(product)
    product.control.set("travel_pay", "status", status=500, operation=f"/{filed['id']}/documents")
    response = person.get(f"{CLAIMS_URL}/{filed['id']}")
    shown = response.get_json()
    assert (response.status_code, shown["claimId"], shown["documents"]) == (206, filed["id"], [])
    assert PART in shown["documentsMessage"]
    mend(product)
    good, odd = (Document(name, "application/pdf", b"%PDF", datetime.now(UTC)) for name in ("good.pdf", "odd.pdf"))
    book(product).claims[filed["id"]].documents = [good, replace(odd, id="")]
    response = person.get(f"{CLAIMS_URL}/{filed['id']}")
    shown = response.get_json()
    assert (response.status_code, PART in shown["documentsMessage"]) == (206, True)
    assert [each["filename"] for each in shown["documents"]] == ["good.pdf"]
    book(product).claims[filed["id"]].documents = [good]
    assert "documentsMessage" not in person.read(f"{CLAIMS_URL}/{filed['id']}")


# -- appointments -------------------------------------------------------------


def appointments(person: Traveling, **query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = person.read(APPOINTMENTS_URL, **query)["data"]
    return found


def test_an_appointment_is_shown_with_its_claim(product: Product) -> None:
    person = traveling(product)
    made = plant(product, claimStatus="InManualReview")
    person.get(CLAIMS_URL)
    (shown,) = appointments(person, **WITH_CLAIMS)
    attributes = shown["attributes"]
    assert shown["type"] == "appointments" and shown["id"] == attributes["id"] == made["appointmentId"]
    assert attributes["localStartTime"] == f"{made['wallClock']}.000-07:00"
    assert datetime.fromisoformat(attributes["start"]) == datetime.fromisoformat(attributes["localStartTime"])
    assert attributes["start"].endswith("Z") and (attributes["locationId"], attributes["location"]["id"]) == (
        "983",
        "983",
    )
    assert attributes["location"]["attributes"]["timezone"]["timeZoneId"] == "America/Denver"
    assert attributes["location"]["attributes"]["name"] == made["facilityName"]
    claim_part = attributes["travelPayClaim"]
    assert claim_part["metadata"] == {"status": 200, "success": True, "message": "Data retrieved successfully."}
    assert (claim_part["claim"]["id"], claim_part["claim"]["claimStatus"]) == (made["id"], "In manual review")
    assert "travelPayClaim" not in appointments(person)[0]["attributes"]
    (other,) = appointments(traveling(product, BEN), **WITH_CLAIMS)
    assert "claim" not in other["attributes"]["travelPayClaim"]


def test_an_appointment_is_shown_although_its_claims_cannot_be_read(product: Product) -> None:
    person, made = traveling(product), plant(product)
    person.get(APPOINTMENTS_URL)
    product.control.set("travel_pay", "status", status=500, operation="GET /api/v2/claims")
    named = {"id": made["id"], "claimNumber": made["claimNumber"]}

    def shown_claim() -> tuple[int, bool, Any]:
        (shown,) = partly(person.get(APPOINTMENTS_URL, **WITH_CLAIMS))
        found = shown["attributes"]["travelPayClaim"]
        assert person.get(f"{APPOINTMENTS_URL}/{made['appointmentId']}", **WITH_CLAIMS).status_code == 206
        return found["metadata"]["status"], found["metadata"]["success"], found["claim"]

    assert shown_claim() == (502, False, named)
    mend(product)
    book(product).claims[made["id"]].status = ""
    assert shown_claim() == (206, False, named)


def test_claims_of_many_appointments_are_read_by_their_days(product: Product) -> None:
    """All 120 have their status; where a page of claims is lost, those that miss it say so, and so does the answer."""
    person = traveling(product, MANY)
    shown = appointments(person, **WITH_CLAIMS)
    statuses = [each["attributes"]["travelPayClaim"].get("claim", {}).get("claimStatus") for each in shown]
    assert (len(shown), statuses.count("Claim paid")) == (121, 120)
    asked = reads(product)
    day = shown[60]["attributes"]["localStartTime"][:10]
    (one,) = appointments(person, start=f"{day}T00:00:00Z", end=f"{day}T23:59:59Z", **WITH_CLAIMS)
    assert one["attributes"]["travelPayClaim"] == shown[60]["attributes"]["travelPayClaim"]
    assert product.control.received("travel_pay", SEARCH)[-1]["query"]["startDate"] == f"{day}T00:00:00Z"
    assert reads(product) - asked == 3 + 1
    product.control.turn("travel_pay", minute_limit=reads(product, "/api/") + 4)
    found = [each["attributes"]["travelPayClaim"] for each in partly(person.get(APPOINTMENTS_URL, **WITH_CLAIMS))]
    unsure = [each for each in found if not each["metadata"]["success"]]
    assert (len(unsure), {each["metadata"]["status"] for each in unsure}) == (70, {206})
    assert all(each["claim"]["id"] and "claimStatus" not in each["claim"] for each in unsure)


def test_a_claim_that_stands_only_with_us_is_beside_its_appointment(product: Product) -> None:
    person = traveling(product)
    (free,) = appointments(person, **WITH_CLAIMS)
    at = free["attributes"]["localStartTime"][:19]
    claim_id = person.file(at)

    def shown() -> dict[str, Any]:
        (one,) = appointments(person, **WITH_CLAIMS)
        found: dict[str, Any] = one["attributes"]["travelPayClaim"]
        assert found["metadata"]["success"]
        return found.get("claim", {})

    assert (shown()["id"], shown()["claimStatus"], shown()["recordState"]) == (claim_id, "Received", "pending")
    product.control.set("travel_pay", "status", status=503, operation=steps.MILEAGE)
    product.work(until=lambda: steps.row(product)["claim_id"] is not None)
    assert (shown()["id"], shown()["claimStatus"]) == (steps.row(product)["claim_id"], "Incomplete")
    assert shown()["recordState"] == "pending"
    mend(product)
    product.work()
    assert (shown()["claimStatus"], "recordState" in shown()) == ("Claim submitted", False)


def test_a_time_range_is_compared_with_the_wall_clock_both_ends_included(product: Product) -> None:
    person = traveling(product)
    for at in ("2031-03-04T09:30:00", "2031-03-04T21:30:00", "2031-03-05T09:30:00"):
        plant(product, appointmentDateTime=at)
    windows = {
        ("2031-03-04T09:30:00Z", "2031-03-04T21:30:00Z"): 2,
        ("2031-03-04T09:30:01Z", "2031-03-04T21:29:59.999Z"): 0,
        ("2031-03-03T21:30:00.000Z", "2031-03-04T21:29:00.000Z"): 1,
        ("2031-03-04T09:30:00+00:00", "2031-03-05T09:30:00+00:00"): 3,
        ("2031-03-04", "2031-03-06"): 3,
        ("2031-03-06T00:00:00Z", "2031-03-01T00:00:00Z"): 0,
    }
    for (start, end), count in windows.items():
        assert len(appointments(person, start=start, end=end)) == count, start
    assert len(appointments(person)) == 4
    plus_not_encoded = f"{APPOINTMENTS_URL}?start=2031-03-04T09:30:00+00:00&end=2031-03-05T00:00:00+00:00"
    assert len(product.app.test_client().get(plus_not_encoded, headers=person.signed.headers).get_json()["data"]) == 2


def test_an_appointment_is_found_by_either_of_its_ids(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    person, made = traveling(product), plant(product)
    own = made["appointmentId"]
    shown = person.read(f"{APPOINTMENTS_URL}/{own}", **WITH_CLAIMS)["data"]
    assert (shown["id"], shown["attributes"]["travelPayClaim"]["claim"]["id"]) == (own, made["id"])
    original = fake.appointment_listed
    monkeypatch.setattr(fake, "appointment_listed", lambda *of: original(*of) | {"externalAppointmentId": "983;46-7"})
    for known in (own, "983;46-7"):
        assert person.read(f"{APPOINTMENTS_URL}/{known}")["data"]["id"] == "983;46-7"
    for unknown, who in (("46", person), (own, traveling(product, BEN))):
        assert refusal(who.get(f"{APPOINTMENTS_URL}/{unknown}")) == (404, "404")


def test_an_appointment_that_may_be_among_the_unreadable_ones_is_no_404(product: Product) -> None:
    person, made = traveling(product), plant(product)
    odd = plant(product, appointmentDateTime="2031-01-01T10:00:00")
    hidden = book(product).appointments[odd["appointmentId"]]
    book(product).appointments[hidden.id] = replace(hidden, id="")
    assert [each["id"] for each in partly(person.get(APPOINTMENTS_URL))] == [made["appointmentId"]]
    assert person.read(f"{APPOINTMENTS_URL}/{made['appointmentId']}")["data"]["id"] == made["appointmentId"]
    assert refusal(person.get(f"{APPOINTMENTS_URL}/{hidden.id}")) == (502, "502")


def test_no_claims_are_read_when_no_appointment_has_one(product: Product) -> None:
    appointments(traveling(product), **WITH_CLAIMS)
    assert reads(product, APPOINTMENT_READS) == reads(product) == 1
    assert reads(product, READ) == len(steps.rows(product)) == 0
    assert len(appointments(traveling(product, STATUSES), **WITH_CLAIMS)) == 18
    assert reads(product, SEARCH) == reads(product, "GET /api/v2/claims") == 1
