"""Giving an ITF up and taking it up again: what is charged, what the person is told, who holds it; late answers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flaskapp.intent_to_file.record import Confirmation
from flaskapp.requeue import Refused, reopen
from jobs.engine import runner
from jobs.engine.outcome import Outcome
from jobs.registry import SPECS
from outbox.values import Grant
from sandbox.upstreams.cast import DEFAULT_CAST, Veteran
from tests.contract.receiver import listening
from tests.house import ADA, House
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

BEN = DEFAULT_CAST[1]
NOON = datetime(2031, 3, 4, 18, tzinfo=UTC)
CREATE = SPECS["jobs.intent_to_file.create_itf"]
DAY_SECONDS = 86_400.0
REFUSED = {"kind": "status", "status": 422}


@dataclass
class Creation:
    """The creation upstream of a person's ITF, as the ledger owes it."""

    house: House
    person: Signed

    @property
    def message(self) -> dict[str, Any]:
        itf_id = str(row_of(self.house, self.person)["id"])
        (found,) = [each for each in self.house.messages() if each["subject_id"] == itf_id]
        return found

    def endings(self) -> list[tuple[str, str]]:
        return attempts(self.house, row_of(self.house, self.person)["id"])

    def tried(self, times: int) -> Callable[[], bool]:
        return lambda: len([status for _, status in self.endings() if status != "try"]) >= times


def ask(house: House, veteran: Veteran = ADA, **settings: Any) -> Creation:
    """Somebody asks at noon, and by now we know who. A failure closes the gate for a moment only."""
    reconfigure(house, **{"gate_cap_seconds": 0.05, **settings})
    travel_to(house, NOON)
    creation = Creation(house, sign_in(house, veteran))
    creation.person.ask()
    house.work(until=lambda: creation.message["job"] == CREATE.path)
    return creation


def given_up(house: House) -> Creation:
    """Refused for two days, so the ITF failed, told and held."""
    house.control.set("lighthouse", operation=creating(ADA), **REFUSED)
    creation = ask(house)
    pass_time(house, hours=49.7)
    house.work()
    house.control.clear("lighthouse")
    assert row_of(house, creation.person)["state"] == "failed"
    return creation


# -- giving up ----------------------------------------------------------------


def test_two_days_of_refusals_are_the_end_and_a_human_knows_at_once(house: House, caplog: Any) -> None:
    house.control.set("lighthouse", operation=creating(ADA), **REFUSED)
    with listening() as receiver, caplog.at_level(logging.ERROR, "flaskapp.cases"):
        creation = ask(house, alert_webhook_url=receiver.url)
        house.work(until=creation.tried(1))
        pass_time(house, hours=49.5)
        house.work(until=creation.tried(3))
        assert row_of(house, creation.person)["state"] == "pending"
        assert (house.cases(), house.control.phone()) == ([], [])
        pass_time(house, minutes=10)
        house.work()
        ((_, alert),) = receiver.came
    row = row_of(house, creation.person)
    assert (row["state"], row["unconfirmed"]) == ("failed", False)
    assert set(creation.endings()[:-1]) == {("write", "error")} and creation.endings()[-1] == ("write", "expired")
    assert (house.cases(), alert["kind"], mails(house)) == (["exhausted"], "exhausted", ["itf.failed"])
    assert [record.event for record in caplog.records if record.name == "flaskapp.cases"] == ["case.opened"]
    assert "on March 4, 2031" in house.phone()[0]["body"]
    assert (creation.message["state"], creation.message["parked_reason"]) == ("parked", "exhausted: Rejected")
    assert sign_in(house).shown() == []
    assert command(house, "audit").exit_code == 0


def test_giving_up_while_the_question_is_open_is_never_called_a_failure(house: House) -> None:
    """Lighthouse answers every read, but we may not believe it yet."""
    house.control.set("lighthouse", "status", status=500, operation=creating(ADA), times=1)
    creation = ask(house, lighthouse_settle_seconds=1e9)
    house.work(until=creation.tried(3))
    pass_time(house, hours=49.7)
    house.work()
    row = row_of(house, creation.person)
    assert (row["state"], row["unconfirmed"]) == ("failed", True)
    assert creation.endings()[0] == ("write", "unknown") and creation.endings()[-1] == ("look_up", "expired")
    assert (house.cases(), mails(house)) == (["may_exist_upstream"], ["itf.unconfirmed"])
    assert creates(house) == 1


def test_an_outage_of_three_days_charges_nothing_and_gives_up_nothing(house: House) -> None:
    house.control.set("lighthouse", "refuse")
    creation = ask(house)
    for day in range(3):
        pass_time(house, days=1)
        house.work(until=creation.tried(day + 1))
    sweep(house)
    assert (row_of(house, creation.person)["state"], creation.message["charged_attempts"]) == ("pending", 0)
    assert house.cases() == ["past_midnight"]
    house.control.clear("lighthouse")
    house.work()
    row = row_of(house, creation.person)
    assert (row["state"], row["effective_date"]) == ("confirmed", row["asked_at"])
    assert house.value("SELECT count(*) FROM outbox_attempts WHERE charged") == 0
    assert (house.cases(), mails(house)) == (["dated_late"], ["itf.confirmed_late"])


def test_thirty_days_behind_a_closed_gate_are_the_end(house: House) -> None:
    """Ada's was never sent and failed; Ben's may be there, and is only unconfirmed."""
    house.control.set("lighthouse", "drop", operation=creating(BEN))
    ben = ask(house, BEN)
    house.work(until=ben.tried(1))
    house.control.set("lighthouse", "refuse")
    ada = ask(house, gate_close_seconds=60 * DAY_SECONDS, gate_cap_seconds=60 * DAY_SECONDS)
    house.work(until=lambda: house.value("SELECT count(*) FROM outbox_gates WHERE closed_at IS NOT NULL"))
    pass_time(house, days=29, hours=23)
    sweep(house)
    assert [row["state"] for row in itfs(house)] == ["pending"] * 2
    pass_time(house, hours=2)
    sweep(house)
    house.work()
    rows = [row_of(house, each.person) for each in (ada, ben)]
    assert [(row["state"], row["unconfirmed"]) for row in rows] == [("failed", False), ("failed", True)]
    assert sorted(house.cases()) == ["exhausted", "may_exist_upstream", "past_midnight", "past_midnight"]
    assert sorted(mails(house, 2)) == ["itf.failed", "itf.unconfirmed"]
    assert [each.endings()[-1] for each in (ada, ben)] == [("give_up", "expired")] * 2
    assert (len(on_file(house)), len(on_file(house, BEN))) == (0, 1)


# -- taking it up again -------------------------------------------------------


def test_a_requeued_one_is_confirmed_told_anew_and_its_cases_close(house: House) -> None:
    creation = given_up(house)
    sweep(house)
    message = creation.message["id"]
    result = command(house, "outbox", "requeue", str(message))
    assert (result.exit_code, "reopened" in result.output) == (0, True)
    (shown,) = sign_in(house).shown()
    assert shown["recordState"] == "pending"
    assert house.cases() == ["exhausted"]
    house.work()
    row = row_of(house, creation.person)
    assert (row["state"], row["cycle"], row["effective_date"]) == ("confirmed", 2, row["asked_at"])
    assert house.cases() == ["dated_late"]
    (closed,) = house.rows("SELECT resolution, notes FROM cases WHERE closed_at IS NOT NULL")
    assert closed.resolution == "confirmed (created)"
    assert [note["note"] for note in closed.notes] == ["requeued"]
    assert mails(house, 2) == ["itf.failed", "itf.confirmed_late"]
    assert house.rows("SELECT kind, cycle FROM notifications ORDER BY cycle") == [("failed", 1), ("confirmed_late", 2)]
    assert command(house, "audit").exit_code == 0


def test_after_a_failure_the_person_may_ask_again_and_the_earlier_date_is_defended(house: House) -> None:
    creation = given_up(house)
    failed = row_of(house, creation.person)
    person = sign_in(house)
    assert (person.post().status_code, person.post().status_code) == (202, 202)
    newer = row_of(house, person)
    assert (newer["follows_id"], newer["state"]) == (failed["id"], "pending")
    assert newer["effective_date"] == newer["asked_at"] > failed["asked_at"] + timedelta(days=2)
    (notes,) = house.rows("SELECT notes FROM cases WHERE closed_at IS NULL")[0]
    (note,) = notes
    assert (note["by"], str(newer["id"]) in note["note"]) == ("person", True)
    assert_requeue_is_refused(house, failed["id"])
    house.work()
    assert row_of(house, person)["state"] == "confirmed"
    assert_requeue_is_refused(house, failed["id"])
    assert house.cases() == ["exhausted"]
    assert mails(house, 2) == ["itf.failed", "itf.confirmed"]
    assert [shown["id"] for shown in person.shown()] == [filed["id"] for filed in on_file(house)]


def assert_requeue_is_refused(house: House, itf_id: Any) -> None:
    (message,) = [each for each in house.messages() if each["subject_id"] == str(itf_id)]
    with pytest.raises(Refused, match="a newer one exists"):
        reopen(message["id"], actor="ana")
    refused = command(house, "outbox", "requeue", str(message["id"]))
    assert (refused.exit_code, "a newer one exists (ex_intents_to_file_one_valid)" in refused.output) == (1, True)
    (kept,) = house.rows("SELECT state, parked_reason FROM outbox_messages WHERE id = :id", id=message["id"])
    assert tuple(kept) == ("parked", "requeue refused: a newer one exists (ex_intents_to_file_one_valid)")
    assert house.value("SELECT state FROM intents_to_file WHERE id = :id", id=itf_id) == "failed"


# -- late answers -------------------------------------------------------------


def held_and_lost(house: House, **settings: Any) -> tuple[Creation, Grant, Outcome]:
    """Created upstream by somebody who was given up before he could say so."""
    creation = ask(house, **settings)
    held = take(house, creation, CREATE)  # type: ignore[arg-type]
    outcome = call(house, held, CREATE)
    lose(house, held)
    return creation, held, outcome


def test_a_late_answer_is_used_without_asking_anybody(house: House) -> None:
    creation, held, outcome = held_and_lost(house)
    runner.finish(CREATE, held, outcome)
    house.work()
    row, (filed,) = row_of(house, creation.person), on_file(house)
    assert (row["state"], row["how"], row["upstream_id"]) == ("confirmed", "late", filed["id"])
    assert row["upstream_created_at"] == datetime.fromisoformat(filed["created_at"])
    assert (creates(house), reads(house), house.cases()) == (1, 1, [])
    assert mails(house) == ["itf.confirmed"]


def test_an_answer_after_we_gave_up_fetches_a_human_whose_requeue_finds_it(house: House) -> None:
    creation, held, outcome = held_and_lost(house)
    pass_time(house, days=31)
    sweep(house)
    runner.finish(CREATE, held, outcome)
    assert sorted(house.cases()) == ["answered_late", "may_exist_upstream"]
    assert row_of(house, creation.person)["unconfirmed"]
    assert reopen(creation.message["id"], actor="ana") is True
    house.work()
    row = row_of(house, creation.person)
    assert (row["state"], row["how"], row["unconfirmed"]) == ("confirmed", "late", False)
    assert (house.cases(), creates(house), reads(house)) == ([], 1, 1)
    assert mails(house) == ["itf.confirmed"]


def test_two_creations_under_different_ids_are_a_case(house: House) -> None:
    """The first vanished from upstream's reads, so it was created again; then its answer came."""
    creation, held, outcome = held_and_lost(house)
    (vanished,) = on_file(house)
    house.control.call("DELETE", "lighthouse", f"itfs/{vanished['id']}")
    house.work()
    assert (row_of(house, creation.person)["state"], creates(house)) == ("confirmed", 2)
    runner.finish(CREATE, held, outcome)
    assert house.cases() == ["conflicting_answers"]
    (details,) = house.rows("SELECT details FROM cases")[0]
    assert len(details["attempts"]) == 2
    assert mails(house) == ["itf.confirmed"]


def test_a_duplicates_id_conflicts_with_nothing(house: House) -> None:
    """Upstream may call a repetition by an id of its own, and keeps counting the first."""
    creation, held, outcome = held_and_lost(house)
    house.work()
    assert row_of(house, creation.person)["state"] == "confirmed"
    duplicate = replace(outcome.answer.upstream, id="1", status="duplicate")
    runner.finish(CREATE, held, Outcome("accepted", answer=Confirmation(duplicate, "found")))
    assert (house.cases(), creates(house)) == ([], 1)
    assert len(house.control.received("lighthouse", reading(ADA))) == 2
