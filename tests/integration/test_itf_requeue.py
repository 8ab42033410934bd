"""Giving up and requeueing an ITF: which attempts are charged, what the person is sent, who holds it; late answers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flaskapp.clock import DAY_SECONDS
from flaskapp.intent_to_file.service import Confirmation
from flaskapp.requeue import Refused, requeue_message
from jobs.engine import runner
from jobs.engine.outcome import Outcome
from jobs.registry import spec_of
from outbox.values import Grant
from sandbox.upstreams.cast import DEFAULT_CAST, Veteran
from tests.contract.receiver import listening
from tests.integration.itf_steps import (
    Signed,
    attempts,
    creates,
    creating,
    itfs,
    mails,
    on_file,
    pass_time,
    reading,
    reads,
    row_of,
    sign_in,
    travel_to,
)
from tests.integration.steps import call, command, lose, reconfigure, sweep, take
from tests.product import ADA, Product

BEN = DEFAULT_CAST[1]
NOON = datetime(2031, 3, 4, 18, tzinfo=UTC)
CREATE = spec_of("jobs.intent_to_file.create_itf")
REFUSED = {"kind": "status", "status": 422}


@dataclass
class Creation:
    """The creation of a person's ITF upstream, as the ledger holds it."""

    product: Product
    person: Signed

    @property
    def message(self) -> dict[str, Any]:
        itf_id = str(row_of(self.product, self.person)["id"])
        (found,) = [each for each in self.product.messages() if each["subject_id"] == itf_id]
        return found

    def endings(self) -> list[tuple[str, str]]:
        return attempts(self.product, row_of(self.product, self.person)["id"])

    def tried(self, times: int) -> Callable[[], bool]:
        return lambda: len([status for _, status in self.endings() if status != "try"]) >= times


def ask(product: Product, veteran: Veteran = ADA, **settings: Any) -> Creation:
    """Request an ITF at noon and identify the person. A failure opens the breaker only for an instant."""
    reconfigure(product, **{"breaker_cap_seconds": 0.05, **settings})
    travel_to(product, NOON)
    creation = Creation(product, sign_in(product, veteran))
    creation.person.ask()
    product.work(until=lambda: creation.message["job"] == CREATE.work.path)
    return creation


def given_up(product: Product) -> Creation:
    """Refused for two days, so that the ITF failed, its person was notified, and a human holds it."""
    product.control.set("lighthouse", operation=creating(ADA), **REFUSED)
    creation = ask(product)
    pass_time(product, hours=49.7)
    product.work()
    product.control.clear("lighthouse")
    assert row_of(product, creation.person)["state"] == "failed"
    return creation


# -- giving up ----------------------------------------------------------------


def test_after_two_days_of_refusals_it_fails_and_a_human_is_alerted_at_once(product: Product, caplog: Any) -> None:
    product.control.set("lighthouse", operation=creating(ADA), **REFUSED)
    with listening() as receiver, caplog.at_level(logging.ERROR, "flaskapp.cases"):
        creation = ask(product, alert_webhook_url=receiver.url)
        product.work(until=creation.tried(1))
        pass_time(product, hours=49.5)
        product.work(until=creation.tried(3))
        assert row_of(product, creation.person)["state"] == "pending"
        assert (product.cases(), product.control.phone()) == ([], [])
        pass_time(product, minutes=10)
        product.work()
        ((_, alert),) = receiver.came
    row = row_of(product, creation.person)
    assert (row["state"], row["unconfirmed"]) == ("failed", False)
    assert set(creation.endings()[:-1]) == {("write", "error")} and creation.endings()[-1] == ("write", "expired")
    assert (product.cases(), alert["kind"], mails(product)) == (["exhausted"], "exhausted", ["itf.failed"])
    assert [record.event for record in caplog.records if record.name == "flaskapp.cases"] == ["case.opened"]
    assert "on March 4, 2031" in product.phone()[0]["body"]
    assert (creation.message["state"], creation.message["parked_reason"]) == ("parked", "exhausted: Rejected")
    assert sign_in(product).shown() == []
    assert command(product, "audit").exit_code == 0


def test_giving_up_with_an_open_question_is_never_called_a_failure(product: Product) -> None:
    """Lighthouse answers every read, but it is too early to believe what it says."""
    product.control.set("lighthouse", "status", status=500, operation=creating(ADA), times=1)
    creation = ask(product, lighthouse_confirm_seconds=1e9)
    product.work(until=creation.tried(3))
    pass_time(product, hours=49.7)
    product.work()
    row = row_of(product, creation.person)
    assert (row["state"], row["unconfirmed"]) == ("failed", True)
    assert creation.endings()[0] == ("write", "unknown") and creation.endings()[-1] == ("look_up", "expired")
    assert (product.cases(), mails(product)) == (["may_exist_upstream"], ["itf.unconfirmed"])
    assert creates(product) == 1


def test_an_outage_of_three_days_charges_nothing_and_gives_up_nothing(product: Product) -> None:
    product.control.set("lighthouse", "refuse")
    creation = ask(product)
    for day in range(3):
        pass_time(product, days=1)
        product.work(until=creation.tried(day + 1))
    sweep(product)
    assert (row_of(product, creation.person)["state"], creation.message["charged_attempts"]) == ("pending", 0)
    assert product.cases() == ["past_midnight"]
    product.control.clear("lighthouse")
    product.work()
    row = row_of(product, creation.person)
    assert (row["state"], row["effective_date"]) == ("confirmed", row["asked_at"])
    assert product.value("SELECT count(*) FROM outbox_attempts WHERE charged") == 0
    assert (product.cases(), mails(product)) == (["dated_late"], ["itf.confirmed_late"])


def test_thirty_days_behind_an_open_breaker_end_an_itf(product: Product) -> None:
    """Ada's was never sent, so it failed; Ben's may exist, so it is only unconfirmed."""
    product.control.set("lighthouse", "drop", operation=creating(BEN))
    ben = ask(product, BEN)
    product.work(until=ben.tried(1))
    product.control.set("lighthouse", "refuse")
    ada = ask(product, breaker_open_seconds=60 * DAY_SECONDS, breaker_cap_seconds=60 * DAY_SECONDS)
    product.work(until=lambda: product.value("SELECT count(*) FROM outbox_breakers WHERE opened_at IS NOT NULL"))
    pass_time(product, days=29, hours=23)
    sweep(product)
    assert [row["state"] for row in itfs(product)] == ["pending"] * 2
    pass_time(product, hours=2)
    sweep(product)
    product.work()
    rows = [row_of(product, each.person) for each in (ada, ben)]
    assert [(row["state"], row["unconfirmed"]) for row in rows] == [("failed", False), ("failed", True)]
    assert sorted(product.cases()) == ["exhausted", "may_exist_upstream", "past_midnight", "past_midnight"]
    assert sorted(mails(product, 2)) == ["itf.failed", "itf.unconfirmed"]
    assert [each.endings()[-1] for each in (ada, ben)] == [("give_up", "expired")] * 2
    assert (len(on_file(product)), len(on_file(product, BEN))) == (0, 1)


# -- requeueing -----------------------------------------------------------------


def test_a_requeued_itf_is_confirmed_and_notified_again_and_its_cases_close(product: Product) -> None:
    creation = given_up(product)
    sweep(product)
    message = creation.message["id"]
    result = command(product, "outbox", "requeue", str(message))
    assert (result.exit_code, "reopened" in result.output) == (0, True)
    (shown,) = sign_in(product).shown()
    assert shown["recordState"] == "pending"
    assert product.cases() == ["exhausted"]
    product.work()
    row = row_of(product, creation.person)
    assert (row["state"], row["cycle"], row["effective_date"]) == ("confirmed", 2, row["asked_at"])
    assert product.cases() == ["dated_late"]
    (closed,) = product.rows("SELECT resolution, notes FROM cases WHERE closed_at IS NOT NULL")
    assert closed.resolution == "confirmed (created)"
    assert [note["note"] for note in closed.notes] == ["requeued"]
    assert mails(product, 2) == ["itf.failed", "itf.confirmed_late"]
    assert product.rows("SELECT kind, cycle FROM notifications ORDER BY cycle") == [
        ("failed", 1),
        ("confirmed_late", 2),
    ]
    assert command(product, "audit").exit_code == 0


def test_after_a_failure_the_person_may_request_again_and_the_earlier_itf_cannot_be_requeued(product: Product) -> None:
    creation = given_up(product)
    failed = row_of(product, creation.person)
    person = sign_in(product)
    assert (person.post().status_code, person.post().status_code) == (202, 202)
    newer = row_of(product, person)
    assert (newer["follows_id"], newer["state"]) == (failed["id"], "pending")
    assert newer["effective_date"] == newer["asked_at"] > failed["asked_at"] + timedelta(days=2)
    (notes,) = product.rows("SELECT notes FROM cases WHERE closed_at IS NULL")[0]
    (note,) = notes
    assert (note["by"], str(newer["id"]) in note["note"]) == ("person", True)
    assert_requeue_is_refused(product, failed["id"], newer["id"])
    product.work()
    assert row_of(product, person)["state"] == "confirmed"
    assert_requeue_is_refused(product, failed["id"], newer["id"])
    assert product.cases() == ["exhausted"]
    assert mails(product, 2) == ["itf.failed", "itf.confirmed"]
    assert [shown["id"] for shown in person.shown()] == [filed["id"] for filed in on_file(product)]


def test_an_itf_whose_follower_broke_is_requeued_only_although_it_is_superseded(product: Product) -> None:
    creation = given_up(product)
    failed = row_of(product, creation.person)["id"]
    person = sign_in(product)
    person.post()
    product.work()
    product.rows(
        "UPDATE intents_to_file SET state = 'broken', refresh_due_at = NULL WHERE state = 'confirmed' RETURNING 1"
    )
    (message,) = [each["id"] for each in product.messages() if each["subject_id"] == str(failed)]
    with pytest.raises(Refused, match="a newer one of the same person exists"):
        requeue_message(message, actor="ana")
    assert requeue_message(message, actor="ana", although_superseded=True)
    assert product.value("SELECT state FROM intents_to_file WHERE id = :id", id=failed) == "pending"


def assert_requeue_is_refused(product: Product, itf_id: Any, newer: Any) -> None:
    """First because the person has a newer one, and at last by Postgres: two cannot be valid at once."""
    (message,) = [each for each in product.messages() if each["subject_id"] == str(itf_id)]
    with pytest.raises(Refused, match=f"a newer one of the same person exists, {newer}"):
        requeue_message(message["id"], actor="ana")
    refused = command(product, "outbox", "requeue", "--although-superseded", str(message["id"]))
    assert (refused.exit_code, "a newer one exists (ex_intents_to_file_one_valid)" in refused.output) == (1, True)
    (kept,) = product.rows("SELECT state, parked_reason FROM outbox_messages WHERE id = :id", id=message["id"])
    assert tuple(kept) == ("parked", "requeue refused: a newer one exists (ex_intents_to_file_one_valid)")
    assert product.value("SELECT state FROM intents_to_file WHERE id = :id", id=itf_id) == "failed"


# -- late answers -------------------------------------------------------------


def answered_and_lost(product: Product, **settings: Any) -> tuple[Creation, Grant, Outcome]:
    """Created upstream by a worker that was given up before it could record the answer."""
    creation = ask(product, **settings)
    granted = take(product, creation, CREATE)  # type: ignore[arg-type]
    outcome = call(product, granted, CREATE)
    lose(product, granted)
    return creation, granted, outcome


def test_a_late_answer_is_used_without_a_read(product: Product) -> None:
    creation, granted, outcome = answered_and_lost(product)
    runner.finish(CREATE, granted, outcome)
    product.work()
    row, (filed,) = row_of(product, creation.person), on_file(product)
    assert (row["state"], row["how"], row["upstream_id"]) == ("confirmed", "late", filed["id"])
    assert row["upstream_created_at"] == datetime.fromisoformat(filed["created_at"])
    assert (creates(product), reads(product), product.cases()) == (1, 1, [])
    assert mails(product) == ["itf.confirmed"]


def test_an_earlier_creation_that_is_answered_late_counts_and_its_person_is_told_again(product: Product) -> None:
    creation, granted, outcome = answered_and_lost(product)
    pass_time(product, days=1)
    product.rows("UPDATE outbox_messages SET unresolved_since = NULL, unresolved_why = NULL RETURNING 1")
    (first,) = on_file(product)
    product.control.call("DELETE", "lighthouse", f"itfs/{first['id']}")
    product.work()
    assert (mails(product), product.cases()) == (["itf.confirmed_late"], ["dated_late"])
    runner.finish(CREATE, granted, outcome)
    product.work()
    row = row_of(product, creation.person)
    assert row["upstream_created_at"] == datetime.fromisoformat(first["created_at"])
    assert mails(product, 2) == ["itf.confirmed_late", "itf.confirmed"]
    assert product.cases() == ["conflicting_answers"]


def test_an_answer_after_giving_up_opens_a_case_and_a_requeue_uses_it(product: Product) -> None:
    creation, granted, outcome = answered_and_lost(product)
    pass_time(product, days=31)
    sweep(product)
    runner.finish(CREATE, granted, outcome)
    assert sorted(product.cases()) == ["answered_late", "may_exist_upstream"]
    assert row_of(product, creation.person)["unconfirmed"]
    assert requeue_message(creation.message["id"], actor="ana") is True
    product.work()
    row = row_of(product, creation.person)
    assert (row["state"], row["how"], row["unconfirmed"]) == ("confirmed", "late", False)
    assert (product.cases(), creates(product), reads(product)) == ([], 1, 1)
    assert mails(product) == ["itf.confirmed"]


def test_two_creations_under_different_ids_are_a_case(product: Product) -> None:
    """The first one vanished from upstream's reads, so it was created again; then its answer arrived."""
    creation, granted, outcome = answered_and_lost(product)
    (vanished,) = on_file(product)
    product.control.call("DELETE", "lighthouse", f"itfs/{vanished['id']}")
    product.work()
    assert (row_of(product, creation.person)["state"], creates(product)) == ("confirmed", 2)
    runner.finish(CREATE, granted, outcome)
    assert product.cases() == ["conflicting_answers"]
    (details,) = product.rows("SELECT details FROM cases")[0]
    assert len(details["attempts"]) == 2
    assert mails(product) == ["itf.confirmed"]


def test_the_id_of_a_duplicate_conflicts_with_nothing(product: Product) -> None:
    """Upstream may give a repetition an id of its own, and keeps counting the first one."""
    creation, granted, outcome = answered_and_lost(product)
    product.work()
    assert row_of(product, creation.person)["state"] == "confirmed"
    duplicate = replace(outcome.answer.upstream, id="1", status="duplicate")
    runner.finish(CREATE, granted, Outcome("accepted", answer=Confirmation(duplicate, "found")))
    assert (product.cases(), creates(product)) == ([], 1)
    assert len(product.control.received("lighthouse", reading(ADA))) == 2
