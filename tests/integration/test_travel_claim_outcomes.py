"""Outcomes of a travel claim, from the form to the text message, for both kinds of facility."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sandbox.upstreams.cast import Veteran
from sandbox.upstreams.scenarios import with_habit
from sandbox.upstreams.settings import FakeSettings
from tests.integration.steps import LATER_THAN_EVER, file_claim, look_ups, sends, sweep, texts
from tests.product import ADA, APPOINTMENT_DATE, Product

KNOWN = FakeSettings()
VISTA, OH = with_habit("ok", "vista"), with_habit("ok", "oh")


def works(product: Product) -> None:
    """Nothing is broken."""


def filed_before(product: Product) -> None:
    product.control.play("btsss", "duplicate")


def refuses(product: Product) -> None:
    product.control.play("btsss", "refused")


def loses_the_reply_of_a_denied_claim(product: Product) -> None:
    product.control.turn("btsss", claim_status="Denied")
    product.control.set("btsss", "drop", times=1, operation="submitclaim")


def loses_the_reply_and_all_look_ups(product: Product) -> None:
    product.control.set("btsss", "drop", times=1, operation="submitclaim")
    product.control.set("btsss", "html", operation="GetClaimsStatus")


def run_out_of_time(product: Product) -> None:
    """After the first attempt, let five days pass."""
    product.work(until=lambda: product.value("SELECT count(*) FROM outbox_attempts") > 1)
    product.move_clock(LATER_THAN_EVER)
    sweep(product)


@pytest.mark.parametrize("veteran", [VISTA, OH], ids=["cie", "oh"])
@pytest.mark.parametrize(
    ("prepare", "state", "notification", "cases"),
    [
        (works, "submitted", "created", []),
        (filed_before, "duplicate", "duplicate", []),
        (refuses, "failed", "error", ["refused"]),
        (loses_the_reply_of_a_denied_claim, "submitted", "denied", []),
        (loses_the_reply_and_all_look_ups, "failed", "unconfirmed", ["may_exist_upstream"]),
    ],
)
def test_every_outcome_has_its_state_its_template_and_its_case(
    product: Product,
    veteran: Veteran,
    prepare: Callable[[Product], None],
    state: str,
    notification: str,
    cases: list[str],
) -> None:
    prepare(product)
    claim = file_claim(product, veteran)
    if notification == "unconfirmed":
        run_out_of_time(product)
    product.work()
    facility = "oh" if veteran is OH else "cie"
    assert claim.state["state"] == state
    assert claim.state["unconfirmed"] is (notification == "unconfirmed")
    assert texts(product) == [f"{facility}.{notification}"]
    assert product.cases() == cases
    (sent,) = sends(product)
    assert sent["recipient_identifier"] == {"id_type": "ICN", "id_value": veteran.icn}
    sender = KNOWN.vanotify_sms_sender_id_oh if veteran is OH else KNOWN.vanotify_sms_sender_id
    client_number = KNOWN.btsss_client_number_oh if veteran is OH else KNOWN.btsss_client_number
    assert sent["sms_sender_id"] == sender
    assert [submit["body"]["ClientNumber"] for submit in product.submits()] == [client_number]


def test_the_text_about_a_created_claim_has_its_number_and_date(product: Product) -> None:
    claim = file_claim(product)
    product.work()
    number = product.filed()[0]["number"]
    assert claim.state["claim_number_last_four"] == number[-4:]
    (text,) = product.phone()
    assert number[-4:] in text["body"] and number not in text["body"]
    assert "Mar 04" in text["body"]
    assert text["to"] == ADA.phone
    assert product.submits()[0]["body"]["Appointment"] == {"AppointmentDateTime": APPOINTMENT_DATE}


def test_an_unknown_claim_number_is_called_unknown(product: Product) -> None:
    refuses(product)
    file_claim(product)
    product.work()
    assert sends(product)[0]["personalisation"] == {"claim_number": "unknown", "appt_date": "Mar 04"}


def test_a_claim_accepted_without_a_number_is_filed_once_and_its_person_is_told(product: Product) -> None:
    product.control.turn("btsss", number_in="nowhere")
    claim = file_claim(product)
    product.work()
    assert (claim.state["state"], claim.state["claim_number_last_four"]) == ("submitted", None)
    assert (texts(product), product.cases()) == (["cie.created"], [])
    assert sends(product)[0]["personalisation"]["claim_number"] == "unknown"
    assert (len(product.submits()), look_ups(product), len(product.filed())) == (1, 0, 1)


@pytest.mark.parametrize("planned", ["not_found", "multiple"])
def test_a_claim_that_btsss_cannot_match_is_refused_and_the_reason_is_kept(product: Product, planned: str) -> None:
    product.control.call("POST", "btsss", "outcomes", json={"icn": ADA.icn, "outcome": planned})
    claim = file_claim(product)
    product.work()
    assert (claim.state["state"], product.cases(), texts(product)) == ("failed", ["refused"], ["cie.error"])
    (attempt,) = product.rows("SELECT status, error_class FROM outbox_attempts WHERE upstream = 'btsss'")
    assert tuple(attempt) == ("error", "Rejected")
    assert claim.message["state"] == "parked"


def test_a_lost_reply_is_looked_up_and_notified_as_created(product: Product) -> None:
    product.control.set("btsss", "drop", times=1, operation="submitclaim")
    claim = file_claim(product)
    product.work()
    (filed,) = product.filed()
    assert claim.state["state"] == "submitted"
    assert texts(product) == ["cie.created"]
    assert filed["number"][-4:] in product.phone()[0]["body"]
    assert len(product.submits()) == 1


@pytest.mark.parametrize(
    ("upstream", "fault"),
    [("veis", "drop"), ("btsss", "refuse"), ("btsss", "throttle")],
)
def test_a_call_that_did_nothing_is_simply_repeated(product: Product, upstream: str, fault: str) -> None:
    """Nothing was done, so nothing is looked up, and no attempt is an open question."""
    product.control.set(upstream, fault)
    claim = file_claim(product)
    product.work(until=lambda: product.value("SELECT count(*) FROM outbox_attempts WHERE finished_at IS NOT NULL") > 0)
    assert claim.state["state"] == "pending"
    product.control.clear(upstream)
    product.work()
    assert texts(product) == ["cie.created"]
    assert product.control.received("btsss", "GetClaimsStatus") == []
    assert product.value("SELECT count(*) FROM outbox_attempts WHERE status = 'unknown'") == 0
