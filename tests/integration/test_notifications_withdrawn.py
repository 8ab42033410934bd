"""Withdrawn notifications: those of an earlier cycle are not sent any more, or are followed to their end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flaskapp import subjects
from flaskapp.db import db, transaction
from flaskapp.intent_to_file.service import ITF
from flaskapp.intent_to_file.upkeep import break_itf
from flaskapp.requeue import requeue_message
from jobs.engine import runner
from outbox import grants, holds
from outbox.values import Grant
from tests.integration import form526_steps as form526
from tests.integration import travel_pay_filing, travel_pay_steps
from tests.integration.itf_steps import creating, pass_time, sign_in
from tests.integration.steps import SEND, call, command, file_claim, lose, publish, reconfigure, sends, sweep, texts
from tests.integration.test_itf_requeue import REFUSED, ask
from tests.integration.test_notifications_callbacks import DELIVERED, body, post
from tests.product import ADA, Product

LONG_AFTER = datetime(2040, 1, 1, tzinfo=UTC)
NOTIFICATION_KINDS = "SELECT kind, cycle, state FROM notifications WHERE subject_type = :subject ORDER BY cycle"
TRIED = "SELECT count(*) FROM outbox_attempts WHERE upstream = 'va_notify' AND status <> 'try'"
Sequence = list[tuple[str, int, str]]


def hold(product: Product) -> None:
    """Hold VANotify, so that all notifications wait."""
    with transaction() as session:
        holds.hold(session, "va_notify", ends_at=LONG_AFTER, reason="their data center moves", actor="ana")


def lift(product: Product) -> None:
    with transaction() as session:
        holds.lift(session, "va_notify", actor="ana")


def notifications(product: Product, subject: str = "travel_claim") -> Sequence:
    return [tuple(row) for row in product.rows(NOTIFICATION_KINDS, subject=subject)]


def until_detected(product: Product, subject: str = "travel_claim", cycle: int = 1) -> None:
    product.work(until=lambda: [row for row in notifications(product, subject) if row[1] == cycle])


def requeue(product: Product, subject: str = "travel_claim") -> None:
    """Requeue the parked message."""
    (parked,) = [each for each in product.messages() if (each["state"], each["subject_type"]) == ("parked", subject)]
    assert requeue_message(parked["id"], actor="ana") is True


def withdrawals(product: Product) -> list[tuple[str, str, dict[str, Any]]]:
    """Every withdrawal: the actor, the earlier state, and the reason."""
    query = "SELECT actor, moved_from, detail FROM outbox_history WHERE moved_to = 'withdrawn' ORDER BY id"
    return [tuple(row) for row in product.rows(query)]


def refuse_next(product: Product) -> None:
    product.control.call("POST", "btsss", "outcomes", json={"icn": ADA.icn, "outcome": "refused", "times": 1})


def refuse_claim(product: Product) -> None:
    """BTSSS refuses the claim once and would accept it now; its text is outstanding."""
    refuse_next(product)
    file_claim(product)
    until_detected(product)


def refuse_form(product: Product) -> None:
    product.control.set("form526", "status", status=422, times=1, operation=form526.SUBMITS)
    form526.filer(product).file()
    until_detected(product, "form526_submission")


def refuse_document(product: Product) -> None:
    product.control.set("documents", "status", status=413, times=1, operation=form526.UPLOADS)
    person = form526.filer(product)
    person.file(person.attach())
    until_detected(product, "form526_document")


def refuse_travel_pay(product: Product) -> None:
    travel_pay_steps.refuse_in(product, "Invalid appointment date format", travel_pay_steps.FIND, times=1)
    travel_pay_filing.file(product)
    until_detected(product, "travel_pay_claim")


def give_itf_up(product: Product) -> None:
    product.control.set("lighthouse", operation=creating(ADA), **REFUSED)
    ask(product)
    pass_time(product, hours=49.7)
    until_detected(product, "intent_to_file")
    product.control.clear("lighthouse")


# How each flow fails, the notifications that its person gets in the end, and the cases that are left.
FAILING: dict[str, tuple[Callable[[Product], None], Sequence, list[str]]] = {
    "travel_claim": (refuse_claim, [("error", 1, "withdrawn"), ("created", 2, "sent")], []),
    "intent_to_file": (give_itf_up, [("failed", 1, "withdrawn"), ("confirmed_late", 2, "sent")], ["dated_late"]),
    "form526_submission": (refuse_form, [("failed", 1, "withdrawn"), ("accepted", 2, "sent")], []),
    "form526_document": (refuse_document, [("document_failed", 1, "withdrawn")], ["document_failed"]),
    "travel_pay_claim": (refuse_travel_pay, [("failed", 1, "withdrawn"), ("submitted", 2, "sent")], []),
}


# -- certainly not sent --------------------------------------------------------


@pytest.mark.parametrize("subject", FAILING)
def test_a_notification_that_was_never_sent_is_withdrawn_by_the_requeue(product: Product, subject: str) -> None:
    fail, sequence, left = FAILING[subject]
    reconfigure(product, bdd_instructions="qualified")
    hold(product)
    fail(product)
    requeue(product, subject)
    assert notifications(product, subject) == sequence[:1]
    assert withdrawals(product) == [("ana", "pending", {"why": "it is taken up again"})]
    lift(product)
    product.work()
    assert (notifications(product, subject), product.cases()) == (sequence, left)
    assert command(product, "audit", "--trace").exit_code == 0


def test_a_second_failure_is_notified_once_by_the_new_cycle(product: Product) -> None:
    hold(product)
    refuse_claim(product)
    refuse_next(product)
    requeue(product)
    until_detected(product, cycle=2)
    lift(product)
    product.work()
    assert notifications(product) == [("error", 1, "withdrawn"), ("error", 2, "sent")]
    assert (texts(product), product.cases()) == (["cie.error"], ["refused"])
    assert command(product, "audit", "--trace").exit_code == 0


def test_a_text_that_waits_for_its_next_attempt_does_not_follow_the_newer_one(product: Product) -> None:
    product.control.set("va_notify", "throttle", operation="POST")
    refuse_claim(product)
    product.work(until=lambda: product.value(TRIED))
    requeue(product)
    product.control.clear("va_notify")
    product.work()
    assert (texts(product), notifications(product)[0]) == (["cie.created"], ("error", 1, "withdrawn"))


def test_a_refused_text_is_withdrawn_with_its_case_and_its_parked_message(product: Product) -> None:
    product.control.call("POST", "va_notify", "outcomes", json={"recipient": ADA.icn, "status": "refused"})
    refuse_claim(product)
    product.work()
    assert sorted(product.cases()) == ["notification_not_sent", "refused"]
    product.fakes.fakes.va_notify.lifecycle.reset()
    requeue(product)
    assert product.cases() == ["refused"]
    assert withdrawals(product) == [("ana", "undeliverable", {"why": "it is taken up again"})]
    product.work()
    assert (texts(product), product.cases(), product.messages()) == (["cie.created"], [], [])
    assert command(product, "audit", "--trace").exit_code == 0


def test_the_failure_of_a_document_delivered_by_hand_is_not_notified_any_more(product: Product) -> None:
    reconfigure(product, bdd_instructions="qualified")
    hold(product)
    refuse_document(product)
    document = str(form526.evidence(product)["id"])
    assert command(product, "documents", "delivered", document, "--note", "by fax").exit_code == 0
    assert notifications(product, "form526_document") == [("document_failed", 1, "withdrawn")]
    assert [(moved_from, detail) for _, moved_from, detail in withdrawals(product)] == [
        ("pending", {"why": "it was delivered by hand"})
    ]
    assert command(product, "audit", "--trace").exit_code == 0


def test_the_confirmation_of_a_broken_itf_is_not_notified_any_more(product: Product) -> None:
    hold(product)
    sign_in(product).ask()
    until_detected(product, "intent_to_file")
    (found,) = product.rows("SELECT id::text FROM intents_to_file")
    with transaction() as session:
        break_itf(session, subjects.lock(session, ITF, found.id), "nothing")
    assert withdrawals(product) == [("refresh", "pending", {"why": "it is broken"})]
    assert product.cases() == ["broken"]
    assert command(product, "audit", "--trace").exit_code == 0


# -- perhaps sent --------------------------------------------------------------


def in_question(product: Product, fault: str, **details: Any) -> None:
    """A failed claim whose text VANotify received without answering; the claim is requeued."""
    product.control.set("va_notify", fault, times=1, operation="POST", **details)
    refuse_claim(product)
    product.work(until=lambda: product.value(TRIED))
    requeue(product)
    assert notifications(product) == [("error", 1, "pending")]
    assert withdrawals(product) == []


def test_an_unanswered_text_keeps_its_open_question_and_is_found(product: Product) -> None:
    in_question(product, "drop")
    product.work()
    found, newer = notifications(product)
    # Queried a little later, it is on the phone.
    assert found in (("error", 1, "sent"), ("error", 1, "delivered")) and newer == ("created", 2, "sent")
    assert (texts(product, 2), len(sends(product))) == (["cie.error", "cie.created"], 2)
    assert command(product, "audit", "--trace").exit_code == 0


def test_a_text_that_was_not_sent_after_all_is_withdrawn_instead_of_repeated(product: Product) -> None:
    in_question(product, "status", status=500)
    product.work()
    assert notifications(product) == [("error", 1, "withdrawn"), ("created", 2, "sent")]
    assert withdrawals(product) == [("worker", "pending", {"why": "it is taken up again"})]
    assert (texts(product), len(sends(product))) == (["cie.created"], 2)
    assert command(product, "audit", "--trace").exit_code == 0


def test_a_text_given_up_in_question_is_withdrawn_when_a_requeue_finds_that_it_was_never_sent(product: Product) -> None:
    product.control.set("va_notify", "status", status=500, times=1, operation="POST")
    product.control.set("va_notify", "html", operation="GET")
    refuse_claim(product)
    product.work(until=lambda: product.value(TRIED) > 1)
    product.move_clock(timedelta(days=3, hours=1))
    sweep(product)
    product.control.clear("va_notify")
    requeue(product)
    product.work()
    assert ("error", 1, "undeliverable") in notifications(product)
    requeue(product, "notification")
    product.work()
    assert (notifications(product)[0], product.cases()) == (("error", 1, "withdrawn"), [])
    assert texts(product) == ["cie.created"]
    assert command(product, "audit", "--trace").exit_code == 0


def sending(product: Product) -> Grant:
    """A worker's granted attempt at the text, before it calls VANotify."""
    publish(product)
    (message,) = [each for each in product.messages() if each["subject_type"] == "notification"]
    worker_id = product.app.extensions["process"].worker_id
    grant = grants.grant(db.engine, message["id"], message["fence"], worker_id=worker_id, lease_seconds=60, writes=True)
    assert grant is not None
    product.redis.flushall()
    return grant


def requeue_meanwhile(product: Product) -> None:
    """The claim is requeued and filed while a worker sends the older text: the newer one waits."""
    reconfigure(product, vanotify_confirm_seconds=3600.0)
    before = len(sends(product))
    requeue(product)
    product.work(until=lambda: product.value(f"{TRIED} AND error_detail LIKE '%older notification%'"))
    assert notifications(product) == [("error", 1, "pending"), ("created", 2, "pending")]
    assert len(sends(product)) == before


def test_the_newer_text_waits_while_the_older_one_may_still_be_sent(product: Product) -> None:
    refuse_claim(product)
    grant = sending(product)
    outcome = call(product, grant, SEND)
    requeue_meanwhile(product)
    runner.finish(SEND, grant, outcome)
    product.work()
    assert texts(product, 2) == ["cie.error", "cie.created"]
    assert (product.cases(), command(product, "audit", "--trace").exit_code) == ([], 0)


def test_the_newer_text_waits_no_longer_than_va_notify_needs_to_accept_one(product: Product) -> None:
    """Its worker is gone and look-ups fail: after that time the older text has been accepted, or never will be."""
    refuse_claim(product)
    grant = sending(product)
    requeue_meanwhile(product)
    product.control.set("va_notify", "html", operation="GET")
    lose(product, grant)
    reconfigure(product, vanotify_confirm_seconds=0.0)
    product.work(until=lambda: ("created", 2, "sent") in notifications(product))
    assert notifications(product)[0] == ("error", 1, "pending")
    product.control.clear("va_notify")
    product.work()
    assert notifications(product)[0] == ("error", 1, "withdrawn")


def test_a_delivery_report_for_a_withdrawn_text_counts_all_the_same(product: Product) -> None:
    hold(product)
    refuse_claim(product)
    requeue(product)
    reference = product.value("SELECT id FROM notifications WHERE state = 'withdrawn'")
    assert post(product, body(reference, DELIVERED)).status_code == 200
    assert notifications(product)[0] == ("error", 1, "delivered")
