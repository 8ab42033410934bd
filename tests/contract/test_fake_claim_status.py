"""The fake BTSSS's status call: every field, several stations, other people's claims (contract: travel 4.2).

Also its own clock.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from sandbox.faults import Control
from sandbox.upstreams.cast import Veteran
from sandbox.upstreams.scenarios import with_habit
from sandbox.upstreams.serve import Upstreams
from tests.contract.claim_wire import DAY, Caller

APPROVED = [
    "ApprovedForPayment",
    "ClaimPaid",
    "ClaimSubmitted",
    "InManualReview",
    "In-Process",
    "Saved",
    "SubmittedForPayment",
]
NOT_APPROVED = [
    "Appeal",
    "ClosedWithNoPayment",
    "Denied",
    "FiscalRescinded",
    "Incomplete",
    "OnHold",
    "PartialPayment",
    "PaymentCanceled",
]


@pytest.fixture
def caller(http: requests.Session, upstreams: Upstreams) -> Caller:
    return Caller(http, upstreams)


@pytest.fixture
def veteran() -> Veteran:
    return with_habit("ok")


def test_nothing_filed_is_an_empty_list(caller: Caller, veteran: Veteran) -> None:
    assert caller.status(veteran.icn) == []


def test_a_status_element_has_every_field_of_the_contract(caller: Caller, veteran: Veteran) -> None:
    number = caller.submit(veteran.icn).json()["claimNumber"]
    (element,) = caller.status(veteran.icn)
    assert set(element) == {
        "aptDateTime",
        "aptId",
        "aptSourceSystem",
        "aptSourceSystemId",
        "claimLastModDateTime",
        "claimNum",
        "claimStatus",
        "facilityStationNum",
    }
    assert (element["claimNum"], element["claimStatus"]) == (number, "ClaimSubmitted")
    assert element["facilityStationNum"] == veteran.station
    assert element["aptDateTime"] == "2031-03-04T16:30:00.000Z"


def modified(element: dict[str, Any]) -> datetime:
    stamp = element["claimLastModDateTime"]
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z", stamp)
    return datetime.fromisoformat(stamp)


@pytest.mark.parametrize("skew", [0, 90, -90])
def test_last_modified_is_right_by_the_fakes_own_clock(
    caller: Caller, control: Control, veteran: Veteran, skew: int
) -> None:
    control.turn("btsss", skew_seconds=skew)
    caller.submit(veteran.icn)
    expected = datetime.now(UTC) + timedelta(seconds=skew)
    assert abs(modified(caller.status(veteran.icn)[0]) - expected) < timedelta(seconds=5)


@pytest.mark.parametrize("status", [*APPROVED, *NOT_APPROVED, "NeverHeardOf"])
def test_a_planted_claim_is_found_with_its_status_age_and_number(
    caller: Caller, control: Control, veteran: Veteran, status: str
) -> None:
    plan = {"icn": veteran.icn, "date": DAY, "claimStatus": status, "age_seconds": 600, "claimNumber": "TC1"}
    control.call("POST", "btsss", "claims", json=plan)
    (element,) = caller.status(veteran.icn)
    assert (element["claimNum"], element["claimStatus"]) == ("TC1", status)
    age = datetime.now(UTC) - modified(element)
    assert timedelta(seconds=595) < age < timedelta(seconds=605)
    assert "already has a claim" in caller.submit(veteran.icn).json()["message"]


def test_a_claim_at_another_station_blocks_nothing_and_is_listed_too(
    caller: Caller, control: Control, veteran: Veteran
) -> None:
    control.call("POST", "btsss", "claims", json={"icn": veteran.icn, "date": DAY, "station": "405"})
    assert caller.submit(veteran.icn).status_code == 200
    assert {claim["facilityStationNum"] for claim in caller.status(veteran.icn)} == {"405", veteran.station}


def test_a_claim_can_be_processed_to_another_status(caller: Caller, control: Control, veteran: Veteran) -> None:
    number = caller.submit(veteran.icn).json()["claimNumber"]
    control.call("PATCH", "btsss", f"claims/{number}", json={"claimStatus": "Denied"})
    assert caller.status(veteran.icn)[0]["claimStatus"] == "Denied"


@pytest.mark.parametrize("field", ["clientNumber", "vetIdType", "vetId", "startRangeDate", "endRangeDate"])
def test_a_malformed_status_request_is_refused(caller: Caller, veteran: Veteran, field: str) -> None:
    assert caller.post("V1/GetClaimsStatus", caller.status_body(veteran.icn) | {field: None}).status_code == 400


def test_a_kiosk_claim_is_there_before_the_first_request(caller: Caller) -> None:
    started = datetime.now(UTC)
    early = with_habit("filed")
    assert "already has a claim" in caller.submit(early.icn).json()["message"]
    (element,) = caller.status(early.icn)
    assert modified(element) < started - timedelta(minutes=30)
