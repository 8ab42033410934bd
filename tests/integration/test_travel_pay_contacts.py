"""Contact data at VA Profile and at BTSSS: compared, shown masked, recorded once, and never corrected."""

from __future__ import annotations

import json
from typing import Any

from sandbox.upstreams.cast import DEFAULT_CAST, Veteran
from sandbox.upstreams.contacts import MOVED, at_va_profile
from tests.integration.itf_steps import pass_time
from tests.integration.steps import command
from tests.integration.travel_pay_reading import CONTACTS_URL, DIFFER, mend, refusal
from tests.integration.travel_pay_steps import CLAIMS_URL, Traveling, traveling
from tests.product import ADA, Product

BEN = DEFAULT_CAST[1]
RECORDED = "SELECT count(*) FROM contact_discrepancies"


def compared(person: Traveling) -> list[dict[str, Any]]:
    """The differences shown now, which the endpoint and the list of claims report alike."""
    attributes = person.read(CONTACTS_URL)["data"]["attributes"]
    found: list[dict[str, Any]] = attributes["contactDiscrepancies"]
    assert attributes["sourceOfTruth"] == "va_profile"
    assert ("differ" in attributes["message"]) is bool(found)
    assert person.read(CLAIMS_URL)["metadata"]["contactDiscrepancies"] == found
    return found


def at_btsss(product: Product, veteran: Veteran = ADA, **details: Any) -> None:
    product.control.call("PATCH", "travel_pay", f"contacts/{veteran.icn}", json=details)


def listed(product: Product, *arguments: str) -> list[dict[str, Any]]:
    result = command(product, "travel-pay", "discrepancies", "--json", *arguments)
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.output)
    return found


def test_spellings_with_the_same_meaning_are_no_discrepancy(product: Product) -> None:
    assert compared(traveling(product)) == []
    at_btsss(product, email=ADA.email.upper() if ADA.email else None, phoneNumber="1 555-555 0101")
    assert compared(traveling(product)) == []
    assert (product.value(RECORDED), listed(product, "--all")) == (0, [])


def test_a_difference_is_shown_masked_and_recorded_once(product: Product) -> None:
    person = traveling(product, DIFFER)
    assert person.read(CLAIMS_URL)["metadata"]["contactDiscrepancies"] == []
    found = compared(person)
    assert [set(each) for each in found] == [{"field", "vaProfile", "btsss", "foundAt"}] * 2
    assert [each["field"] for each in found] == ["address", "phone"]
    assert (found[1]["vaProfile"], found[1]["btsss"]) == (f"***-***-{(DIFFER.phone or '')[-4:]}", "***-***-0931")
    assert found[0]["btsss"] == "1*** O*** M*** A*** A*** 4*** P***, IL 616**"
    pass_time(product, hours=1)
    assert (compared(person), product.value(RECORDED)) == (found, 2)
    assert product.value("SELECT count(*) FROM contact_discrepancies WHERE seen_at > found_at") == 2
    hidden = (MOVED["phoneNumber"], DIFFER.phone or "", "Old Mill", "Sample Road", "61602", DIFFER.icn)
    kept = "".join(text for (text,) in product.rows("SELECT t::text FROM contact_discrepancies t"))
    assert not [word for word in hidden if word in json.dumps([found, listed(product)]) + kept]


def test_a_new_difference_replaces_the_first_and_agreement_ends_it(product: Product) -> None:
    person = traveling(product)
    at_btsss(product, email="old@example.org")
    (first,) = compared(person)
    pass_time(product, minutes=5)
    at_btsss(product, email="older@example.org")
    (second,) = compared(person)
    assert (first["btsss"], second["btsss"]) == ("o***@e***.org", "o***@e***.org")
    assert second["foundAt"] > first["foundAt"]
    at_btsss(product, email=None)
    (third,) = compared(person)
    assert (third["btsss"], third["vaProfile"]) == (None, "a***@e***.com")
    pass_time(product, minutes=5)
    at_btsss(product, email=ADA.email)
    assert compared(person) == []
    assert (product.value(RECORDED), product.value(f"{RECORDED} WHERE resolved_at IS NULL")) == (3, 0)
    assert (listed(product), len(listed(product, "--all"))) == ([], 3)
    at_btsss(product, email="old@example.org")
    assert len(compared(person)) == 1 and product.value(RECORDED) == 4


def test_operators_see_who_differs_in_what_and_no_complete_value(product: Product) -> None:
    compared(traveling(product, DIFFER))
    at_btsss(product, phoneNumber=None)
    compared(traveling(product))
    rows = listed(product)
    assert {(row["account"], row["field"]) for row in rows} == {
        (DIFFER.account, "address"),
        (DIFFER.account, "phone"),
        (ADA.account, "phone"),
    }
    assert {row["resolved_at"] for row in rows} == {""}
    assert [row["btsss"] for row in rows if row["account"] == ADA.account] == ["none"]
    assert len(listed(product, "--limit", "1")) == 1
    table = command(product, "travel-pay", "discrepancies")
    assert table.exit_code == 0 and DIFFER.account in table.output and "***-***-0931" in table.output


def test_each_person_sees_only_their_own_and_nothing_is_written_upstream(product: Product) -> None:
    assert len(compared(traveling(product, DIFFER))) == 2
    for upstream in ("travel_pay", "va_profile"):
        methods = {entry["method"] for entry in product.control.received(upstream) if "Auth" not in entry["path"]}
        assert methods == {"GET"}
    assert compared(traveling(product, BEN)) == []
    assert at_va_profile(DIFFER)["email"] == DIFFER.email
    assert product.messages() == []


def test_an_unreadable_source_is_no_agreement(product: Product) -> None:
    person = traveling(product, DIFFER)
    found = compared(person)
    at_btsss(product, DIFFER, **{"email": "other@example.org"})
    for upstream in ("va_profile", "travel_pay"):
        product.control.set(upstream, "status", status=500)
        assert refusal(person.get(CONTACTS_URL))[0] == 500
        mend(product, upstream)
    assert person.read(CLAIMS_URL)["metadata"]["contactDiscrepancies"] == found
    assert len(compared(person)) == 3


def test_a_person_unknown_to_va_profile_is_not_compared(product: Product) -> None:
    person = traveling(product)
    product.control.set("va_profile", "status", status=404)
    status, _ = refusal(person.get(CONTACTS_URL))
    assert status == 404
    assert product.value(RECORDED) == 0
    assert product.control.received("travel_pay", "contacts") == []
    mend(product, "va_profile")
    assert compared(person) == []
