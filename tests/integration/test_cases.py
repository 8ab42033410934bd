"""Cases: opened with an owner and an alert, worked from the shell, and never silent while work is late."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from flaskapp.cases.kinds import KINDS
from flaskapp.cases.service import open_case
from flaskapp.db import transaction
from sandbox.settings import OPERATOR
from tests.contract.receiver import listening
from tests.house import House
from tests.integration.steps import Asked, command, file_claim, reconfigure, sweep, texts


def refused(house: House) -> Asked:
    house.control.play("btsss", "refused")
    asked = file_claim(house)
    house.work()
    return asked


def case_id(house: House) -> str:
    return str(house.value("SELECT id FROM cases"))


# -- opening ------------------------------------------------------------------


def test_a_case_has_an_owner_ids_only_and_an_error_event(house: House, caplog: pytest.LogCaptureFixture) -> None:
    asked = refused(house)
    (case,) = house.rows("SELECT * FROM cases")
    assert (case.kind, case.owner, case.subject_id) == ("refused", OPERATOR, asked.id)
    assert set(case.details) == {"message", "attempt"}
    (event,) = [record for record in caplog.records if getattr(record, "event", "") == "case.opened"]
    assert (event.levelname, vars(event)["kind"], vars(event)["owner"]) == ("ERROR", "refused", OPERATOR)


def test_a_second_case_of_the_same_kind_is_not_opened_while_one_is_open(house: House) -> None:
    with transaction() as session:
        first = open_case(session, "refused", "travel_claim", "1")
        assert first is not None
        assert open_case(session, "refused", "travel_claim", "1") is None
        assert open_case(session, "exhausted", "travel_claim", "1") is not None
    assert command(house, "cases", "close", str(first), "--resolution", "done").exit_code == 0
    with transaction() as session:
        assert open_case(session, "refused", "travel_claim", "1") is not None


def test_the_webhook_is_told_and_told_again_until_it_takes_it(house: House) -> None:
    with listening() as receiver:
        receiver.answers = [503, 429]
        reconfigure(house, alert_webhook_url=receiver.url)
        refused(house)
        assert len(receiver.came) == 3
        bodies = [body for _, body in receiver.came]
    assert bodies[0] == bodies[2]
    assert bodies[0] == {
        "case": case_id(house),
        "kind": "refused",
        "owner": OPERATOR,
        "summary": KINDS["refused"].summary,
        "to_do": KINDS["refused"].to_do,
        "opened_at": house.value("SELECT opened_at FROM cases").isoformat(),
    }
    assert [message["state"] for message in house.messages()] == ["parked"]


def test_a_webhook_that_refuses_leaves_a_parked_alert_and_the_case_open(house: House) -> None:
    with listening() as receiver:
        receiver.answers = [400]
        reconfigure(house, alert_webhook_url=receiver.url)
        refused(house)
        alert = next(message for message in house.messages() if message["queue"] == "alerts")
        assert (alert["state"], house.cases()) == ("parked", ["refused"])
        assert command(house, "outbox", "requeue", str(alert["id"])).exit_code == 0
        house.work()
        assert len(receiver.came) == 2
    assert [message["queue"] for message in house.messages()] == ["travel_claims"]


def test_a_webhook_that_is_away_delays_nothing_else(house: House) -> None:
    reconfigure(house, alert_webhook_url="http://127.0.0.1:1/alerts")
    house.control.play("btsss", "refused")
    file_claim(house)
    house.work(until=house.control.phone)
    assert texts(house) == ["cie.error"]
    assert [m["queue"] for m in house.messages() if m["state"] != "parked"] == ["alerts"]


def test_work_that_is_late_is_a_case_while_it_is_still_tried(house: House) -> None:
    house.control.set("veis", "refuse")
    asked = file_claim(house)
    house.work(until=lambda: house.value("SELECT count(*) FROM outbox_attempts"))
    house.move_clock(timedelta(hours=24))
    sweep(house)
    assert house.cases() == []
    house.move_clock(timedelta(hours=25, minutes=1))
    for _ in range(2):
        sweep(house)
    assert (house.cases(), asked.state["state"]) == (["overdue"], "pending")
    house.control.clear("veis")
    house.work()
    assert (house.cases(), asked.state["state"]) == ([], "submitted")


# -- from the shell -----------------------------------------------------------


def test_a_case_is_listed_shown_noted_assigned_and_closed(house: House) -> None:
    asked = refused(house)
    identifier = case_id(house)
    listed = json.loads(command(house, "cases", "list", "--json").output)
    assert [(row["id"], row["kind"], row["owner"]) for row in listed] == [(identifier, "refused", OPERATOR)]
    assert command(house, "cases", "note", identifier, "called the clinic").exit_code == 0
    assert command(house, "cases", "assign", identifier, "bea").exit_code == 0
    assert "nothing" in command(house, "cases", "list", "--owner", OPERATOR).output
    shown = command(house, "cases", "show", identifier).output
    for words in (asked.id, "owner bea", KINDS["refused"].summary, KINDS["refused"].to_do, "called the clinic"):
        assert words in shown
    assert command(house, "cases", "close", identifier, "--resolution", "filed on paper").exit_code == 0
    assert house.cases() == []
    assert "nothing" in command(house, "cases", "list").output
    assert identifier in command(house, "cases", "list", "--all").output
    assert "Resolution: filed on paper" in command(house, "cases", "show", identifier).output
    whats = [row[0] for row in house.rows("SELECT what FROM outbox_history WHERE what LIKE 'case.%' ORDER BY id")]
    assert whats == ["case.opened", "case.noted", "case.assigned", "case.closed"]
    actors = house.rows("SELECT DISTINCT actor FROM outbox_history WHERE what = 'case.closed'")
    assert actors[0].actor.startswith("shell:")


def test_a_closed_or_unknown_case_cannot_be_changed(house: House) -> None:
    refused(house)
    identifier = case_id(house)
    assert command(house, "cases", "close", identifier, "--resolution", "done").exit_code == 0
    unknown = "0c4f6d1e-0000-4000-8000-0000000000aa"
    for arguments in (
        ["close", identifier, "--resolution", "again"],
        ["note", identifier, "late"],
        ["assign", unknown, "bea"],
        ["show", unknown],
    ):
        result = command(house, "cases", *arguments)
        assert (result.exit_code, "there is no such" in result.output) == (1, True)
    assert command(house, "cases", "close", identifier).exit_code == 2
    assert house.value("SELECT resolution FROM cases") == "done"
