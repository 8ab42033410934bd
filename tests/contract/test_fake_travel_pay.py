"""The fake Travel Pay's appointments and claims: the four steps, and what repeating them does (contract: travel
5.3)."""

from __future__ import annotations

import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from sandbox.faults import Control, Refused
from sandbox.upstreams.scenarios import with_habit
from sandbox.upstreams.serve import Upstreams
from tests.contract.travel_pay_wire import WHEN, Chain, Traveler, data, not_found, refusal

ADA, HECTOR, JONAS = with_habit("ok"), with_habit("filed"), with_habit("refused")
APPOINTMENT = {
    "id",
    "appointmentSource",
    "appointmentDateTime",
    "appointmentName",
    "appointmentType",
    "facilityId",
    "facilityName",
    "serviceConnectedDisability",
    "currentStatus",
    "appointmentStatus",
    "externalAppointmentId",
    "associatedClaimId",
    "associatedClaimNumber",
    "isCompleted",
}


@pytest.fixture
def chain(http: requests.Session, upstreams: Upstreams) -> Chain:
    return Chain(http, upstreams)


@pytest.fixture
def ada(chain: Chain) -> Traveler:
    return Traveler(chain, ADA)


def filed(control: Control, person: Any = ADA) -> list[dict[str, Any]]:
    return list(control.call("GET", "travel_pay", "claims", params={"icn": person.icn}))


def test_an_appointment_is_added_once_and_found_from_then_on(ada: Traveler) -> None:
    (added,) = data(ada.find_or_add())
    assert set(added) == APPOINTMENT
    assert (added["appointmentDateTime"], added["facilityName"]) == (
        "2031-03-04T09:30:00.000Z",
        "Bluff Creek VA Clinic",
    )
    assert added["associatedClaimId"] is added["associatedClaimNumber"] is None
    assert data(ada.find_or_add()) == data(ada.find_or_add("2031-03-04T09:30:00.000Z")) == [added]
    assert data(ada.find_or_add("2031-03-04T09:30:00")) == [added]


def test_another_time_station_or_person_is_another_appointment(ada: Traveler, chain: Chain) -> None:
    found = [ada.find_or_add(), ada.find_or_add("2031-03-04T09:31:00Z"), ada.find_or_add(station="537")]
    found.append(Traveler(chain, HECTOR).find_or_add())
    assert len({data(answer)[0]["id"] for answer in found}) == 4


def test_find_or_add_can_answer_as_it_does_now_and_then(ada: Traveler, control: Control) -> None:
    (usual,) = data(ada.find_or_add())
    control.turn("travel_pay", find_or_add_answers="several")
    earlier, requested = data(ada.find_or_add())
    assert requested == usual and earlier["appointmentDateTime"] == "2031-01-04T09:30:00.000Z"
    control.turn("travel_pay", find_or_add_answers="another_day")
    assert data(ada.find_or_add()) == [earlier]
    control.turn("travel_pay", find_or_add_answers="object")
    assert data(ada.find_or_add()) == {
        "appointmentId": usual["id"],
        "appointmentDateTime": "2031-03-04T09:30:00.000Z",
        "facilityStationNumber": "983",
    }
    with pytest.raises(Refused):
        control.turn("travel_pay", find_or_add_answers="nothing")


def test_an_appointment_is_added_as_it_was_described(ada: Traveler) -> None:
    kind = "CompensationAndPensionExamination"
    (added,) = data(ada.find_or_add(appointmentName="C and P", appointmentType=kind, isComplete=False))
    assert (added["appointmentName"], added["appointmentType"], added["isCompleted"]) == ("C and P", kind, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"at": "yesterday"},
        {"at": "2031-13-04T09:30:00Z"},
        {"at": "2031-03-04T09:30:00-06:00"},
        {"at": ""},
        {"station": "000"},
        {"station": ""},
        {"appointmentName": ""},
        {"appointmentType": "Dentist"},
        {"isComplete": "yes"},
    ],
    ids=str,
)
def test_an_appointment_in_any_other_form_is_refused(ada: Traveler, changes: dict[str, Any]) -> None:
    assert refusal(ada.find_or_add(**changes))[0] == 400


def test_a_claim_goes_from_incomplete_to_saved_to_submitted(ada: Traveler, control: Control) -> None:
    claim = ada.begun()
    statuses = [data(ada.claim(claim))["claimStatus"]]
    expense = data(ada.add_mileage(claim))["expenseId"]
    statuses.append(data(ada.claim(claim))["claimStatus"])
    submitted = data(ada.submit(claim))
    statuses.append(data(ada.claim(claim))["claimStatus"])
    assert statuses == ["Incomplete", "Saved", "ClaimSubmitted"]
    assert set(submitted) == {"claimId", "status", "createdOn", "modifiedOn"}
    assert (submitted["claimId"], submitted["status"]) == (claim, "ClaimSubmitted")
    (held,) = filed(control)
    assert (held["id"], held["claimStatus"], [each["id"] for each in held["expenses"]]) == (
        claim,
        "ClaimSubmitted",
        [expense],
    )


def test_the_appointment_names_its_claim_from_the_first_step_on(ada: Traveler) -> None:
    claim = ada.begun()
    (found,) = data(ada.find_or_add())
    assert found["associatedClaimId"] == claim
    assert re.fullmatch(r"TC\d{11}", found["associatedClaimNumber"])
    assert data(ada.claim(claim))["claimNumber"] == found["associatedClaimNumber"]
    assert str(uuid.UUID(claim)) == claim


def test_an_appointment_has_one_claim(ada: Traveler, control: Control) -> None:
    ada.begun()
    again = ada.create(data(ada.find_or_add())[0]["id"])
    status, message = refusal(again)
    assert (status, "already been created" in message) == (400, True)
    assert len(filed(control)) == 1


def test_of_simultaneous_creates_one_is_taken(ada: Traveler, control: Control) -> None:
    appointment = data(ada.find_or_add())[0]["id"]
    with ThreadPoolExecutor(4) as hands:
        statuses = [answer.status_code for answer in hands.map(ada.create, [appointment] * 4)]
    assert sorted(statuses) == [200, 400, 400, 400]
    assert len(filed(control)) == 1


def test_a_mileage_expense_added_twice_is_there_twice(ada: Traveler) -> None:
    claim = ada.begun()
    ids = {data(ada.add_mileage(claim))["expenseId"] for _ in range(2)}
    detail = data(ada.claim(claim))
    assert {expense["id"] for expense in detail["expenses"]} == ids
    assert (len(ids), detail["totalCostRequested"]) == (2, 41.5)


def test_a_submitted_claim_takes_no_more(ada: Traveler, control: Control) -> None:
    claim = ada.begun()
    assert refusal(ada.submit(claim)) == (400, "A claim without expenses cannot be submitted.")
    data(ada.add_mileage(claim))
    data(ada.submit(claim))
    for again in (ada.submit(claim), ada.add_mileage(claim)):
        assert refusal(again) == (400, "Claim has already been submitted.")
    assert len(filed(control)[0]["expenses"]) == 1


@pytest.mark.parametrize(
    "changes", [{"claimName": ""}, {"claimantType": "Caregiver"}, {"appointmentId": None}], ids=str
)
def test_a_claim_in_any_other_form_is_refused(ada: Traveler, control: Control, changes: dict[str, Any]) -> None:
    assert refusal(ada.create(data(ada.find_or_add())[0]["id"], **changes))[0] == 400
    assert filed(control) == []


@pytest.mark.parametrize("changes", [{"description": ""}, {"tripType": "Detour"}, {"dateIncurred": "soon"}], ids=str)
def test_an_expense_in_any_other_form_is_refused(ada: Traveler, changes: dict[str, Any]) -> None:
    claim = ada.begun()
    assert refusal(ada.add_mileage(claim, **changes))[0] == 400
    assert data(ada.claim(claim))["expenses"] == []


@pytest.mark.parametrize("trip", ["OneWay", "RoundTrip", "Unspecified"])
def test_an_expense_may_carry_the_time_of_the_appointment(ada: Traveler, trip: str) -> None:
    claim = ada.begun()
    data(ada.add_mileage(claim, tripType=trip, dateIncurred=WHEN))
    (expense,) = data(ada.claim(claim))["expenses"]
    assert (expense["dateIncurred"], expense["description"]) == (WHEN, "mileage")


def test_another_persons_claim_is_not_found_like_one_that_does_not_exist(ada: Traveler, chain: Chain) -> None:
    claim, other = ada.begun(), Traveler(chain, HECTOR)
    appointment = data(ada.find_or_add())[0]["id"]
    for unknown in (claim, str(uuid.uuid4())):
        for answer in (other.claim(unknown), other.submit(unknown), other.add_mileage(unknown)):
            assert not_found(answer) == "Claim not found."
    assert not_found(other.create(appointment)) == "Appointment not found."
    assert data(ada.claim(claim))["claimStatus"] == "Incomplete"


def test_a_step_whose_reply_is_lost_has_happened(ada: Traveler, control: Control) -> None:
    appointment = data(ada.find_or_add())[0]["id"]
    control.set("travel_pay", "drop", operation="POST /api/v3/claims", times=1)
    with pytest.raises(requests.ConnectionError):
        ada.create(appointment)
    assert data(ada.find_or_add())[0]["associatedClaimId"] == filed(control)[0]["id"]


def test_somebody_filed_at_the_kiosk_and_somebody_is_always_refused(chain: Chain, control: Control) -> None:
    hector, jonas = Traveler(chain, HECTOR), Traveler(chain, JONAS)
    (first,) = data(hector.appointments())
    assert data(hector.claim(first["associatedClaimId"]))["claimStatus"] == "ClaimSubmitted"
    assert "already been created" in refusal(hector.create(first["id"]))[1]
    assert "Invalid appointment" in refusal(jonas.create(data(jonas.find_or_add())[0]["id"]))[1]
    assert (len(filed(control, HECTOR)), filed(control, JONAS)) == (1, [])


def test_a_claim_can_be_added_and_moved_through_the_admin_api(ada: Traveler, control: Control) -> None:
    planted = control.call(
        "POST", "travel_pay", "claims", json={"icn": ADA.icn, "appointmentDateTime": WHEN, "claimStatus": "Saved"}
    )
    assert data(ada.find_or_add())[0]["associatedClaimId"] == planted["id"]
    assert (planted["claimStatus"], len(planted["expenses"]), planted["source"]) == ("Saved", 1, "planted")
    control.call("PATCH", "travel_pay", f"claims/{planted['claimNumber']}", json={"claimStatus": "Denied"})
    assert data(ada.claim(planted["id"]))["claimStatus"] == "Denied"
    with pytest.raises(Refused, match="has a claim"):
        control.call("POST", "travel_pay", "claims", json={"icn": ADA.icn, "appointmentDateTime": WHEN})
    free = control.call("POST", "travel_pay", "claims", json={"icn": ADA.icn})
    assert free["wallClock"].endswith("T09:30:00")
    control.reset()
    assert filed(control) == []
