"""A claim that stands only with us is in its owner's list and details, whatever Travel Pay is doing."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration import travel_pay_steps as steps
from tests.integration.test_travel_pay_reads import ITEM
from tests.integration.travel_pay_reading import ALWAYS, plant, refusal
from tests.integration.travel_pay_steps import CLAIMS_URL, MILEAGE, STARTS_AT, Traveling, traveling
from tests.product import Product

BEN = DEFAULT_CAST[1]
DAY = {"start_date": STARTS_AT[:10], "end_date": STARTS_AT[:10]}
OTHER_DAY = {"start_date": "2031-03-05", "end_date": "2031-03-06"}


def listed(person: Traveling, **query: Any) -> list[tuple[str, str]]:
    """Each claim's id and status, as the page lists them."""
    return [(item["id"], item["claimStatus"]) for item in person.read(CLAIMS_URL, **query)["data"]]


def test_it_is_listed_in_the_form_of_every_other_claim(product: Product) -> None:
    person = traveling(product)
    elsewhere = plant(product)
    claim_id = person.file()
    shown = person.read(CLAIMS_URL)
    ours, theirs = shown["data"]
    assert set(ours) == ITEM | {"recordState", "recordMessage"}
    assert (ours["id"], ours["claimStatus"], ours["recordState"]) == (claim_id, "Received", "pending")
    assert (ours["appointmentDateTime"], ours["claimNumber"]) == (STARTS_AT, None)
    assert ours["createdOn"] and ours["modifiedOn"]
    assert (theirs["id"], shown["metadata"]["totalRecordCount"]) == (elsewhere["id"], 2)
    assert shown["metadata"]["pending"] == [ours]
    product.work()
    assert listed(person) == [(elsewhere["id"], "Claim submitted"), (steps.row(product)["claim_id"], "Claim submitted")]


def test_dates_and_pages_narrow_it_too(product: Product) -> None:
    person = traveling(product)
    ours = [(person.file(), "Received")]
    assert listed(person, **ALWAYS) == listed(person, **DAY) == listed(person, **DAY, page_number=1) == ours
    assert listed(person, **DAY, page_number=2) == listed(person, **OTHER_DAY) == []


def test_a_claim_begun_in_travel_pay_is_listed_once_with_our_words(product: Product) -> None:
    person = traveling(product)
    person.file()
    product.control.set("travel_pay", "status", status=503, operation=MILEAGE)
    product.work(until=lambda: steps.row(product)["claim_id"] is not None)
    (item,) = person.read(CLAIMS_URL, **DAY)["data"]
    assert (item["id"], item["claimStatus"]) == (steps.row(product)["claim_id"], "Incomplete")
    assert (item["recordState"], item["claimNumber"] is not None) == ("pending", True)
    earlier = plant(product, appointmentDateTime=f"{STARTS_AT[:10]}T08:00:00")
    pages = [listed(person, **DAY, page_number=number, page_size=1) for number in (1, 2)]
    assert pages == [[(earlier["id"], "Claim submitted")], [(item["id"], "Incomplete")]]


@pytest.mark.parametrize(("kind", "fields"), [("status", {"status": 503}), ("refuse", {}), ("html", {"status": 200})])
def test_it_is_shown_while_travel_pay_cannot_be_read(product: Product, kind: str, fields: dict[str, Any]) -> None:
    person = traveling(product)
    claim_id = person.file()
    product.control.set("travel_pay", kind, **fields)
    for _ in range(2):
        # The second time its breaker may be open.
        response = person.get(CLAIMS_URL, **DAY)
        body = response.get_json()
        assert (response.status_code, body["metadata"]["status"]) == (206, 206)
        assert [(item["id"], item["claimStatus"]) for item in body["data"]] == [(claim_id, "Received")]
        assert (body["metadata"]["totalRecordCount"], "there may be more" in body["metadata"]["message"]) == (
            None,
            True,
        )
        assert person.read(f"{CLAIMS_URL}/{claim_id}")["claimStatus"] == "Received"
    product.control.clear("travel_pay")


def test_without_a_claim_of_ours_a_failure_is_a_failure(product: Product) -> None:
    person, other = traveling(product), traveling(product, BEN)
    person.file()
    product.control.set("travel_pay", "status", status=503)
    for reader, query in ((other, {}), (person, OTHER_DAY)):
        assert refusal(reader.get(CLAIMS_URL, **query)) == (503, "503")


def test_a_refusal_that_no_contract_names_is_an_outage(product: Product) -> None:
    person = traveling(product)
    claim_id = person.file()
    product.control.set("travel_pay", "status", status=400, operation="GET /api/v2/claims")
    shown = person.get(CLAIMS_URL)
    assert (shown.status_code, [claim["id"] for claim in shown.get_json()["data"]]) == (206, [claim_id])


def test_a_claim_that_may_have_been_begun_is_not_called_unfiled(product: Product) -> None:
    person = traveling(product)
    claim_id = person.file()
    product.rows(
        "UPDATE travel_pay_claims SET state = 'failed', unconfirmed = true, step = 'claim', appointment_id = 'a1',"
        " finished_at = outbox_now() RETURNING id"
    )
    assert listed(person) == [(claim_id, "Not confirmed")]
    assert person.read(f"{CLAIMS_URL}/{claim_id}")["claimStatus"] == "Not confirmed"
