"""A claim from the form to the text message, in every way it can end, for both kinds of facility."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sandbox.scenarios import with_habit
from sandbox.upstreams.cast import Veteran
from sandbox.upstreams.settings import FakeSettings
from tests.integration.steps import LATER_THAN_EVER, file_claim, sends, sweep, texts
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


def loses_the_reply_and_then_says_no_more(product: Product) -> None:
    product.control.set("btsss", "drop", times=1, operation="submitclaim")
    product.control.set("btsss", "html", operation="GetClaimsStatus")


def run_out_of_time(product: Product) -> None:
    """Once the claim has been tried, five days pass."""
    product.work(until=lambda: product.value("SELECT count(*) FROM outbox_attempts") > 1)
    product.move_clock(LATER_THAN_EVER)
    sweep(product)


@pytest.mark.parametrize("veteran", [VISTA, OH], ids=["cie", "oh"])
@pytest.mark.parametrize(
    ("happens", "state", "notification", "cases"),
    [
        (works, "submitted", "created", []),
        (filed_before, "duplicate", "duplicate", []),
        (refuses, "failed", "error", ["refused"]),
        (loses_the_reply_of_a_denied_claim, "submitted", "denied", []),
        (loses_the_reply_and_then_says_no_more, "failed", "unconfirmed", ["may_exist_upstream"]),
    ],
)
def test_every_outcome_has_its_state_its_template_and_its_case(
    product: Product,
    veteran: Veteran,
    happens: Callable[[Product], None],
    state: str,
    notification: str,
    cases: list[str],
) -> None:
    happens(product)
    requested = file_claim(product, veteran)
    if notification == "unconfirmed":
        run_out_of_time(product)
    product.work()
    facility = "oh" if veteran is OH else "cie"
    assert requested.state["state"] == state
    assert requested.state["unconfirmed"] is (notification == "unconfirmed")
    assert texts(product) == [f"{facility}.{notification}"]
    assert product.cases() == cases
    (sent,) = sends(product)
    assert sent["recipient_identifier"] == {"id_type": "ICN", "id_value": veteran.icn}
    sender = KNOWN.vanotify_sms_sender_id_oh if veteran is OH else KNOWN.vanotify_sms_sender_id
    client_number = KNOWN.btsss_client_number_oh if veteran is OH else KNOWN.btsss_client_number
    assert sent["sms_sender_id"] == sender
    assert [submit["body"]["ClientNumber"] for submit in product.submits()] == [client_number]


def test_a_created_claim_is_notified_with_its_number_and_date(product: Product) -> None:
    requested = file_claim(product)
    product.work()
    number = product.filed()[0]["number"]
    assert requested.state["claim_number_last_four"] == number[-4:]
    (text,) = product.phone()
    assert number[-4:] in text["body"] and number not in text["body"]
    assert "Mar 04" in text["body"]
    assert text["to"] == ADA.phone
    assert product.submits()[0]["body"]["Appointment"] == {"AppointmentDateTime": APPOINTMENT_DATE}


def test_a_claim_number_nobody_knows_is_notified_as_unknown(product: Product) -> None:
    refuses(product)
    file_claim(product)
    product.work()
    assert sends(product)[0]["personalisation"] == {"claim_number": "unknown", "appt_date": "Mar 04"}


@pytest.mark.parametrize("planned", ["not_found", "multiple"])
def test_what_btsss_cannot_match_is_refused_with_its_reason_kept(product: Product, planned: str) -> None:
    product.control.call("POST", "btsss", "outcomes", json={"icn": ADA.icn, "outcome": planned})
    requested = file_claim(product)
    product.work()
    assert (requested.state["state"], product.cases(), texts(product)) == ("failed", ["refused"], ["cie.error"])
    (attempt,) = product.rows("SELECT status, error_class FROM outbox_attempts WHERE upstream = 'btsss'")
    assert tuple(attempt) == ("error", "Rejected")
    assert requested.message["state"] == "parked"


def test_a_lost_reply_is_looked_up_and_notified_as_created(product: Product) -> None:
    product.control.set("btsss", "drop", times=1, operation="submitclaim")
    requested = file_claim(product)
    product.work()
    (filed,) = product.filed()
    assert requested.state["state"] == "submitted"
    assert texts(product) == ["cie.created"]
    assert filed["number"][-4:] in product.phone()[0]["body"]
    assert len(product.submits()) == 1


@pytest.mark.parametrize(
    ("upstream", "fault"),
    [("veis", "drop"), ("btsss", "refuse"), ("btsss", "throttle")],
)
def test_what_did_nothing_is_simply_tried_again(product: Product, upstream: str, fault: str) -> None:
    """Nothing was done, so nothing is looked up, and no attempt is an open question."""
    product.control.set(upstream, fault)
    requested = file_claim(product)
    product.work(until=lambda: product.value("SELECT count(*) FROM outbox_attempts WHERE finished_at IS NOT NULL") > 0)
    assert requested.state["state"] == "pending"
    product.control.clear(upstream)
    product.work()
    assert texts(product) == ["cie.created"]
    assert product.control.received("btsss", "GetClaimsStatus") == []
    assert product.value("SELECT count(*) FROM outbox_attempts WHERE status = 'unknown'") == 0
