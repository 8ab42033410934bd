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
from tests.integration.steps import (
    LATER_THAN_EVER,
    RequestedAppointment,
    command,
    file_claim,
    look_ups,
    reconfigure,
    sends,
    sweep,
    texts,
)
from tests.product import ADA, Product

BEN = DEFAULT_CAST[1]
OWN = {"X-Requested-With": "XMLHttpRequest", "Origin": "http://localhost"}


def tried(product: Product, times: int) -> Callable[[], bool]:
    return lambda: product.value("SELECT count(*) >= :n FROM outbox_attempts WHERE status <> 'try'", n=times)


def refused_once(product: Product) -> RequestedAppointment:
    """A claim BTSSS refused, and would take now."""
    product.control.call("POST", "btsss", "outcomes", json={"icn": ADA.icn, "outcome": "refused", "times": 1})
    requested = file_claim(product)
    product.work()
    assert (requested.state["state"], product.cases(), texts(product)) == ("failed", ["refused"], ["cie.error"])
    return requested


def assert_filed_in_its_second_cycle(product: Product, requested: RequestedAppointment) -> None:
    product.run_queued()
    product.work()
    assert requested.state["state"] == "submitted"
    assert texts(product, 2) == ["cie.error", "cie.created"]
    assert product.cases() == []
    assert product.rows("SELECT kind, cycle FROM notifications ORDER BY cycle") == [("error", 1), ("created", 2)]
    assert command(product, "audit").exit_code == 0


# -- giving up ----------------------------------------------------------------


def test_a_claim_is_given_up_after_25_hours_of_closed_breaker(product: Product) -> None:
    requested = file_claim(product)
    product.move_clock(timedelta(hours=25, minutes=1))
    product.control.set("veis", "refuse")
    product.work()
    product.control.clear("veis")
    assert (requested.state["state"], requested.state["unconfirmed"]) == ("failed", False)
    assert (product.cases(), texts(product)) == (["exhausted"], ["cie.error"])
    (attempt,) = product.rows("SELECT status FROM outbox_attempts WHERE upstream = 'btsss'")
    assert (attempt.status, requested.message["state"]) == ("expired", "parked")
    assert product.submits() == []


def test_hours_of_open_breaker_cost_a_claim_nothing_of_its_25(product: Product) -> None:
    product.control.set("veis", "refuse")
    requested = file_claim(product)
    product.work(until=tried(product, 1))
    product.move_clock(timedelta(hours=26))
    product.work(until=tried(product, 2))
    assert requested.state["state"] == "pending"
    product.control.clear("veis")
    product.work()
    assert (requested.state["state"], product.cases()) == ("submitted", [])


def test_five_days_behind_a_open_breaker_are_the_end(product: Product) -> None:
    reconfigure(product, breaker_open_seconds=10 * 86_400.0, breaker_cap_seconds=10 * 86_400.0)
    product.relay.settings = product.relay.settings.__class__(10 * 86_400.0, 10 * 86_400.0)
    product.control.set("veis", "refuse")
    requested = file_claim(product)
    product.work(until=tried(product, 1))
    product.move_clock(timedelta(days=4, hours=23))
    sweep(product)
    assert requested.state["state"] == "pending"
    product.move_clock(LATER_THAN_EVER)
    sweep(product)
    assert requested.state["state"] == "failed"
    assert sorted(product.cases()) == ["exhausted", "overdue"]
    product.work()
    assert texts(product) == ["cie.error"]
    assert product.submits() == []


def test_giving_up_while_the_question_is_open_is_never_called_a_failure(product: Product) -> None:
    product.control.set("btsss", "drop", times=1, operation="submitclaim")
    product.control.set("btsss", "html", operation="GetClaimsStatus")
    requested = file_claim(product)
    product.work(until=tried(product, 3))
    product.move_clock(LATER_THAN_EVER)
    sweep(product)
    product.work()
    assert (requested.state["state"], requested.state["unconfirmed"]) == ("failed", True)
    assert "could not confirm" in requested.state["message"]
    assert ("may_exist_upstream" in product.cases(), texts(product)) == (True, ["cie.unconfirmed"])
    assert len(product.submits()) == 1


def test_a_person_who_asks_again_after_a_failure_is_noted_on_the_case(product: Product) -> None:
    requested = refused_once(product)
    again = product.ask(requested.client)
    assert (again.status_code, again.get_json()["data"]["id"]) == (202, requested.id)
    assert product.value("SELECT asked_again FROM travel_claims") == 1
    (notes,) = product.rows("SELECT notes FROM cases")
    assert [(note["by"], note["note"]) for note in notes[0]] == [("person", "the person asked again")]
    assert product.outstanding() == 0


# -- taking it up again -------------------------------------------------------


def test_a_requeue_from_the_shell_files_tells_and_closes(product: Product) -> None:
    requested = refused_once(product)
    result = command(product, "outbox", "requeue", str(requested.message["id"]))
    assert (result.exit_code, "reopened" in result.output) == (0, True)
    assert requested.state["state"] == "pending"
    assert product.cases() == ["refused"]
    assert_filed_in_its_second_cycle(product, requested)
    (move,) = product.rows("SELECT actor FROM outbox_history WHERE moved_from = 'failed' AND moved_to = 'pending'")
    assert move.actor.startswith("shell:")


def operator(product: Product, secrets_folder: Any) -> FlaskClient:
    client = product.app.test_client()
    response = log_in(client, kept_secrets(secrets_folder).operator_password, OPERATOR)
    assert response.status_code == 303, response.text
    return client


def test_a_requeue_from_the_dashboard_files_tells_and_closes(product: Product, secrets_folder: Any) -> None:
    requested = refused_once(product)
    sweep(product)
    job_id = f"{requested.message['id']}-{requested.message['fence']}"
    client = operator(product, secrets_folder)
    listed = client.get("/rq/0/data/jobs/travel_claims/failed/8/asc/1.json")
    assert job_id in listed.text and "parked: refused" in listed.text
    assert client.post(f"/rq/job/{job_id}/requeue").status_code == 403
    assert client.post(f"/rq/job/{job_id}/requeue", headers=OWN).status_code == 200
    assert_filed_in_its_second_cycle(product, requested)
    (move,) = product.rows("SELECT actor FROM outbox_history WHERE what = 'message.reopened'")
    assert move.actor == OPERATOR
    sweep(product)
    assert job_id not in client.get("/rq/0/data/jobs/travel_claims/failed/8/asc/1.json").text


def test_a_second_requeue_changes_nothing_whichever_door_it_comes_in_by(product: Product, secrets_folder: Any) -> None:
    requested = refused_once(product)
    sweep(product)
    message = requested.message
    client = operator(product, secrets_folder)
    assert client.post(f"/rq/job/{message['id']}-{message['fence']}/requeue", headers=OWN).status_code == 200
    assert command(product, "outbox", "requeue", str(message["id"])).exit_code == 0
    second = command(product, "outbox", "requeue", str(message["id"]))
    assert (second.exit_code, "not parked" in second.output) == (1, True)
    assert_filed_in_its_second_cycle(product, requested)
    assert product.value("SELECT count(*) FROM outbox_history WHERE what = 'message.reopened'") == 1
    assert len(product.submits()) == 2


def test_requeueing_all_on_the_dashboard_goes_through_the_same_door(product: Product, secrets_folder: Any) -> None:
    requested = refused_once(product)
    sweep(product)
    answer = operator(product, secrets_folder).post("/rq/requeue/travel_claims", headers=OWN)
    assert (answer.status_code, answer.get_json()["count"]) == (200, 1)
    assert_filed_in_its_second_cycle(product, requested)


def test_a_failed_entry_that_redis_lost_is_back_after_a_sweep(product: Product, secrets_folder: Any) -> None:
    requested = refused_once(product)
    product.redis.flushall()
    sweep(product)
    message = requested.message
    client = operator(product, secrets_folder)
    assert client.post(f"/rq/job/{message['id']}-{message['fence']}/requeue", headers=OWN).status_code == 200
    assert_filed_in_its_second_cycle(product, requested)


def test_a_requeue_keeps_an_open_question_open(product: Product) -> None:
    """Parked unresolved: it is looked up before anything is sent again, and found."""
    product.control.set("btsss", "drop", times=1, operation="submitclaim")
    product.control.set("btsss", "html", operation="GetClaimsStatus")
    requested = file_claim(product)
    product.work(until=tried(product, 2))
    product.move_clock(LATER_THAN_EVER)
    sweep(product)
    product.control.clear("btsss")
    before = look_ups(product)
    assert command(product, "outbox", "requeue", str(requested.message["id"])).exit_code == 0
    product.work()
    assert (requested.state["state"], requested.state["unconfirmed"]) == ("submitted", False)
    assert texts(product) == ["cie.created"]
    assert (len(product.submits()), look_ups(product), product.cases()) == (1, before + 1, [])


def test_a_requeued_claim_that_fails_again_tells_so_again(product: Product) -> None:
    product.control.play("btsss", "refused")
    requested = file_claim(product)
    product.work()
    assert reopen(requested.message["id"], actor="ana") is True
    product.work()
    assert texts(product, 2) == ["cie.error", "cie.error"]
    assert len({sent["reference"] for sent in sends(product)}) == 2
    assert (requested.state["state"], product.cases()) == ("failed", ["refused"])


def test_a_reopened_message_has_a_fresh_budget(product: Product) -> None:
    requested = file_claim(product)
    product.move_clock(timedelta(hours=25, minutes=1))
    product.control.set("veis", "refuse")
    product.work()
    reopen(requested.message["id"], actor="ana")
    product.work(until=tried(product, 4))
    assert requested.state["state"] == "pending"
    product.control.clear("veis")
    product.work()
    assert requested.state["state"] == "submitted"
