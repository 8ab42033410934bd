"""Unknown is resolved, never guessed: what a look-up finds after an unanswered submit, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.house import ADA, APPOINTMENT_DATE, House
from tests.integration.steps import Asked, file_claim, look_ups, reconfigure, texts


def lost(house: House) -> None:
    """The next submit is answered 500 without anything done: we cannot tell that from one that was."""
    house.control.set("btsss", "status", status=500, times=1, operation="submitclaim")


def plant(house: House, **fields: Any) -> Any:
    """A claim somebody else filed for Ada's day, at the kiosk say."""
    return house.control.call("POST", "btsss", "claims", json={"icn": ADA.icn, "date": APPOINTMENT_DATE, **fields})


def looked_up(house: House, times: int) -> Callable[[], bool]:
    return lambda: (
        look_ups(house) >= times
        and house.value(
            "SELECT count(*) >= :times FROM outbox_attempts WHERE purpose = 'look_up' AND finished_at IS NOT NULL",
            times=times,
        )
    )


def assert_open(house: House, asked: Asked, why: str = "unanswered", submits: int = 1) -> None:
    """The question is open: asked again and again, nothing re-sent, nobody told anything."""
    house.work(until=looked_up(house, 3))
    message = asked.message
    assert message["state"] != "parked"
    assert message["unresolved_since"] is not None and message["unresolved_why"] == why
    assert asked.state["state"] == "pending"
    assert len(house.submits()) == submits
    assert house.control.phone() == [] and house.cases() == []


def test_a_claim_from_before_our_first_try_is_a_duplicate(house: House) -> None:
    lost(house)
    asked = file_claim(house)
    planted = plant(house, age_seconds=60)
    house.work()
    assert (asked.state["state"], texts(house)) == ("duplicate", ["cie.duplicate"])
    assert asked.state["claim_number_last_four"] == planted["number"][-4:]
    assert len(house.submits()) == 1


def test_a_claim_modified_after_our_first_try_is_ours_by_presumption(house: House) -> None:
    lost(house)
    asked = file_claim(house)
    plant(house, age_seconds=-30)
    house.work()
    assert (asked.state["state"], texts(house)) == ("submitted", ["cie.created"])
    assert house.rows("SELECT 1 FROM outbox_history WHERE detail->>'how' = 'presumed'")
    assert len(house.submits()) == 1


def test_the_skew_of_btsss_clock_is_allowed_for(house: House) -> None:
    """Its clock is a minute behind, so our own claim looks older than our first try."""
    reconfigure(house, btsss_clock_skew_seconds=90.0)
    house.control.turn("btsss", skew_seconds=-60)
    house.control.set("btsss", "drop", times=1, operation="submitclaim")
    asked = file_claim(house)
    house.work()
    assert asked.state["state"] == "submitted"


def test_a_claim_filed_at_the_kiosk_meanwhile_is_a_duplicate_when_no_reply_of_ours_was_lost(house: House) -> None:
    """Our first try did nothing, the kiosk files, our second try is told *duplicate*: it can only be theirs."""
    house.control.set("btsss", "throttle", times=1, operation="submitclaim")
    asked = file_claim(house)
    house.work(until=lambda: len(house.submits()) == 1)
    plant(house, age_seconds=-5)
    house.work()
    assert (asked.state["state"], texts(house)) == ("duplicate", ["cie.duplicate"])
    assert len(house.submits()) == 2


def test_one_at_another_station_only_keeps_the_question_open(house: House) -> None:
    lost(house)
    asked = file_claim(house)
    plant(house, station="530")
    assert_open(house, asked)
    plant(house, age_seconds=-30)
    house.work()
    assert (asked.state["state"], len(house.submits())) == ("submitted", 1)


def test_several_at_our_station_keep_the_question_open(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    lost(house)
    asked = file_claim(house)
    plant(house)
    claims = house.fakes.fakes.btsss.claims
    monkeypatch.setattr(claims, "between", lambda *_: claims.everything() * 2)
    assert_open(house, asked)


def test_none_after_a_duplicate_keeps_the_question_open(house: House) -> None:
    house.control.call("POST", "btsss", "outcomes", json={"icn": ADA.icn, "outcome": "duplicate"})
    asked = file_claim(house)
    assert_open(house, asked, why="duplicate")
    (reason,) = house.rows("SELECT DISTINCT error_detail FROM outbox_attempts WHERE purpose = 'look_up'")
    assert reason[0] == "none on file after a duplicate answer"


def test_an_unknown_claim_status_keeps_the_question_open_until_it_says_something(house: House) -> None:
    house.control.turn("btsss", claim_status="Beamed")
    house.control.set("btsss", "drop", times=1, operation="submitclaim")
    asked = file_claim(house)
    assert_open(house, asked)
    (filed,) = house.filed()
    house.control.call("PATCH", "btsss", f"claims/{filed['number']}", json={"claimStatus": "InManualReview"})
    house.work()
    assert (asked.state["state"], texts(house)) == ("submitted", ["cie.created"])


@pytest.mark.parametrize("fault", [{"kind": "half"}, {"kind": "status", "status": 500}])
def test_a_look_up_that_fails_keeps_the_question_open(house: House, fault: dict[str, Any]) -> None:
    house.control.set("btsss", "drop", times=1, operation="submitclaim")
    house.control.set("btsss", **fault, operation="GetClaimsStatus")
    asked = file_claim(house)
    assert_open(house, asked)
    house.control.clear("btsss")
    house.work()
    assert (asked.state["state"], len(house.submits()), len(house.filed())) == ("submitted", 1, 1)


def test_a_refused_look_up_refuses_no_claim(house: House) -> None:
    house.control.set("btsss", "drop", times=1, operation="submitclaim")
    house.control.set("btsss", "status", status=400, operation="GetClaimsStatus")
    assert_open(house, file_claim(house))


def test_not_found_is_believed_only_after_its_time_and_twice_and_then_sent_again_once(house: House) -> None:
    reconfigure(house, btsss_settle_seconds=3600.0)
    lost(house)
    asked = file_claim(house)
    assert_open(house, asked)
    assert asked.message["not_found_count"] == 0
    seen = look_ups(house)
    house.move_clock(timedelta(hours=1, seconds=5))
    house.work()
    found_absent = house.rows(
        "SELECT id FROM outbox_attempts WHERE purpose = 'look_up' AND error_detail IS NULL AND status = 'error'"
    )
    assert (look_ups(house), len(found_absent)) == (seen + 2, 2)
    assert (asked.state["state"], len(house.submits()), len(house.filed())) == ("submitted", 2, 1)
    assert texts(house) == ["cie.created"]


def test_an_unclear_answer_between_two_not_found_starts_the_count_anew(house: House) -> None:
    """*Twice in a row*: a failed look-up in between proves nothing."""
    lost(house)
    asked = file_claim(house)
    house.work(until=lambda: asked.message["not_found_count"] == 1)
    house.control.set("btsss", "html", times=1, operation="GetClaimsStatus")
    house.work(until=lambda: house.value("SELECT count(*) FROM outbox_attempts WHERE error_class = 'Unavailable'") == 1)
    assert asked.message["not_found_count"] == 0
    house.work()
    assert len(house.submits()) == 2


def test_a_second_lost_reply_opens_the_question_again(house: House) -> None:
    house.control.set("btsss", "status", status=500, times=2, operation="submitclaim")
    asked = file_claim(house)
    house.work()
    assert (asked.state["state"], len(house.submits()), len(house.filed())) == ("submitted", 3, 1)
    assert look_ups(house) >= 4


def test_the_look_up_asks_for_that_person_and_day(house: House) -> None:
    house.control.set("btsss", "drop", times=1, operation="submitclaim")
    file_claim(house)
    house.work()
    asked = house.control.received("btsss", "GetClaimsStatus")[0]["body"]
    assert (asked["vetId"], asked["startRangeDate"], asked["endRangeDate"]) == (
        ADA.icn,
        APPOINTMENT_DATE,
        APPOINTMENT_DATE,
    )
