"""The text that tells the person: to whom, under which reference, found again before any re-send, never lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flaskapp.db import transaction
from flaskapp.notifications.service import record_given_up, supersede_notices
from flaskapp.requeue import reopen
from sandbox.scenarios import with_habit
from tests.house import ADA, House, eventually
from tests.integration.steps import (
    Asked,
    command,
    file_claim,
    filed_and_not_told_yet,
    reconfigure,
    sends,
    sweep,
    texts,
)

THREE_DAYS = timedelta(days=3, minutes=1)


def notice(house: House) -> dict[str, Any]:
    (row,) = house.rows("SELECT * FROM notifications")
    return dict(row._mapping)


def told(house: House) -> Asked:
    """A claim that was filed and whose text VANotify has delivered, without any callback to us."""
    asked = file_claim(house)
    house.work()
    house.phone()
    return asked


def ended_at_va_notify(house: House, status: str) -> Any:
    return lambda: [m for m in house.control.call("GET", "va_notify", "notifications") if m["status"] == status]


# -- sending ------------------------------------------------------------------


def test_by_icn_as_a_rule_and_by_phone_where_a_setting_says_so(house: House) -> None:
    told(house)
    assert sends(house)[0]["recipient_identifier"] == {"id_type": "ICN", "id_value": ADA.icn}
    assert "phone_number" not in sends(house)[0]
    reconfigure(house, sms_recipient="phone")
    file_claim(house, date="2031-03-05")
    house.work()
    assert sends(house)[1]["phone_number"] == ADA.phone
    assert "recipient_identifier" not in sends(house)[1]


def test_somebody_without_a_phone_is_addressed_by_icn_all_the_same(house: House) -> None:
    reconfigure(house, sms_recipient="phone")
    silent = replace(ADA, phone=None)
    house.fakes.fakes.cast.add(silent)
    file_claim(house, silent)
    house.work()
    assert sends(house)[0]["recipient_identifier"]["id_value"] == ADA.icn


def test_the_reference_of_every_send_is_the_notices_id(house: House) -> None:
    house.control.set("va_notify", "throttle", times=2, operation="POST")
    told(house)
    assert len(sends(house)) == 3
    assert {sent["reference"] for sent in sends(house)} == {str(notice(house)["id"])}
    assert notice(house)["state"] == "sent"


def test_a_send_whose_reply_was_lost_is_found_by_its_reference_and_not_repeated(house: House) -> None:
    house.control.set("va_notify", "drop", times=1, operation="POST")
    told(house)
    asked_for = [entry["query"] for entry in house.control.received("va_notify", "GET")]
    assert {"reference": str(notice(house)["id"])} in asked_for
    assert (len(sends(house)), len(house.phone())) == (1, 1)
    assert notice(house)["va_notify_id"] is not None


def test_a_send_that_did_not_happen_is_looked_up_twice_and_then_repeated_once(house: House) -> None:
    house.control.set("va_notify", "status", status=500, times=1, operation="POST")
    told(house)
    assert (len(sends(house)), len(house.phone())) == (2, 1)
    assert len(house.control.received("va_notify", "GET")) >= 2


def test_nothing_is_sent_again_while_the_look_up_is_down(house: House) -> None:
    house.control.set("va_notify", "drop", times=1, operation="POST")
    house.control.set("va_notify", "html", operation="GET")
    file_claim(house)
    house.work(until=lambda: len(house.control.received("va_notify", "GET")) >= 3)
    assert (len(sends(house)), notice(house)["state"]) == (1, "pending")
    house.control.clear("va_notify")
    house.work()
    assert (len(sends(house)), len(house.phone())) == (1, 1)


def test_a_failing_text_files_no_claim_twice(house: House) -> None:
    house.control.set("va_notify", "refuse")
    file_claim(house)
    house.work(until=lambda: house.value("SELECT count(*) >= 2 FROM outbox_attempts WHERE upstream = 'va_notify'"))
    house.control.clear("va_notify")
    house.work()
    assert (len(house.submits()), texts(house)) == (1, ["cie.created"])


# -- not sent -----------------------------------------------------------------


def test_a_text_va_notify_refuses_opens_a_case_and_can_be_requeued(house: House) -> None:
    house.control.call("POST", "va_notify", "outcomes", json={"recipient": ADA.icn, "status": "refused"})
    asked = file_claim(house)
    house.work()
    assert (asked.state["state"], house.cases(), notice(house)["state"]) == (
        "submitted",
        ["notice_not_sent"],
        "undeliverable",
    )
    assert command(house, "audit").exit_code == 0
    (parked,) = house.messages()
    house.fakes.fakes.va_notify.lifecycle.reset()
    assert command(house, "outbox", "requeue", str(parked["id"])).exit_code == 0
    assert notice(house)["state"] == "pending"
    house.work()
    assert (texts(house), house.cases(), notice(house)["state"]) == (["cie.created"], [], "sent")


def test_a_notice_without_a_template_opens_a_case_before_anything_is_sent(house: House) -> None:
    reconfigure(house, vanotify_templates={})
    file_claim(house)
    house.work()
    assert (house.cases(), sends(house)) == (["notice_not_sent"], [])


def test_a_text_va_notify_never_takes_opens_a_case_at_the_end(house: House) -> None:
    house.control.set("va_notify", "refuse")
    asked = file_claim(house)
    house.work(until=lambda: house.value("SELECT count(*) FROM outbox_attempts WHERE upstream = 'va_notify'"))
    house.move_clock(timedelta(days=3, hours=1))
    sweep(house)
    assert "notice_not_sent" in house.cases()
    assert (notice(house)["state"], asked.state["state"]) == ("undeliverable", "submitted")


# -- what became of it --------------------------------------------------------


@pytest.mark.parametrize(("habit", "facility"), [("blocked", "vista"), ("unreachable", "oh"), ("no_contact", "vista")])
def test_a_text_that_never_arrived_is_found_out_after_three_days(house: House, habit: str, facility: str) -> None:
    asked = file_claim(house, with_habit(habit, facility))
    house.work()
    status = "temporary-failure" if habit == "unreachable" else "permanent-failure"
    eventually(ended_at_va_notify(house, status))
    assert (notice(house)["state"], house.cases()) == ("sent", [])
    house.move_clock(THREE_DAYS)
    sweep(house)
    house.work()
    assert (notice(house)["state"], house.cases()) == ("undeliverable", ["notice_undeliverable"])
    (details,) = house.rows("SELECT details FROM cases")
    assert details[0] == {"about": "travel_claim", "subject": asked.id, "notice": "created"}


def test_a_text_that_arrived_is_asked_after_once_and_closed(house: House) -> None:
    told(house)
    eventually(ended_at_va_notify(house, "delivered"))
    before = len(house.control.received("va_notify", "GET"))
    house.move_clock(timedelta(days=2, hours=23))
    sweep(house)
    assert house.owed() == 0
    house.move_clock(THREE_DAYS)
    for _ in range(2):
        sweep(house)
    assert house.owed() == 1
    house.work()
    assert (notice(house)["state"], house.cases()) == ("delivered", [])
    assert len(house.control.received("va_notify", "GET")) == before + 1


def test_a_text_va_notify_does_not_know_any_more_opens_a_case(house: House) -> None:
    told(house)
    house.fakes.fakes.va_notify.reset()
    house.move_clock(THREE_DAYS)
    sweep(house)
    house.work()
    assert (notice(house)["state"], house.cases()) == ("undeliverable", ["notice_undeliverable"])


def given_up_asking(house: House) -> int:
    """A delivered text about which VANotify could not be asked for days; returns the parked question."""
    told(house)
    house.move_clock(THREE_DAYS)
    house.control.set("va_notify", "refuse")
    sweep(house)
    house.work(until=lambda: house.value("SELECT count(*) FROM outbox_attempts WHERE job LIKE '%ask_delivery'"))
    house.move_clock(timedelta(days=7))
    sweep(house)
    house.control.clear("va_notify")
    assert "notice_undeliverable" in house.cases()
    (parked,) = house.messages()
    return int(parked["id"])


def test_a_requeued_question_asks_again_and_sends_nothing(house: House) -> None:
    """The text was taken long ago: only the question about it was given up."""
    parked = given_up_asking(house)
    reopen(parked, actor="ana")
    house.work()
    assert notice(house)["state"] == "delivered"
    assert "notice_undeliverable" not in house.cases()
    assert len(sends(house)) == 1


def test_whoever_is_to_tell_the_person_instead_learns_that_it_is_not_so_any_more(house: House) -> None:
    asked = filed_and_not_told_yet(house)
    house.rows("UPDATE outbox_messages SET unresolved_since = outbox_now(), unresolved_why = 'unanswered' RETURNING 1")
    (notice,) = house.rows("SELECT id::text AS id FROM notifications")
    with transaction() as session:
        supersede_notices(session, "travel_claim", asked.id, "it is taken up again", "operator")
        record_given_up(session, notice.id, "may_exist_upstream")
    query = "SELECT details ->> 'superseded' FROM cases WHERE kind = 'notice_not_sent'"
    assert house.value(query) == "it is taken up again"
