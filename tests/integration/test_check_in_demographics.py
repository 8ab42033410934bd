"""Confirming one's details (contract: travel 1.8), which the page does before it checks in (contract: frontend 2.7)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from flaskapp.db import transaction
from flaskapp.travel_claims.models import TravelClaim
from sandbox.upstreams.lorota import check_in_data
from sandbox.upstreams.scenarios import with_habit
from tests.integration.test_check_in_data import CAMEL, check_in
from tests.product import ADA, Product

DEMOGRAPHICS = "/check_in/v2/demographics"
CONFIRM = "POST /actions/confirm-demographics"
NOBODY = {"permissions": "read.none", "status": "success", "uuid": ADA.uuid}
ADAS_NUMBER = check_in_data(ADA)["payload"]["appointments"][0]["patientDFN"]
ANSWERS = {"demographicsUpToDate": True, "nextOfKinUpToDate": False, "emergencyContactUpToDate": True}


def confirm(client: Any, answers: Any = ANSWERS, path: str = f"{DEMOGRAPHICS}/{ADA.uuid}") -> Any:
    body = {"demographics": {"demographicConfirmations": {"uuid": ADA.uuid, **answers}}}
    return client.patch(path, json=body, headers=CAMEL)


def test_chip_is_told_the_opposite_and_its_object_comes_back(product: Product) -> None:
    before = datetime.now(UTC)
    client = product.sign_in()
    for path in (f"{DEMOGRAPHICS}/{ADA.uuid}", f"{DEMOGRAPHICS}/{ADA.uuid}/"):
        response = confirm(client, path=path)
        answered = response.get_json()
        assert (response.status_code, answered["status"]) == (200, 200)
        attributes = answered["data"]["data"]["attributes"]
        assert (attributes["demographicsNeedsUpdate"], attributes["nextOfKinNeedsUpdate"]) == (False, True)
    told = product.control.received("chip", CONFIRM)[0]["body"]
    confirmations = told.pop("demographicConfirmations")
    assert told == {"patientDfn": ADAS_NUMBER, "stationNo": "983", "uuid": ADA.uuid}
    times = [confirmations.pop(f"{name}ConfirmedAt") for name in ("demographics", "nextOfKin", "emergencyContact")]
    assert all(datetime.fromisoformat(each) > before - timedelta(seconds=1) for each in times)
    assert confirmations == {
        "demographicsNeedsUpdate": False,
        "nextOfKinNeedsUpdate": True,
        "emergencyContactNeedsUpdate": False,
    }


def test_the_day_of_page_gets_from_its_confirmation_to_its_claim(product: Product) -> None:
    client = product.sign_in()
    confirmed = confirm(client).get_json()
    assert isinstance(confirmed["data"], dict) and not {"error", "errors"} & set(confirmed["data"])
    assert check_in(client).get_json()["status"] == 200
    assert product.ask(client).status_code == 202


def test_one_answer_is_enough(product: Product) -> None:
    assert confirm(product.sign_in(), {"nextOfKinUpToDate": True}).status_code == 200
    confirmations = product.control.received("chip", CONFIRM)[0]["body"]["demographicConfirmations"]
    needs = {name: value for name, value in confirmations.items() if name.endswith("NeedsUpdate")}
    assert needs == {
        "demographicsNeedsUpdate": True,
        "nextOfKinNeedsUpdate": False,
        "emergencyContactNeedsUpdate": True,
    }


def test_a_stranger_gets_the_read_none_object_with_a_401(product: Product) -> None:
    for client in (product.app.test_client(), product.sign_in(with_habit("ok", "oh"))):
        response = confirm(client)
        assert (response.status_code, response.get_json()) == (401, NOBODY)
    assert product.control.received("chip") == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"demographics": None},
        {"demographics": {}},
        {"demographics": {"demographicConfirmations": None}},
        {"demographics": {"demographicConfirmations": {"uuid": ADA.uuid}}},
    ],
)
def test_without_confirmations_it_is_a_400_and_chip_is_not_called(product: Product, body: Any) -> None:
    response = product.sign_in().patch(f"{DEMOGRAPHICS}/{ADA.uuid}", json=body, headers=CAMEL)
    assert (response.status_code, response.get_json()["errors"][0]["status"]) == (400, "400")
    assert product.control.received("chip") == []


def test_an_answer_that_is_neither_true_nor_false_is_named(product: Product) -> None:
    response = confirm(product.sign_in(), {"nextOfKinUpToDate": "yes"})
    (entry,) = response.get_json()["errors"]
    pointer = "/demographics/demographicConfirmations/nextOfKinUpToDate"
    assert (response.status_code, entry["source"]["pointer"]) == (422, pointer)


def test_a_refusal_or_failure_by_chip_is_va900(product: Product) -> None:
    client = product.sign_in()
    for kind, status in (("empty", 504), ("empty", 500), ("empty", 404), ("status", 400)):
        product.control.set("chip", kind, status=status, operation="confirm-demographics", times=1)
        response = confirm(client)
        (entry,) = response.get_json()["errors"]
        assert response.status_code == 400, status
        assert (entry["code"], entry["detail"], entry["status"]) == ("VA900", "Operation failed", "400")


def test_a_chip_that_is_down_is_a_502(product: Product) -> None:
    client = product.sign_in()
    product.control.set("chip", "refuse")
    response = confirm(client)
    product.control.clear("chip")
    assert (response.status_code, response.get_json()["errors"][0]["status"]) == (502, "502")


def test_a_success_in_bare_text_is_an_object_too(product: Product) -> None:
    client = product.sign_in()
    product.control.set("chip", "answer", status=200, body="Confirmed successfully", operation="confirm-demographics")
    assert confirm(client).get_json() == {"data": {"message": "Confirmed successfully"}, "status": 200}


def test_a_check_in_that_was_never_loaded_has_to_be_loaded_first(product: Product) -> None:
    product.control.set("lorota", "status", operation="GET /data")
    client = product.sign_in()
    refused = confirm(client)
    assert (refused.status_code, refused.get_json()["errors"][0]["code"]) == (409, "CHECK_IN_NOT_LOADED")
    product.control.clear("lorota")
    assert client.get(f"/check_in/v2/patient_check_ins/{ADA.uuid}").status_code == 200
    assert confirm(client).status_code == 200


def test_the_number_of_the_person_at_the_facility_stays_with_the_session(product: Product) -> None:
    client = product.sign_in()
    product.ask(client)
    dfn = ADAS_NUMBER
    assert dfn not in client.get(f"/check_in/v2/patient_check_ins/{ADA.uuid}", headers=CAMEL).text
    with transaction() as session:
        identity = session.scalars(select(TravelClaim)).one().identity
    assert (identity["icn"], identity["patient_dfn"]) == (ADA.icn, None)
