"""A claim from the form to the text message, in every way it can end."""

from __future__ import annotations

import pytest

from sandbox.scenarios import with_habit
from tests.house import ADA, APPOINTMENT_DATE, House


def test_a_created_claim_is_told_with_its_number(house: House) -> None:
    client = house.sign_in()
    response = house.ask(client)
    assert response.status_code == 202
    claim_id = response.get_json()["data"]["id"]
    house.work()
    number = house.filed()[0]["number"]
    state = house.claim_state(client, claim_id)
    assert (state["state"], state["claim_number_last_four"]) == ("submitted", number[-4:])
    (text,) = house.phone()
    assert text["template"] == "cie.created"
    assert number[-4:] in text["body"]
    assert "Mar 04" in text["body"]
    assert text["to"] == ADA.phone
    assert house.cases() == []


@pytest.mark.parametrize(("facility", "template"), [("vista", "cie.duplicate"), ("oh", "oh.duplicate")])
def test_a_claim_filed_at_the_kiosk_before_is_told_as_duplicate(house: House, facility: str, template: str) -> None:
    veteran = with_habit("filed", facility)
    client = house.sign_in(veteran)
    claim_id = house.ask(client, veteran).get_json()["data"]["id"]
    house.work()
    assert house.claim_state(client, claim_id)["state"] == "duplicate"
    assert [text["template"] for text in house.phone()] == [template]
    assert len(house.submits()) == 1


def test_a_refused_claim_fails_with_a_case_and_the_error_text(house: House) -> None:
    veteran = with_habit("refused")
    client = house.sign_in(veteran)
    claim_id = house.ask(client, veteran).get_json()["data"]["id"]
    house.work()
    assert house.claim_state(client, claim_id)["state"] == "failed"
    assert house.cases() == ["refused"]
    assert [text["template"] for text in house.phone()] == ["cie.error"]
    (parked,) = house.messages()
    assert parked["state"] == "parked"


def test_a_lost_reply_is_looked_up_and_told_as_created(house: House) -> None:
    house.control.set("btsss", "drop", times=1, operation="submitclaim")
    client = house.sign_in()
    claim_id = house.ask(client).get_json()["data"]["id"]
    house.work()
    assert house.claim_state(client, claim_id)["state"] == "submitted"
    (filed,) = house.filed()
    (text,) = house.phone()
    assert text["template"] == "cie.created"
    assert filed["number"][-4:] in text["body"]
    assert len(house.submits()) == 1
    assert filed["day"] == APPOINTMENT_DATE
