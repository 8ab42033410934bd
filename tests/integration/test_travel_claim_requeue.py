"""Giving up, and taking it up again: what the person is told, which case opens, and what each door of requeue does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flask.testing import FlaskClient

from flaskapp.requeue import reopen
from sandbox.settings import OPERATOR, kept_secrets
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.edge_app import log_in
from tests.house import ADA, House
from tests.integration.steps import (
    LATER_THAN_EVER,
    Asked,
    command,
    file_claim,
    look_ups,
    reconfigure,
    sends,
    sweep,
    texts,
)

BEN = DEFAULT_CAST[1]
OWN = {"X-Requested-With": "XMLHttpRequest", "Origin": "http://localhost"}


def tried(house: House, times: int) -> Callable[[], bool]:
    return lambda: house.value("SELECT count(*) >= :n FROM outbox_attempts WHERE status <> 'try'", n=times)


def refused_once(house: House) -> Asked:
    """A claim BTSSS refused, and would take now."""
    house.control.call("POST", "btsss", "outcomes", json={"icn": ADA.icn, "outcome": "refused", "times": 1})
    asked = file_claim(house)
    house.work()
    assert (asked.state["state"], house.cases(), texts(house)) == ("failed", ["refused"], ["cie.error"])
    return asked


def assert_filed_in_its_second_cycle(house: House, asked: Asked) -> None:
    house.run_queued()
    house.work()
    assert asked.state["state"] == "submitted"
    assert texts(house, 2) == ["cie.error", "cie.created"]
    assert house.cases() == []
    assert house.rows("SELECT kind, cycle FROM notifications ORDER BY cycle") == [("error", 1), ("created", 2)]
    assert command(house, "audit").exit_code == 0


# -- giving up ----------------------------------------------------------------


def test_a_claim_is_given_up_after_25_hours_of_open_gate(house: House) -> None:
    asked = file_claim(house)
    house.move_clock(timedelta(hours=25, minutes=1))
    house.control.set("veis", "refuse")
    house.work()
    house.control.clear("veis")
    assert (asked.state["state"], asked.state["unconfirmed"]) == ("failed", False)
    assert (house.cases(), texts(house)) == (["exhausted"], ["cie.error"])
    (attempt,) = house.rows("SELECT status FROM outbox_attempts WHERE upstream = 'btsss'")
    assert (attempt.status, asked.message["state"]) == ("expired", "parked")
    assert house.submits() == []


def test_hours_of_closed_gate_cost_a_claim_nothing_of_its_25(house: House) -> None:
    house.control.set("veis", "refuse")
    asked = file_claim(house)
    house.work(until=tried(house, 1))
    house.move_clock(timedelta(hours=26))
    house.work(until=tried(house, 2))
    assert asked.state["state"] == "pending"
    house.control.clear("veis")
    house.work()
    assert (asked.state["state"], house.cases()) == ("submitted", [])


def test_five_days_behind_a_closed_gate_are_the_end(house: House) -> None:
    reconfigure(house, gate_close_seconds=10 * 86_400.0, gate_cap_seconds=10 * 86_400.0)
    house.relay.settings = house.relay.settings.__class__(10 * 86_400.0, 10 * 86_400.0)
    house.control.set("veis", "refuse")
    asked = file_claim(house)
    house.work(until=tried(house, 1))
    house.move_clock(timedelta(days=4, hours=23))
    sweep(house)
    assert asked.state["state"] == "pending"
    house.move_clock(LATER_THAN_EVER)
    sweep(house)
    assert asked.state["state"] == "failed"
    assert sorted(house.cases()) == ["exhausted", "overdue"]
    house.work()
    assert texts(house) == ["cie.error"]
    assert house.submits() == []


def test_giving_up_while_the_question_is_open_is_never_called_a_failure(house: House) -> None:
    house.control.set("btsss", "drop", times=1, operation="submitclaim")
    house.control.set("btsss", "html", operation="GetClaimsStatus")
    asked = file_claim(house)
    house.work(until=tried(house, 3))
    house.move_clock(LATER_THAN_EVER)
    sweep(house)
    house.work()
    assert (asked.state["state"], asked.state["unconfirmed"]) == ("failed", True)
    assert "could not confirm" in asked.state["message"]
    assert ("may_exist_upstream" in house.cases(), texts(house)) == (True, ["cie.unconfirmed"])
    assert len(house.submits()) == 1


def test_a_person_who_asks_again_after_a_failure_is_noted_on_the_case(house: House) -> None:
    asked = refused_once(house)
    again = house.ask(asked.client)
    assert (again.status_code, again.get_json()["data"]["id"]) == (202, asked.id)
    assert house.value("SELECT asked_again FROM travel_claims") == 1
    (notes,) = house.rows("SELECT notes FROM cases")
    assert [(note["by"], note["note"]) for note in notes[0]] == [("person", "the person asked again")]
    assert house.owed() == 0


# -- taking it up again -------------------------------------------------------


def test_a_requeue_from_the_shell_files_tells_and_closes(house: House) -> None:
    asked = refused_once(house)
    result = command(house, "outbox", "requeue", str(asked.message["id"]))
    assert (result.exit_code, "reopened" in result.output) == (0, True)
    assert asked.state["state"] == "pending"
    assert house.cases() == ["refused"]
    assert_filed_in_its_second_cycle(house, asked)
    (move,) = house.rows("SELECT actor FROM outbox_history WHERE moved_from = 'failed' AND moved_to = 'pending'")
    assert move.actor.startswith("shell:")


def operator(house: House, secrets_folder: Any) -> FlaskClient:
    client = house.app.test_client()
    response = log_in(client, kept_secrets(secrets_folder).operator_password, OPERATOR)
    assert response.status_code == 303, response.text
    return client


def test_a_requeue_from_the_dashboard_files_tells_and_closes(house: House, secrets_folder: Any) -> None:
    asked = refused_once(house)
    sweep(house)
    job_id = f"{asked.message['id']}-{asked.message['fence']}"
    client = operator(house, secrets_folder)
    listed = client.get("/rq/0/data/jobs/travel_claims/failed/8/asc/1.json")
    assert job_id in listed.text and "parked: refused" in listed.text
    assert client.post(f"/rq/job/{job_id}/requeue").status_code == 403
    assert client.post(f"/rq/job/{job_id}/requeue", headers=OWN).status_code == 200
    assert_filed_in_its_second_cycle(house, asked)
    (move,) = house.rows("SELECT actor FROM outbox_history WHERE what = 'message.reopened'")
    assert move.actor == OPERATOR
    sweep(house)
    assert job_id not in client.get("/rq/0/data/jobs/travel_claims/failed/8/asc/1.json").text


def test_a_second_requeue_changes_nothing_whichever_door_it_comes_in_by(house: House, secrets_folder: Any) -> None:
    asked = refused_once(house)
    sweep(house)
    message = asked.message
    client = operator(house, secrets_folder)
    assert client.post(f"/rq/job/{message['id']}-{message['fence']}/requeue", headers=OWN).status_code == 200
    assert command(house, "outbox", "requeue", str(message["id"])).exit_code == 0
    second = command(house, "outbox", "requeue", str(message["id"]))
    assert (second.exit_code, "not parked" in second.output) == (1, True)
    assert_filed_in_its_second_cycle(house, asked)
    assert house.value("SELECT count(*) FROM outbox_history WHERE what = 'message.reopened'") == 1
    assert len(house.submits()) == 2


def test_requeueing_all_on_the_dashboard_goes_through_the_same_door(house: House, secrets_folder: Any) -> None:
    asked = refused_once(house)
    sweep(house)
    answer = operator(house, secrets_folder).post("/rq/requeue/travel_claims", headers=OWN)
    assert (answer.status_code, answer.get_json()["count"]) == (200, 1)
    assert_filed_in_its_second_cycle(house, asked)


def test_a_failed_entry_that_redis_lost_is_back_after_a_sweep(house: House, secrets_folder: Any) -> None:
    asked = refused_once(house)
    house.redis.flushall()
    sweep(house)
    message = asked.message
    client = operator(house, secrets_folder)
    assert client.post(f"/rq/job/{message['id']}-{message['fence']}/requeue", headers=OWN).status_code == 200
    assert_filed_in_its_second_cycle(house, asked)


def test_a_requeue_keeps_an_open_question_open(house: House) -> None:
    """Parked unresolved: it is looked up before anything is sent again, and found."""
    house.control.set("btsss", "drop", times=1, operation="submitclaim")
    house.control.set("btsss", "html", operation="GetClaimsStatus")
    asked = file_claim(house)
    house.work(until=tried(house, 2))
    house.move_clock(LATER_THAN_EVER)
    sweep(house)
    house.control.clear("btsss")
    before = look_ups(house)
    assert command(house, "outbox", "requeue", str(asked.message["id"])).exit_code == 0
    house.work()
    assert (asked.state["state"], asked.state["unconfirmed"]) == ("submitted", False)
    assert texts(house) == ["cie.created"]
    assert (len(house.submits()), look_ups(house), house.cases()) == (1, before + 1, [])


def test_a_requeued_claim_that_fails_again_tells_so_again(house: House) -> None:
    house.control.play("btsss", "refused")
    asked = file_claim(house)
    house.work()
    assert reopen(asked.message["id"], actor="ana") is True
    house.work()
    assert texts(house, 2) == ["cie.error", "cie.error"]
    assert len({sent["reference"] for sent in sends(house)}) == 2
    assert (asked.state["state"], house.cases()) == ("failed", ["refused"])


def test_a_reopened_message_has_a_fresh_budget(house: House) -> None:
    asked = file_claim(house)
    house.move_clock(timedelta(hours=25, minutes=1))
    house.control.set("veis", "refuse")
    house.work()
    reopen(asked.message["id"], actor="ana")
    house.work(until=tried(house, 4))
    assert asked.state["state"] == "pending"
    house.control.clear("veis")
    house.work()
    assert asked.state["state"] == "submitted"
