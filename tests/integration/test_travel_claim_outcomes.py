"""A claim from the form to the text message, in every way it can end, for both kinds of facility."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sandbox.scenarios import with_habit
from sandbox.upstreams.cast import Veteran
from sandbox.upstreams.settings import FakeSettings
from tests.house import ADA, APPOINTMENT_DATE, House
from tests.integration.steps import LATER_THAN_EVER, file_claim, sends, sweep, texts

KNOWN = FakeSettings()
VISTA, OH = with_habit("ok", "vista"), with_habit("ok", "oh")


def works(house: House) -> None:
    """Nothing is broken."""


def filed_before(house: House) -> None:
    house.control.play("btsss", "duplicate")


def refuses(house: House) -> None:
    house.control.play("btsss", "refused")


def loses_the_reply_of_a_denied_claim(house: House) -> None:
    house.control.turn("btsss", claim_status="Denied")
    house.control.set("btsss", "drop", times=1, operation="submitclaim")


def loses_the_reply_and_then_says_no_more(house: House) -> None:
    house.control.set("btsss", "drop", times=1, operation="submitclaim")
    house.control.set("btsss", "html", operation="GetClaimsStatus")


def run_out_of_time(house: House) -> None:
    """Once the claim has been tried, five days pass."""
    house.work(until=lambda: house.value("SELECT count(*) FROM outbox_attempts") > 1)
    house.move_clock(LATER_THAN_EVER)
    sweep(house)


@pytest.mark.parametrize("veteran", [VISTA, OH], ids=["cie", "oh"])
@pytest.mark.parametrize(
    ("happens", "state", "notice", "cases"),
    [
        (works, "submitted", "created", []),
        (filed_before, "duplicate", "duplicate", []),
        (refuses, "failed", "error", ["refused"]),
        (loses_the_reply_of_a_denied_claim, "submitted", "denied", []),
        (loses_the_reply_and_then_says_no_more, "failed", "unconfirmed", ["may_exist_upstream"]),
    ],
)
def test_every_outcome_has_its_state_its_template_and_its_case(
    house: House, veteran: Veteran, happens: Callable[[House], None], state: str, notice: str, cases: list[str]
) -> None:
    happens(house)
    asked = file_claim(house, veteran)
    if notice == "unconfirmed":
        run_out_of_time(house)
    house.work()
    facility = "oh" if veteran is OH else "cie"
    assert asked.state["state"] == state
    assert asked.state["unconfirmed"] is (notice == "unconfirmed")
    assert texts(house) == [f"{facility}.{notice}"]
    assert house.cases() == cases
    (sent,) = sends(house)
    assert sent["recipient_identifier"] == {"id_type": "ICN", "id_value": veteran.icn}
    sender = KNOWN.vanotify_sms_sender_id_oh if veteran is OH else KNOWN.vanotify_sms_sender_id
    client_number = KNOWN.btsss_client_number_oh if veteran is OH else KNOWN.btsss_client_number
    assert sent["sms_sender_id"] == sender
    assert [submit["body"]["ClientNumber"] for submit in house.submits()] == [client_number]


def test_a_created_claim_is_told_with_its_number_and_date(house: House) -> None:
    asked = file_claim(house)
    house.work()
    number = house.filed()[0]["number"]
    assert asked.state["claim_number_last_four"] == number[-4:]
    (text,) = house.phone()
    assert number[-4:] in text["body"] and number not in text["body"]
    assert "Mar 04" in text["body"]
    assert text["to"] == ADA.phone
    assert house.submits()[0]["body"]["Appointment"] == {"AppointmentDateTime": APPOINTMENT_DATE}


def test_a_claim_number_nobody_knows_is_told_as_unknown(house: House) -> None:
    refuses(house)
    file_claim(house)
    house.work()
    assert sends(house)[0]["personalisation"] == {"claim_number": "unknown", "appt_date": "Mar 04"}


@pytest.mark.parametrize("planned", ["not_found", "multiple"])
def test_what_btsss_cannot_match_is_refused_with_its_reason_kept(house: House, planned: str) -> None:
    house.control.call("POST", "btsss", "outcomes", json={"icn": ADA.icn, "outcome": planned})
    asked = file_claim(house)
    house.work()
    assert (asked.state["state"], house.cases(), texts(house)) == ("failed", ["refused"], ["cie.error"])
    (attempt,) = house.rows("SELECT status, error_class FROM outbox_attempts WHERE upstream = 'btsss'")
    assert tuple(attempt) == ("error", "Rejected")
    assert asked.message["state"] == "parked"


def test_a_lost_reply_is_looked_up_and_told_as_created(house: House) -> None:
    house.control.set("btsss", "drop", times=1, operation="submitclaim")
    asked = file_claim(house)
    house.work()
    (filed,) = house.filed()
    assert asked.state["state"] == "submitted"
    assert texts(house) == ["cie.created"]
    assert filed["number"][-4:] in house.phone()[0]["body"]
    assert len(house.submits()) == 1


@pytest.mark.parametrize(
    ("upstream", "fault"),
    [("veis", "drop"), ("btsss", "refuse"), ("btsss", "throttle")],
)
def test_what_did_nothing_is_simply_tried_again(house: House, upstream: str, fault: str) -> None:
    """Nothing was done, so nothing is looked up, and no attempt is an open question."""
    house.control.set(upstream, fault)
    asked = file_claim(house)
    house.work(until=lambda: house.value("SELECT count(*) FROM outbox_attempts WHERE finished_at IS NOT NULL") > 0)
    assert asked.state["state"] == "pending"
    house.control.clear(upstream)
    house.work()
    assert texts(house) == ["cie.created"]
    assert house.control.received("btsss", "GetClaimsStatus") == []
    assert house.value("SELECT count(*) FROM outbox_attempts WHERE status = 'unknown'") == 0
