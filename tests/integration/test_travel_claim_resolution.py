"""Resolution of unanswered submits: what a look-up finds, and what follows from it; nothing is guessed."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flaskapp.db import transaction
from jobs import travel_claims
from jobs.engine import runner
from sandbox.upstreams.cast import Appointment
from tests.integration.steps import (
    SUBMIT,
    RequestedClaim,
    call,
    file_claim,
    look_ups,
    lose,
    plant,
    reconfigure,
    sends,
    take,
    texts,
)
from tests.product import ADA, APPOINTMENT_DATE, Product


def lost(product: Product) -> None:
    """The next submit is answered 500 and does nothing; we cannot distinguish it from one that was done."""
    product.control.set("btsss", "status", status=500, times=1, operation="submitclaim")


def says_duplicate(product: Product) -> None:
    """Every submit for Ada is answered *duplicate*, whatever is on file."""
    product.control.call("POST", "btsss", "outcomes", json={"icn": ADA.icn, "outcome": "duplicate"})


def looked_up(product: Product, times: int) -> Callable[[], bool]:
    return lambda: (
        look_ups(product) >= times
        and product.value(
            "SELECT count(*) >= :times FROM outbox_attempts WHERE purpose = 'look_up' AND finished_at IS NOT NULL",
            times=times,
        )
    )


def assert_open(product: Product, claim: RequestedClaim, why: str = "unanswered", submits: int = 1) -> None:
    """The question stays open: it is looked up again and again, nothing is sent again, nobody is notified."""
    product.work(until=looked_up(product, 3))
    message = claim.message
    assert message["state"] != "parked"
    assert message["unresolved_since"] is not None and message["unresolved_why"] == why
    assert claim.state["state"] == "pending"
    assert len(product.submits()) == submits
    assert product.control.phone() == [] and product.cases() == []


def test_a_claim_from_before_our_first_attempt_is_a_duplicate(product: Product) -> None:
    lost(product)
    claim = file_claim(product)
    planted = plant(product, age_seconds=60)
    product.work()
    assert (claim.state["state"], texts(product)) == ("duplicate", ["cie.duplicate"])
    assert claim.state["claim_number_last_four"] == planted["number"][-4:]
    assert len(product.submits()) == 1


def test_a_claim_modified_after_our_first_attempt_is_presumed_ours(product: Product) -> None:
    lost(product)
    claim = file_claim(product)
    plant(product, age_seconds=-30)
    product.work()
    assert (claim.state["state"], texts(product)) == ("submitted", ["cie.created"])
    assert product.rows("SELECT 1 FROM outbox_history WHERE detail->>'how' = 'presumed'")
    assert len(product.submits()) == 1


def test_the_skew_of_btsss_clock_is_allowed_for(product: Product) -> None:
    """Its clock is a minute slow, so our own claim looks older than our first attempt."""
    reconfigure(product, btsss_clock_skew_seconds=90.0)
    product.control.turn("btsss", skew_seconds=-60)
    product.control.set("btsss", "drop", times=1, operation="submitclaim")
    claim = file_claim(product)
    product.work()
    assert claim.state["state"] == "submitted"


def test_a_claim_filed_at_the_kiosk_is_a_duplicate_when_no_reply_of_ours_was_lost(product: Product) -> None:
    """Our first attempt did nothing, the kiosk files, our second is answered *duplicate*: it can only be theirs."""
    product.control.set("btsss", "throttle", times=1, operation="submitclaim")
    claim = file_claim(product)
    product.work(until=lambda: len(product.submits()) == 1)
    plant(product, age_seconds=-5)
    product.work()
    assert (claim.state["state"], texts(product)) == ("duplicate", ["cie.duplicate"])
    assert (len(product.submits()), look_ups(product)) == (2, 0)


@pytest.mark.parametrize("planted", [(), ("983",), ("983", "537"), ("537",)], ids=str)
def test_a_duplicate_is_final_at_once_whatever_the_list_shows(product: Product, planted: tuple[str, ...]) -> None:
    """BTSSS's word is enough while no reply to us was lost, and its list is not even read (contract: travel 4.1)."""
    says_duplicate(product)
    for station in planted:
        plant(product, station=station)
    product.control.set("btsss", "html", operation="GetClaimsStatus")
    claim = file_claim(product)
    product.work()
    assert (claim.state["state"], claim.state["claim_number_last_four"]) == ("duplicate", None)
    assert (texts(product), product.cases()) == (["cie.duplicate"], [])
    assert sends(product)[0]["personalisation"]["claim_number"] == "unknown"
    assert (len(product.submits()), look_ups(product)) == (1, 0)
    (attempt,) = product.rows("SELECT status, error_class, http_status FROM outbox_attempts WHERE upstream = 'btsss'")
    assert tuple(attempt) == ("success", "Duplicate", 400)


def test_a_duplicate_whose_answer_came_late_is_used_without_another_submit(product: Product) -> None:
    says_duplicate(product)
    claim = file_claim(product)
    granted = take(product, claim)
    outcome = call(product, granted)
    lose(product, granted)
    runner.finish(SUBMIT, granted, outcome)
    product.work()
    assert (claim.state["state"], texts(product)) == ("duplicate", ["cie.duplicate"])
    assert (len(product.submits()), look_ups(product), product.cases()) == (1, 0, [])


def test_a_duplicate_after_a_lost_reply_may_be_ours_and_is_looked_up(product: Product) -> None:
    """The reply was lost, the claim was not on file twice, and the next try is a duplicate: now the time decides."""
    lost(product)
    claim = file_claim(product)
    product.work(until=lambda: claim.message["not_found_count"] == 1)
    says_duplicate(product)
    product.work(until=lambda: len(product.submits()) == 2)
    plant(product, age_seconds=-30)
    product.work()
    assert (claim.state["state"], texts(product)) == ("submitted", ["cie.created"])
    assert product.rows("SELECT 1 FROM outbox_history WHERE detail->>'how' = 'presumed'")


def test_a_claim_at_another_station_only_keeps_the_question_open(product: Product) -> None:
    lost(product)
    claim = file_claim(product)
    plant(product, station="537")
    assert_open(product, claim)
    plant(product, age_seconds=-30)
    product.work()
    assert (claim.state["state"], len(product.submits())) == ("submitted", 1)


def test_several_claims_at_our_station_keep_the_question_open(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost(product)
    claim = file_claim(product)
    plant(product)
    claims = product.fakes.fakes.btsss.claims
    both = [twin for each in claims.everything() for twin in (each, replace(each, number=claims.next_number()))]
    monkeypatch.setattr(claims, "between", lambda *_: both)
    assert_open(product, claim)


def test_no_claim_found_after_a_lost_reply_and_a_duplicate_keeps_the_question_open(product: Product) -> None:
    lost(product)
    claim = file_claim(product)
    product.work(until=lambda: claim.message["not_found_count"] == 1)
    says_duplicate(product)
    product.work(until=lambda: len(product.submits()) == 2)
    assert_open(product, claim, why="duplicate", submits=2)
    reasons = product.rows("SELECT DISTINCT error_detail FROM outbox_attempts WHERE purpose = 'look_up'")
    assert ("none on file after a duplicate answer",) in [tuple(row) for row in reasons]


def test_an_unknown_claim_status_keeps_the_question_open_until_it_is_a_known_one(product: Product) -> None:
    product.control.turn("btsss", claim_status="Beamed")
    product.control.set("btsss", "drop", times=1, operation="submitclaim")
    claim = file_claim(product)
    assert_open(product, claim)
    (filed,) = product.filed()
    product.control.call("PATCH", "btsss", f"claims/{filed['number']}", json={"claimStatus": "InManualReview"})
    product.work()
    assert (claim.state["state"], texts(product)) == ("submitted", ["cie.created"])


@pytest.mark.parametrize("fault", [{"kind": "half"}, {"kind": "status", "status": 500}])
def test_a_failed_look_up_keeps_the_question_open(product: Product, fault: dict[str, Any]) -> None:
    product.control.set("btsss", "drop", times=1, operation="submitclaim")
    product.control.set("btsss", **fault, operation="GetClaimsStatus")
    claim = file_claim(product)
    assert_open(product, claim)
    product.control.clear("btsss")
    product.work()
    assert (claim.state["state"], len(product.submits()), len(product.filed())) == ("submitted", 1, 1)


def test_a_refused_look_up_refuses_no_claim(product: Product) -> None:
    product.control.set("btsss", "drop", times=1, operation="submitclaim")
    product.control.set("btsss", "status", status=400, operation="GetClaimsStatus")
    assert_open(product, file_claim(product))


def test_a_claim_is_sent_again_once_after_two_late_enough_look_ups_found_nothing(product: Product) -> None:
    reconfigure(product, btsss_confirm_seconds=3600.0)
    lost(product)
    claim = file_claim(product)
    assert_open(product, claim)
    assert claim.message["not_found_count"] == 0
    seen = look_ups(product)
    product.move_clock(timedelta(hours=1, seconds=5))
    product.work()
    found_absent = product.rows(
        "SELECT id FROM outbox_attempts WHERE purpose = 'look_up' AND error_detail IS NULL AND status = 'error'"
    )
    assert (look_ups(product), len(found_absent)) == (seen + 2, 2)
    assert (claim.state["state"], len(product.submits()), len(product.filed())) == ("submitted", 2, 1)
    assert texts(product) == ["cie.created"]


def test_an_unclear_answer_between_two_not_found_resets_the_count(product: Product) -> None:
    """Twice means twice in a row: a failed look-up between them proves nothing."""
    lost(product)
    claim = file_claim(product)
    product.work(until=lambda: claim.message["not_found_count"] == 1)
    product.control.set("btsss", "html", times=1, operation="GetClaimsStatus")
    product.work(
        until=lambda: product.value("SELECT count(*) FROM outbox_attempts WHERE error_class = 'Unavailable'") == 1
    )
    assert claim.message["not_found_count"] == 0
    product.work()
    assert len(product.submits()) == 2


def test_a_second_lost_reply_opens_the_question_again(product: Product) -> None:
    product.control.set("btsss", "status", status=500, times=2, operation="submitclaim")
    claim = file_claim(product)
    product.work()
    assert (claim.state["state"], len(product.submits()), len(product.filed())) == ("submitted", 3, 1)
    assert look_ups(product) >= 4


def test_a_look_up_queries_that_person_and_day(product: Product) -> None:
    product.control.set("btsss", "drop", times=1, operation="submitclaim")
    file_claim(product)
    product.work()
    claim = product.control.received("btsss", "GetClaimsStatus")[0]["body"]
    assert (claim["vetId"], claim["startRangeDate"], claim["endRangeDate"]) == (
        ADA.icn,
        APPOINTMENT_DATE,
        APPOINTMENT_DATE,
    )


def test_of_two_claims_for_one_day_a_duplicate_may_be_the_other(product: Product) -> None:
    """BTSSS's submit names no station, so its word is enough only for the one claim of that day."""
    claim = file_claim(product)
    with transaction() as session:
        alone = travel_claims.load(session, claim.id)
    copied = "gen_random_uuid(), person_digest, 'another station', appointment_date, identity, state"
    columns = "id, person_digest, station_digest, appointment_date, identity, state"
    product.rows(f"INSERT INTO travel_claims ({columns}) SELECT {copied} FROM travel_claims RETURNING 1")
    with transaction() as session:
        one_of_two = travel_claims.load(session, claim.id)
    assert alone is not None and one_of_two is not None
    assert travel_claims.already_there(alone) is not None
    assert travel_claims.already_there(one_of_two) is None


def test_of_two_stations_on_one_day_a_duplicate_is_the_answer_unless_the_other_is_ours(product: Product) -> None:
    """Nothing of ours was lost, accepted or under way: what BTSSS has is somebody else's, for both."""
    afternoon = Appointment(ien="461", station="442", start="13:00")
    other = replace(ADA, uuid=str(uuid.uuid4()), icn="1012345678V123456")
    for person, first_is_filed in ((ADA, False), (other, True)):
        who = replace(person, appointments=(ADA.appointments[0], afternoon))
        product.fakes.fakes.cast.add(who)
        client = product.sign_in(who)
        product.ask(client, who, f"{APPOINTMENT_DATE}T09:30:00")
        if first_is_filed:
            # The fake refuses, as BTSSS does, what could be either of two appointments.
            product.fakes.fakes.cast.add(replace(who, appointments=ADA.appointments))
            product.work()
        product.control.call("POST", "btsss", "outcomes", json={"icn": who.icn, "outcome": "duplicate"})
        assert product.ask(client, who, f"{APPOINTMENT_DATE}T13:00:00").status_code == 202
        product.work(until=looked_up(product, 4) if first_is_filed else None)
    states = product.rows("SELECT state, unconfirmed FROM travel_claims ORDER BY requested_at")
    assert [tuple(each) for each in states] == [
        ("duplicate", False),
        ("duplicate", False),
        ("submitted", False),
        ("pending", False),
    ]
    assert (texts(product, 3), product.cases()) == (["cie.duplicate", "cie.duplicate", "cie.created"], [])
