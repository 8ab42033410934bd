"""The list of a person's intents to file of all types (contract: frontend 3.4)."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration.itf_steps import WITH_ITF, WITHOUT_ICN, Signed, itfs, on_file, reads, sign_in
from tests.integration.steps import reconfigure
from tests.product import ADA, Product

LIST_URL = "/v0/intents_to_file"
BEN = DEFAULT_CAST[1]
READ_BY_THE_PAGE = {"id", "type", "creationDate", "expirationDate", "status"}


def get(product: Product, person: Signed, path: str = LIST_URL, **headers: str) -> Any:
    return product.app.test_client().get(path, headers={**person.headers, **headers})


def listed(product: Product, person: Signed, **headers: str) -> list[dict[str, Any]]:
    response = get(product, person, **headers)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.get_json()["data"]
    return found


def test_without_any_itf_it_is_an_empty_list_and_no_404(product: Product) -> None:
    person = sign_in(product)
    for path in (LIST_URL, f"{LIST_URL}/"):
        response = get(product, person, path)
        assert (response.status_code, response.get_json()) == (200, {"data": []})


def test_all_types_are_in_one_plain_list(product: Product) -> None:
    person = sign_in(product)
    compensation = person.ask()
    pension = person.post("pension").get_json()["data"]["attributes"]["intentToFile"]
    shown = listed(product, person)
    assert shown == [compensation, pension]
    assert [(each["type"], each["status"], each["recordState"]) for each in shown] == [
        ("compensation", "active", "pending"),
        ("pension", "active", "confirmed"),
    ]
    assert all(set(each) >= READ_BY_THE_PAGE for each in shown)
    # The route without a type stays compensation only (contract: benefits 3.3).
    assert person.shown("") == [compensation]


def test_what_is_on_record_here_is_not_read_again(product: Product) -> None:
    person = sign_in(product)
    person.ask()
    person.post("pension")
    before = reads(product)
    listed(product, person)
    # Only the survivor's is not known here.
    assert reads(product) == before + 1


@pytest.mark.parametrize("itf_type", ["pension", "survivor"])
def test_an_itf_of_another_type_filed_elsewhere_is_found_and_kept(product: Product, itf_type: str) -> None:
    person = sign_in(product)
    planted = product.control.call("POST", "lighthouse", "itfs", json={"icn": ADA.icn, "type": itf_type})
    shown = listed(product, person)
    assert [(each["id"], each["type"], each["status"]) for each in shown] == [(planted["id"], itf_type, "active")]
    assert [(row["type"], row["upstream_id"]) for row in itfs(product)] == [(itf_type, planted["id"])]
    assert person.shown(f"/{itf_type}") == shown
    # The route without a type stays compensation only (contract: benefits 3.3).
    assert person.shown("") == []


def test_nobody_sees_the_itfs_of_another(product: Product) -> None:
    sign_in(product).ask()
    assert listed(product, sign_in(product, BEN)) == []


def test_outside_the_background_share_compensation_is_read_upstream(product: Product) -> None:
    reconfigure(product, itf_async_percent=0)
    person = sign_in(product, WITH_ITF["active"])
    (filed,) = on_file(product, WITH_ITF["active"])
    assert [(each["id"], each["type"]) for each in listed(product, person)] == [(filed["id"], "compensation")]
    assert [row["upstream_id"] for row in itfs(product)] == [filed["id"]]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_we_hold_is_shown_as_a_part_and_nothing_at_all_is_a_failure(product: Product, status: int) -> None:
    person = sign_in(product)
    product.control.set("lighthouse", "status", status=status, operation="/services/claims")
    asked = person.ask()
    part = get(product, person)
    assert (part.status_code, part.get_json()["data"]) == (206, [asked])
    assert part.get_json()["meta"]["missingTypes"] == ["pension", "survivor"]
    response = get(product, sign_in(product, BEN))
    (entry,) = response.get_json()["errors"]
    assert (response.status_code, entry["status"]) == (status, str(status))


def test_all_reads_together_take_no_longer_than_one_may(product: Product) -> None:
    person = sign_in(product)
    listed(product, person)
    reconfigure(product, itf_sync_seconds=3.0)
    product.control.set("lighthouse", "slow", seconds=2, operation="/services/claims")
    assert get(product, person).status_code == 504


def test_an_account_without_an_icn_is_refused(product: Product) -> None:
    response = get(product, sign_in(product, WITHOUT_ICN))
    assert (response.status_code, response.get_json()["errors"][0]["code"]) == (403, "NO_ICN")


def test_a_stranger_is_refused(product: Product) -> None:
    assert product.app.test_client().get(LIST_URL).status_code == 401
