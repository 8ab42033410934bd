"""The text to the person: its recipient and its reference; it is looked up before it is sent again and never lost."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flaskapp.db import transaction
from flaskapp.notifications.service import record_given_up, supersede_notifications
from flaskapp.requeue import requeue_message
from sandbox.upstreams.cast import DEFAULT_CAST
from sandbox.upstreams.scenarios import with_habit
from tests.integration.steps import (
    RequestedClaim,
    command,
    file_claim,
    filed_and_not_notified_yet,
    reconfigure,
    sends,
    sweep,
    texts,
)
from tests.product import ADA, Product, eventually

THREE_DAYS = timedelta(days=3, minutes=1)


def notification(product: Product) -> dict[str, Any]:
    (row,) = product.rows("SELECT * FROM notifications")
    return dict(row._mapping)


def delivered_text(product: Product) -> RequestedClaim:
    """A claim that was filed and whose text VANotify has delivered, without any callback to us."""
    claim = file_claim(product)
    product.work()
    product.phone()
    return claim


def ended_at_va_notify(product: Product, status: str) -> Any:
    return lambda: [m for m in product.control.call("GET", "va_notify", "notifications") if m["status"] == status]


# -- sending ------------------------------------------------------------------


def test_a_text_goes_by_icn_unless_a_setting_says_by_phone(product: Product) -> None:
    delivered_text(product)
    assert sends(product)[0]["recipient_identifier"] == {"id_type": "ICN", "id_value": ADA.icn}
    assert "phone_number" not in sends(product)[0]
    reconfigure(product, sms_recipient="phone")
    file_claim(product, date="2031-03-05")
    product.work()
    assert sends(product)[1]["phone_number"] == ADA.phone
    assert "recipient_identifier" not in sends(product)[1]


def test_a_person_without_a_phone_is_addressed_by_icn_in_any_case(product: Product) -> None:
    reconfigure(product, sms_recipient="phone")
    silent = replace(ADA, phone=None)
    product.fakes.fakes.cast.add(silent)
    file_claim(product, silent)
    product.work()
    assert sends(product)[0]["recipient_identifier"]["id_value"] == ADA.icn


def test_a_phone_number_that_va_notify_refuses_is_not_the_last_word(product: Product) -> None:
    """Check-in has what a clerk typed once; VANotify finds the person by ICN."""
    reconfigure(product, sms_recipient="phone")
    typed = replace(ADA, phone="555-0100 HOME")
    product.fakes.fakes.cast.add(typed)
    file_claim(product, typed)
    product.work()
    assert [set(sent) & {"phone_number", "recipient_identifier"} for sent in sends(product)] == [
        {"phone_number"},
        {"recipient_identifier"},
    ]
    assert (notification(product)["state"], product.cases()) == ("sent", [])


def test_every_send_carries_the_notifications_id_as_reference(product: Product) -> None:
    product.control.set("va_notify", "throttle", times=2, operation="POST")
    delivered_text(product)
    assert len(sends(product)) == 3
    assert {sent["reference"] for sent in sends(product)} == {str(notification(product)["id"])}
    assert notification(product)["state"] == "sent"


def test_a_send_whose_reply_was_lost_is_found_by_its_reference_and_not_repeated(product: Product) -> None:
    product.control.set("va_notify", "drop", times=1, operation="POST")
    delivered_text(product)
    queries = [entry["query"] for entry in product.control.received("va_notify", "GET")]
    assert {"reference": str(notification(product)["id"])} in queries
    assert (len(sends(product)), len(product.phone())) == (1, 1)
    assert notification(product)["va_notify_id"] is not None


def test_a_send_that_did_not_happen_is_looked_up_twice_and_then_repeated_once(product: Product) -> None:
    product.control.set("va_notify", "status", status=500, times=1, operation="POST")
    delivered_text(product)
    assert (len(sends(product)), len(product.phone())) == (2, 1)
    assert len(product.control.received("va_notify", "GET")) >= 2


def test_nothing_is_sent_again_while_the_look_up_is_down(product: Product) -> None:
    product.control.set("va_notify", "drop", times=1, operation="POST")
    product.control.set("va_notify", "html", operation="GET")
    file_claim(product)
    product.work(until=lambda: len(product.control.received("va_notify", "GET")) >= 3)
    assert (len(sends(product)), notification(product)["state"]) == (1, "pending")
    product.control.clear("va_notify")
    product.work()
    assert (len(sends(product)), len(product.phone())) == (1, 1)


def test_a_failing_text_does_not_file_the_claim_again(product: Product) -> None:
    product.control.set("va_notify", "refuse")
    file_claim(product)
    product.work(until=lambda: product.value("SELECT count(*) >= 2 FROM outbox_attempts WHERE upstream = 'va_notify'"))
    product.control.clear("va_notify")
    product.work()
    assert (len(product.submits()), texts(product)) == (1, ["cie.created"])


# -- not sent -----------------------------------------------------------------


def test_a_text_that_va_notify_refuses_opens_a_case_and_can_be_requeued(product: Product) -> None:
    product.control.call("POST", "va_notify", "outcomes", json={"recipient": ADA.icn, "status": "refused"})
    claim = file_claim(product)
    product.work()
    assert (claim.state["state"], product.cases(), notification(product)["state"]) == (
        "submitted",
        ["notification_not_sent"],
        "undeliverable",
    )
    assert command(product, "audit").exit_code == 0
    (parked,) = product.messages()
    product.fakes.fakes.va_notify.lifecycle.reset()
    assert command(product, "outbox", "requeue", str(parked["id"])).exit_code == 0
    assert notification(product)["state"] == "pending"
    product.work()
    assert (texts(product), product.cases(), notification(product)["state"]) == (["cie.created"], [], "sent")


def test_a_text_whose_template_is_broken_at_va_notify_waits_until_it_is_mended(product: Product) -> None:
    """What was recorded, answered to every text: nobody is given up for it, and nobody requeues anything afterwards."""
    broken = {"status_code": 400, "errors": [{"error": "BadRequestError", "message": "Missing personalisation: baz"}]}
    product.control.set("va_notify", "answer", status=400, body=json.dumps(broken), operation="POST")
    file_claim(product)
    product.work(until=lambda: product.value("SELECT count(*) >= 2 FROM outbox_attempts WHERE upstream = 'va_notify'"))
    assert (notification(product)["state"], product.cases()) == ("pending", [])
    product.control.clear("va_notify")
    product.work()
    assert (texts(product), notification(product)["state"], product.cases()) == (["cie.created"], "sent", [])


def test_a_notification_without_a_template_waits_for_the_setting(product: Product) -> None:
    """And says nothing about VANotify: whatever has its template goes out meanwhile."""
    templates = product.app.extensions["config"].vanotify_templates
    reconfigure(product, vanotify_templates={})
    for veteran in DEFAULT_CAST[:3]:
        file_claim(product, veteran)
    product.work(until=lambda: product.value("SELECT count(*) >= 6 FROM outbox_attempts WHERE upstream = 'va_notify'"))
    states = product.rows("SELECT DISTINCT state FROM notifications")
    assert ([tuple(row) for row in states], product.cases(), sends(product)) == ([("pending",)], [], [])
    assert product.value("SELECT count(*) FROM outbox_breakers WHERE opened_at IS NOT NULL") == 0
    reconfigure(product, vanotify_templates=templates)
    product.work()
    assert (texts(product, 3), product.cases()) == (["cie.created"] * 3, [])


def test_a_text_that_va_notify_never_accepts_opens_a_case_at_the_end(product: Product) -> None:
    product.control.set("va_notify", "refuse")
    claim = file_claim(product)
    product.work(until=lambda: product.value("SELECT count(*) FROM outbox_attempts WHERE upstream = 'va_notify'"))
    product.move_clock(timedelta(days=3, hours=1))
    sweep(product)
    assert "notification_not_sent" in product.cases()
    assert (notification(product)["state"], claim.state["state"]) == ("undeliverable", "submitted")


# -- delivery ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("habit", "facility", "why"),
    [
        ("blocked", "vista", "Undeliverable - blocked"),
        ("unreachable", "oh", "Retryable - unreachable"),
        ("no_contact", "vista", "Undeliverable - no contact info"),
    ],
)
def test_a_text_that_never_arrived_is_detected_after_three_days(
    product: Product, habit: str, facility: str, why: str
) -> None:
    claim = file_claim(product, with_habit(habit, facility))
    product.work()
    status = "temporary-failure" if habit == "unreachable" else "permanent-failure"
    eventually(ended_at_va_notify(product, status))
    assert (notification(product)["state"], product.cases()) == ("sent", [])
    product.move_clock(THREE_DAYS)
    sweep(product)
    product.work()
    assert (notification(product)["state"], product.cases()) == ("undeliverable", ["notification_undeliverable"])
    (details,) = product.rows("SELECT details FROM cases")
    assert details[0] == {"about": "travel_claim", "subject": claim.id, "notification": "created", "why": why}


def test_a_declined_text_of_which_no_callback_says_so_is_detected_after_three_days(product: Product) -> None:
    declined = {"recipient": ADA.phone, "status": "preferences-declined"}
    product.control.call("POST", "va_notify", "outcomes", json=declined)
    file_claim(product)
    product.work()
    eventually(ended_at_va_notify(product, "preferences-declined"))
    product.move_clock(THREE_DAYS)
    sweep(product)
    product.work()
    row = notification(product)
    assert (row["state"], row["upstream_status"]) == ("undeliverable", "preferences-declined")
    assert (product.cases(), len(sends(product))) == (["notification_undeliverable"], 1)


def test_a_delivered_text_is_checked_once_and_closed(product: Product) -> None:
    delivered_text(product)
    eventually(ended_at_va_notify(product, "delivered"))
    before = len(product.control.received("va_notify", "GET"))
    product.move_clock(timedelta(days=2, hours=23))
    sweep(product)
    assert product.outstanding() == 0
    product.move_clock(THREE_DAYS)
    for _ in range(2):
        sweep(product)
    assert product.outstanding() == 1
    product.work()
    assert (notification(product)["state"], product.cases()) == ("delivered", [])
    assert len(product.control.received("va_notify", "GET")) == before + 1


def test_a_text_that_va_notify_no_longer_knows_opens_a_case(product: Product) -> None:
    delivered_text(product)
    product.fakes.fakes.va_notify.reset()
    product.move_clock(THREE_DAYS)
    sweep(product)
    product.work()
    assert (notification(product)["state"], product.cases()) == ("undeliverable", ["notification_undeliverable"])


def check_given_up(product: Product) -> int:
    """A delivered text about which VANotify could not be queried for days; returns the parked check."""
    delivered_text(product)
    product.move_clock(THREE_DAYS)
    product.control.set("va_notify", "refuse")
    sweep(product)
    product.work(until=lambda: product.value("SELECT count(*) FROM outbox_attempts WHERE job LIKE '%check_delivery'"))
    product.move_clock(timedelta(days=7))
    sweep(product)
    product.control.clear("va_notify")
    assert "notification_undeliverable" in product.cases()
    (parked,) = product.messages()
    return int(parked["id"])


def test_a_requeued_delivery_check_queries_again_and_sends_nothing(product: Product) -> None:
    """The text was accepted long ago: only the check was given up."""
    parked = check_given_up(product)
    requeue_message(parked, actor="ana")
    product.work()
    assert notification(product)["state"] == "delivered"
    assert "notification_undeliverable" not in product.cases()
    assert len(sends(product)) == 1


def test_the_case_of_a_superseded_notification_says_that_it_is_out_of_date(product: Product) -> None:
    claim = filed_and_not_notified_yet(product)
    product.rows(
        "UPDATE outbox_messages SET unresolved_since = outbox_now(), unresolved_why = 'unanswered' RETURNING 1"
    )
    (notification,) = product.rows("SELECT id::text AS id FROM notifications")
    with transaction() as session:
        supersede_notifications(session, "travel_claim", claim.id, "it is taken up again", "operator")
        record_given_up(session, notification.id, "may_exist_upstream")
    query = "SELECT details ->> 'superseded' FROM cases WHERE kind = 'notification_not_sent'"
    assert product.value(query) == "it is taken up again"
