"""The text that tells the person: to whom, under which reference, found again before any re-send, never lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flaskapp.db import transaction
from flaskapp.notifications.service import record_given_up, supersede_notifications
from flaskapp.requeue import reopen
from sandbox.scenarios import with_habit
from tests.integration.steps import (
    RequestedAppointment,
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


def reported(product: Product) -> RequestedAppointment:
    """A claim that was filed and whose text VANotify has delivered, without any callback to us."""
    requested = file_claim(product)
    product.work()
    product.phone()
    return requested


def ended_at_va_notify(product: Product, status: str) -> Any:
    return lambda: [m for m in product.control.call("GET", "va_notify", "notifications") if m["status"] == status]


# -- sending ------------------------------------------------------------------


def test_by_icn_as_a_rule_and_by_phone_where_a_setting_says_so(product: Product) -> None:
    reported(product)
    assert sends(product)[0]["recipient_identifier"] == {"id_type": "ICN", "id_value": ADA.icn}
    assert "phone_number" not in sends(product)[0]
    reconfigure(product, sms_recipient="phone")
    file_claim(product, date="2031-03-05")
    product.work()
    assert sends(product)[1]["phone_number"] == ADA.phone
    assert "recipient_identifier" not in sends(product)[1]


def test_somebody_without_a_phone_is_addressed_by_icn_all_the_same(product: Product) -> None:
    reconfigure(product, sms_recipient="phone")
    silent = replace(ADA, phone=None)
    product.fakes.fakes.cast.add(silent)
    file_claim(product, silent)
    product.work()
    assert sends(product)[0]["recipient_identifier"]["id_value"] == ADA.icn


def test_the_reference_of_every_send_is_the_notifications_id(product: Product) -> None:
    product.control.set("va_notify", "throttle", times=2, operation="POST")
    reported(product)
    assert len(sends(product)) == 3
    assert {sent["reference"] for sent in sends(product)} == {str(notification(product)["id"])}
    assert notification(product)["state"] == "sent"


def test_a_send_whose_reply_was_lost_is_found_by_its_reference_and_not_repeated(product: Product) -> None:
    product.control.set("va_notify", "drop", times=1, operation="POST")
    reported(product)
    requested_for = [entry["query"] for entry in product.control.received("va_notify", "GET")]
    assert {"reference": str(notification(product)["id"])} in requested_for
    assert (len(sends(product)), len(product.phone())) == (1, 1)
    assert notification(product)["va_notify_id"] is not None


def test_a_send_that_did_not_happen_is_looked_up_twice_and_then_repeated_once(product: Product) -> None:
    product.control.set("va_notify", "status", status=500, times=1, operation="POST")
    reported(product)
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


def test_a_failing_text_files_no_claim_twice(product: Product) -> None:
    product.control.set("va_notify", "refuse")
    file_claim(product)
    product.work(until=lambda: product.value("SELECT count(*) >= 2 FROM outbox_attempts WHERE upstream = 'va_notify'"))
    product.control.clear("va_notify")
    product.work()
    assert (len(product.submits()), texts(product)) == (1, ["cie.created"])


# -- not sent -----------------------------------------------------------------


def test_a_text_va_notify_refuses_opens_a_case_and_can_be_requeued(product: Product) -> None:
    product.control.call("POST", "va_notify", "outcomes", json={"recipient": ADA.icn, "status": "refused"})
    requested = file_claim(product)
    product.work()
    assert (requested.state["state"], product.cases(), notification(product)["state"]) == (
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


def test_a_notification_without_a_template_opens_a_case_before_anything_is_sent(product: Product) -> None:
    reconfigure(product, vanotify_templates={})
    file_claim(product)
    product.work()
    assert (product.cases(), sends(product)) == (["notification_not_sent"], [])


def test_a_text_va_notify_never_takes_opens_a_case_at_the_end(product: Product) -> None:
    product.control.set("va_notify", "refuse")
    requested = file_claim(product)
    product.work(until=lambda: product.value("SELECT count(*) FROM outbox_attempts WHERE upstream = 'va_notify'"))
    product.move_clock(timedelta(days=3, hours=1))
    sweep(product)
    assert "notification_not_sent" in product.cases()
    assert (notification(product)["state"], requested.state["state"]) == ("undeliverable", "submitted")


# -- what became of it --------------------------------------------------------


@pytest.mark.parametrize(("habit", "facility"), [("blocked", "vista"), ("unreachable", "oh"), ("no_contact", "vista")])
def test_a_text_that_never_arrived_is_found_out_after_three_days(product: Product, habit: str, facility: str) -> None:
    requested = file_claim(product, with_habit(habit, facility))
    product.work()
    status = "temporary-failure" if habit == "unreachable" else "permanent-failure"
    eventually(ended_at_va_notify(product, status))
    assert (notification(product)["state"], product.cases()) == ("sent", [])
    product.move_clock(THREE_DAYS)
    sweep(product)
    product.work()
    assert (notification(product)["state"], product.cases()) == ("undeliverable", ["notification_undeliverable"])
    (details,) = product.rows("SELECT details FROM cases")
    assert details[0] == {"about": "travel_claim", "subject": requested.id, "notification": "created"}


def test_a_text_that_arrived_is_queried_after_once_and_closed(product: Product) -> None:
    reported(product)
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


def test_a_text_va_notify_does_not_know_any_more_opens_a_case(product: Product) -> None:
    reported(product)
    product.fakes.fakes.va_notify.reset()
    product.move_clock(THREE_DAYS)
    sweep(product)
    product.work()
    assert (notification(product)["state"], product.cases()) == ("undeliverable", ["notification_undeliverable"])


def given_up_asking(product: Product) -> int:
    """A delivered text about which VANotify could not be asked for days; returns the parked question."""
    reported(product)
    product.move_clock(THREE_DAYS)
    product.control.set("va_notify", "refuse")
    sweep(product)
    product.work(until=lambda: product.value("SELECT count(*) FROM outbox_attempts WHERE job LIKE '%ask_delivery'"))
    product.move_clock(timedelta(days=7))
    sweep(product)
    product.control.clear("va_notify")
    assert "notification_undeliverable" in product.cases()
    (parked,) = product.messages()
    return int(parked["id"])


def test_a_requeued_question_asks_again_and_sends_nothing(product: Product) -> None:
    """The text was taken long ago: only the question about it was given up."""
    parked = given_up_asking(product)
    reopen(parked, actor="ana")
    product.work()
    assert notification(product)["state"] == "delivered"
    assert "notification_undeliverable" not in product.cases()
    assert len(sends(product)) == 1


def test_whoever_is_to_tell_the_person_instead_learns_that_it_is_not_so_any_more(product: Product) -> None:
    requested = filed_and_not_notified_yet(product)
    product.rows(
        "UPDATE outbox_messages SET unresolved_since = outbox_now(), unresolved_why = 'unanswered' RETURNING 1"
    )
    (notification,) = product.rows("SELECT id::text AS id FROM notifications")
    with transaction() as session:
        supersede_notifications(session, "travel_claim", requested.id, "it is taken up again", "operator")
        record_given_up(session, notification.id, "may_exist_upstream")
    query = "SELECT details ->> 'superseded' FROM cases WHERE kind = 'notification_not_sent'"
    assert product.value(query) == "it is taken up again"
