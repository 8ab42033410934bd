"""What is no longer so is told to nobody: notices of an earlier cycle are withdrawn, or looked after to their end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flaskapp.db import db, transaction
from flaskapp.intent_to_file.record import lock
from flaskapp.intent_to_file.upkeep import break_itf
from flaskapp.requeue import reopen
from jobs.engine import runner
from outbox import attempts, holds
from outbox.values import Grant
from tests.house import ADA, House
from tests.integration import form526_steps as form526
from tests.integration import travel_pay_filing, travel_pay_steps
from tests.integration.itf_steps import creating, pass_time, sign_in
from tests.integration.steps import SEND, call, command, file_claim, lose, publish, reconfigure, sends, sweep, texts
from tests.integration.test_callbacks import DELIVERED, body, post
from tests.integration.test_itf_requeue import REFUSED, ask

LONG_AFTER = datetime(2040, 1, 1, tzinfo=UTC)
NOTICES = "SELECT kind, cycle, state FROM notifications WHERE subject_type = :subject ORDER BY cycle"
TRIED = "SELECT count(*) FROM outbox_attempts WHERE upstream = 'va_notify' AND status <> 'try'"
Story = list[tuple[str, int, str]]


def hold(house: House) -> None:
    """VANotify is left alone: what people are to be told waits."""
    with transaction() as session:
        holds.hold(session, "va_notify", ends_at=LONG_AFTER, reason="they move house", actor="ana")


def lift(house: House) -> None:
    with transaction() as session:
        holds.lift(session, "va_notify", actor="ana")


def notices(house: House, subject: str = "travel_claim") -> Story:
    return [tuple(row) for row in house.rows(NOTICES, subject=subject)]


def until_noticed(house: House, subject: str = "travel_claim", cycle: int = 1) -> None:
    house.work(until=lambda: [row for row in notices(house, subject) if row[1] == cycle])


def requeue(house: House, subject: str = "travel_claim") -> None:
    """Take up again what is parked."""
    (parked,) = [each for each in house.messages() if (each["state"], each["subject_type"]) == ("parked", subject)]
    assert reopen(parked["id"], actor="ana") is True


def withdrawals(house: House) -> list[tuple[str, str, dict[str, Any]]]:
    """By whom, out of which state, and why."""
    query = "SELECT actor, moved_from, detail FROM outbox_history WHERE moved_to = 'withdrawn' ORDER BY id"
    return [tuple(row) for row in house.rows(query)]


def refuse_next(house: House) -> None:
    house.control.call("POST", "btsss", "outcomes", json={"icn": ADA.icn, "outcome": "refused", "times": 1})


def refuse_claim(house: House) -> None:
    """BTSSS refuses it, and would take it now; its text is owed."""
    refuse_next(house)
    file_claim(house)
    until_noticed(house)


def refuse_form(house: House) -> None:
    house.control.set("form526", "status", status=400, times=1, operation=form526.SUBMITS)
    form526.filer(house).file()
    until_noticed(house, "form526_submission")


def refuse_document(house: House) -> None:
    house.control.set("documents", "status", status=400, times=1, operation=form526.UPLOADS)
    person = form526.filer(house)
    person.file(person.attach())
    until_noticed(house, "form526_document")


def refuse_travel_pay(house: House) -> None:
    house.control.set("travel_pay", "status", status=422, times=1, operation=travel_pay_steps.FIND)
    travel_pay_filing.file(house)
    until_noticed(house, "travel_pay_claim")


def give_itf_up(house: House) -> None:
    house.control.set("lighthouse", operation=creating(ADA), **REFUSED)
    ask(house)
    pass_time(house, hours=49.7)
    until_noticed(house, "intent_to_file")
    house.control.clear("lighthouse")


# How each flow fails, what its person was to be told and is told instead, and the cases that are left.
FAILING: dict[str, tuple[Callable[[House], None], Story, list[str]]] = {
    "travel_claim": (refuse_claim, [("error", 1, "withdrawn"), ("created", 2, "sent")], []),
    "intent_to_file": (give_itf_up, [("failed", 1, "withdrawn"), ("confirmed_late", 2, "sent")], ["dated_late"]),
    "form526_submission": (refuse_form, [("failed", 1, "withdrawn"), ("accepted", 2, "sent")], []),
    "form526_document": (refuse_document, [("document_failed", 1, "withdrawn")], ["document_failed"]),
    "travel_pay_claim": (refuse_travel_pay, [("failed", 1, "withdrawn"), ("submitted", 2, "sent")], []),
}


# -- known not to have gone out -----------------------------------------------


@pytest.mark.parametrize("subject", FAILING)
def test_what_was_never_sent_is_withdrawn_by_whoever_takes_the_failure_up_again(house: House, subject: str) -> None:
    fail, story, left = FAILING[subject]
    reconfigure(house, bdd_instructions="qualified")
    hold(house)
    fail(house)
    requeue(house, subject)
    assert notices(house, subject) == story[:1]
    assert withdrawals(house) == [("ana", "pending", {"why": "it is taken up again"})]
    lift(house)
    house.work()
    assert (notices(house, subject), house.cases()) == (story, left)
    assert command(house, "audit", "--trace").exit_code == 0


def test_whoever_fails_again_is_told_so_once_by_the_new_cycle(house: House) -> None:
    hold(house)
    refuse_claim(house)
    refuse_next(house)
    requeue(house)
    until_noticed(house, cycle=2)
    lift(house)
    house.work()
    assert notices(house) == [("error", 1, "withdrawn"), ("error", 2, "sent")]
    assert (texts(house), house.cases()) == (["cie.error"], ["refused"])
    assert command(house, "audit", "--trace").exit_code == 0


def test_a_text_that_waits_for_its_next_try_does_not_come_after_the_newer_one(house: House) -> None:
    house.control.set("va_notify", "throttle", operation="POST")
    refuse_claim(house)
    house.work(until=lambda: house.value(TRIED))
    requeue(house)
    house.control.clear("va_notify")
    house.work()
    assert (texts(house), notices(house)[0]) == (["cie.created"], ("error", 1, "withdrawn"))


def test_a_text_va_notify_would_not_take_is_withdrawn_with_its_case_and_its_parked_message(house: House) -> None:
    house.control.call("POST", "va_notify", "outcomes", json={"recipient": ADA.icn, "status": "refused"})
    refuse_claim(house)
    house.work()
    assert sorted(house.cases()) == ["notice_not_sent", "refused"]
    house.fakes.fakes.va_notify.lifecycle.reset()
    requeue(house)
    assert house.cases() == ["refused"]
    assert withdrawals(house) == [("ana", "undeliverable", {"why": "it is taken up again"})]
    house.work()
    assert (texts(house), house.cases(), house.messages()) == (["cie.created"], [], [])
    assert command(house, "audit", "--trace").exit_code == 0


def test_a_document_brought_there_by_hand_is_not_told_as_failed_any_more(house: House) -> None:
    reconfigure(house, bdd_instructions="qualified")
    hold(house)
    refuse_document(house)
    document = str(form526.evidence(house)["id"])
    assert command(house, "documents", "delivered", document, "--note", "by fax").exit_code == 0
    assert notices(house, "form526_document") == [("document_failed", 1, "withdrawn")]
    assert [(moved_from, detail) for _, moved_from, detail in withdrawals(house)] == [
        ("pending", {"why": "it was delivered by hand"})
    ]
    assert command(house, "audit", "--trace").exit_code == 0


def test_an_itf_that_broke_is_not_told_as_confirmed_any_more(house: House) -> None:
    hold(house)
    sign_in(house).ask()
    until_noticed(house, "intent_to_file")
    (found,) = house.rows("SELECT id::text FROM intents_to_file")
    with transaction() as session:
        break_itf(session, lock(session, found.id), "nothing")
    assert withdrawals(house) == [("refresh", "pending", {"why": "it is broken"})]
    assert house.cases() == ["broken"]
    assert command(house, "audit", "--trace").exit_code == 0


# -- perhaps gone out ---------------------------------------------------------


def in_question(house: House, fault: str, **details: Any) -> None:
    """A failed claim whose text VANotify was asked for, and did not answer; taken up again."""
    house.control.set("va_notify", fault, times=1, operation="POST", **details)
    refuse_claim(house)
    house.work(until=lambda: house.value(TRIED))
    requeue(house)
    assert notices(house) == [("error", 1, "pending")]
    assert withdrawals(house) == []


def test_a_text_that_went_out_unanswered_keeps_its_question_and_is_found(house: House) -> None:
    in_question(house, "drop")
    house.work()
    found, told = notices(house)
    # Looked for a moment later, it is on the phone.
    assert found in (("error", 1, "sent"), ("error", 1, "delivered")) and told == ("created", 2, "sent")
    assert (texts(house, 2), len(sends(house))) == (["cie.error", "cie.created"], 2)
    assert command(house, "audit", "--trace").exit_code == 0


def test_a_text_that_did_not_go_out_after_all_is_withdrawn_instead_of_sent_again(house: House) -> None:
    in_question(house, "status", status=500)
    house.work()
    assert notices(house) == [("error", 1, "withdrawn"), ("created", 2, "sent")]
    assert withdrawals(house) == [("worker", "pending", {"why": "it is taken up again"})]
    assert (texts(house), len(sends(house))) == (["cie.created"], 2)
    assert command(house, "audit", "--trace").exit_code == 0


def test_one_given_up_in_question_is_withdrawn_when_its_requeue_finds_that_it_never_went_out(house: House) -> None:
    house.control.set("va_notify", "status", status=500, times=1, operation="POST")
    house.control.set("va_notify", "html", operation="GET")
    refuse_claim(house)
    house.work(until=lambda: house.value(TRIED) > 1)
    house.move_clock(timedelta(days=3, hours=1))
    sweep(house)
    house.control.clear("va_notify")
    requeue(house)
    house.work()
    assert ("error", 1, "undeliverable") in notices(house)
    requeue(house, "notification")
    house.work()
    assert (notices(house)[0], house.cases()) == (("error", 1, "withdrawn"), [])
    assert texts(house) == ["cie.created"]
    assert command(house, "audit", "--trace").exit_code == 0


def sending(house: House) -> Grant:
    """A worker's attempt at the text, granted, that has not called VANotify yet."""
    publish(house)
    (message,) = [each for each in house.messages() if each["subject_type"] == "notification"]
    worker_id = house.app.extensions["process"].worker_id
    grant = attempts.grant(
        db.engine, message["id"], message["fence"], worker_id=worker_id, lease_seconds=60, writes=True
    )
    assert grant is not None
    house.redis.flushall()
    return grant


def take_up_meanwhile(house: House) -> None:
    """The claim is taken up again and filed while a worker is at the older text: the newer one waits."""
    reconfigure(house, vanotify_settle_seconds=3600.0)
    before = len(sends(house))
    requeue(house)
    house.work(until=lambda: house.value(f"{TRIED} AND error_detail LIKE '%older notice%'"))
    assert notices(house) == [("error", 1, "pending"), ("created", 2, "pending")]
    assert len(sends(house)) == before


def test_the_newer_text_waits_while_the_older_may_still_be_on_its_way(house: House) -> None:
    refuse_claim(house)
    grant = sending(house)
    outcome = call(house, grant, SEND)
    take_up_meanwhile(house)
    runner.finish(SEND, grant, outcome)
    house.work()
    assert texts(house, 2) == ["cie.error", "cie.created"]
    assert (house.cases(), command(house, "audit", "--trace").exit_code) == ([], 0)


def test_nobody_waits_longer_for_an_older_text_than_va_notify_needs_to_take_one(house: House) -> None:
    """Its worker is gone and the look-up is away: what can still have gone out has done so by then."""
    refuse_claim(house)
    grant = sending(house)
    take_up_meanwhile(house)
    house.control.set("va_notify", "html", operation="GET")
    lose(house, grant)
    reconfigure(house, vanotify_settle_seconds=0.0)
    house.work(until=lambda: ("created", 2, "sent") in notices(house))
    assert notices(house)[0] == ("error", 1, "pending")
    house.control.clear("va_notify")
    house.work()
    assert notices(house)[0] == ("error", 1, "withdrawn")


def test_what_va_notify_says_of_a_withdrawn_text_is_believed_all_the_same(house: House) -> None:
    hold(house)
    refuse_claim(house)
    requeue(house)
    reference = house.value("SELECT id FROM notifications WHERE state = 'withdrawn'")
    assert post(house, body(reference, DELIVERED)).status_code == 200
    assert notices(house)[0] == ("error", 1, "delivered")
