"""Giving up and requeueing a travel claim: what the person is sent, which case opens, what each requeue does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flask.testing import FlaskClient

from flaskapp.requeue import requeue_message
from sandbox.settings import OPERATOR, kept_secrets
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.edge_app import log_in
from tests.integration.steps import (
    LATER_THAN_EVER,
    RequestedClaim,
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


def refused_once(product: Product) -> RequestedClaim:
    """A claim that BTSSS refused once and would accept now."""
    product.control.call("POST", "btsss", "outcomes", json={"icn": ADA.icn, "outcome": "refused", "times": 1})
    claim = file_claim(product)
    product.work()
    assert (claim.state["state"], product.cases(), texts(product)) == ("failed", ["refused"], ["cie.error"])
    return claim


def assert_filed_in_its_second_cycle(product: Product, claim: RequestedClaim) -> None:
    product.run_queued()
    product.work()
    assert claim.state["state"] == "submitted"
    assert texts(product, 2) == ["cie.error", "cie.created"]
    assert product.cases() == []
    assert product.rows("SELECT kind, cycle FROM notifications ORDER BY cycle") == [("error", 1), ("created", 2)]
    assert command(product, "audit").exit_code == 0


# -- giving up ----------------------------------------------------------------


def test_a_claim_is_given_up_after_25_hours_of_closed_breaker(product: Product) -> None:
    claim = file_claim(product)
    product.move_clock(timedelta(hours=25, minutes=1))
    product.control.set("veis", "refuse")
    product.work()
    product.control.clear("veis")
    assert (claim.state["state"], claim.state["unconfirmed"]) == ("failed", False)
    assert (product.cases(), texts(product)) == (["exhausted"], ["cie.error"])
    (attempt,) = product.rows("SELECT status FROM outbox_attempts WHERE upstream = 'btsss'")
    assert (attempt.status, claim.message["state"]) == ("expired", "parked")
    assert product.submits() == []


def test_hours_of_open_breaker_use_up_none_of_a_claims_25(product: Product) -> None:
    product.control.set("veis", "refuse")
    claim = file_claim(product)
    product.work(until=tried(product, 1))
    product.move_clock(timedelta(hours=26))
    product.work(until=tried(product, 2))
    assert claim.state["state"] == "pending"
    product.control.clear("veis")
    product.work()
    assert (claim.state["state"], product.cases()) == ("submitted", [])


def test_five_days_behind_an_open_breaker_end_a_claim(product: Product) -> None:
    reconfigure(product, breaker_open_seconds=10 * 86_400.0, breaker_cap_seconds=10 * 86_400.0)
    product.relay.settings = product.relay.settings.__class__(10 * 86_400.0, 10 * 86_400.0)
    product.control.set("veis", "refuse")
    claim = file_claim(product)
    product.work(until=tried(product, 1))
    product.move_clock(timedelta(days=4, hours=23))
    sweep(product)
    assert claim.state["state"] == "pending"
    product.move_clock(LATER_THAN_EVER)
    sweep(product)
    assert claim.state["state"] == "failed"
    assert sorted(product.cases()) == ["exhausted", "overdue"]
    product.work()
    assert texts(product) == ["cie.error"]
    assert product.submits() == []


def test_giving_up_with_an_open_question_is_never_called_a_failure(product: Product) -> None:
    product.control.set("btsss", "drop", times=1, operation="submitclaim")
    product.control.set("btsss", "html", operation="GetClaimsStatus")
    claim = file_claim(product)
    product.work(until=tried(product, 3))
    product.move_clock(LATER_THAN_EVER)
    sweep(product)
    product.work()
    assert (claim.state["state"], claim.state["unconfirmed"]) == ("failed", True)
    assert "could not confirm" in claim.state["message"]
    assert ("may_exist_upstream" in product.cases(), texts(product)) == (True, ["cie.unconfirmed"])
    assert len(product.submits()) == 1


def test_a_second_request_after_a_failure_is_noted_on_the_case(product: Product) -> None:
    claim = refused_once(product)
    again = product.ask(claim.client)
    assert (again.status_code, again.get_json()["data"]["id"]) == (202, claim.id)
    assert product.value("SELECT asked_again FROM travel_claims") == 1
    (notes,) = product.rows("SELECT notes FROM cases")
    assert [(note["by"], note["note"]) for note in notes[0]] == [("person", "the person requested it again")]
    assert product.outstanding() == 0


# -- requeueing -----------------------------------------------------------------


def test_a_claim_has_no_newer_one_that_a_requeue_would_file_as_well(product: Product) -> None:
    """The same day is the same row, whoever's session requests it: so no `--although-superseded` is wanted here."""
    claim = refused_once(product)
    assert product.ask(product.sign_in()).get_json()["data"]["id"] == claim.id
    assert product.value("SELECT count(*) FROM travel_claims") == 1
    assert command(product, "outbox", "requeue", str(claim.message["id"])).exit_code == 0
    assert product.ask(claim.client).get_json()["data"]["id"] == claim.id
    assert_filed_in_its_second_cycle(product, claim)
    # The refused one and the one that was filed.
    assert (product.value("SELECT count(*) FROM travel_claims"), len(product.submits())) == (1, 2)


def test_a_requeue_from_the_shell_files_notifies_and_closes_the_case(product: Product) -> None:
    claim = refused_once(product)
    result = command(product, "outbox", "requeue", str(claim.message["id"]))
    assert (result.exit_code, "reopened" in result.output) == (0, True)
    assert claim.state["state"] == "pending"
    assert product.cases() == ["refused"]
    assert_filed_in_its_second_cycle(product, claim)
    (move,) = product.rows("SELECT actor FROM outbox_history WHERE moved_from = 'failed' AND moved_to = 'pending'")
    assert move.actor.startswith("shell:")


def operator(product: Product, secrets_folder: Any) -> FlaskClient:
    client = product.app.test_client()
    response = log_in(client, kept_secrets(secrets_folder).operator_password, OPERATOR)
    assert response.status_code == 303, response.text
    return client


def test_a_requeue_from_the_dashboard_files_notifies_and_closes_the_case(product: Product, secrets_folder: Any) -> None:
    claim = refused_once(product)
    sweep(product)
    job_id = f"{claim.message['id']}-{claim.message['fence']}"
    client = operator(product, secrets_folder)
    listed = client.get("/rq/0/data/jobs/travel_claims/failed/8/asc/1.json")
    assert job_id in listed.text and "parked: refused" in listed.text
    assert client.post(f"/rq/job/{job_id}/requeue").status_code == 403
    assert client.post(f"/rq/job/{job_id}/requeue", headers=OWN).status_code == 200
    assert_filed_in_its_second_cycle(product, claim)
    (move,) = product.rows("SELECT actor FROM outbox_history WHERE what = 'message.reopened'")
    assert move.actor == OPERATOR
    sweep(product)
    assert job_id not in client.get("/rq/0/data/jobs/travel_claims/failed/8/asc/1.json").text


def test_a_second_requeue_changes_nothing_from_the_shell_or_the_dashboard(
    product: Product, secrets_folder: Any
) -> None:
    claim = refused_once(product)
    sweep(product)
    message = claim.message
    client = operator(product, secrets_folder)
    assert client.post(f"/rq/job/{message['id']}-{message['fence']}/requeue", headers=OWN).status_code == 200
    assert command(product, "outbox", "requeue", str(message["id"])).exit_code == 0
    second = command(product, "outbox", "requeue", str(message["id"]))
    assert (second.exit_code, "not parked" in second.output) == (1, True)
    assert_filed_in_its_second_cycle(product, claim)
    assert product.value("SELECT count(*) FROM outbox_history WHERE what = 'message.reopened'") == 1
    assert len(product.submits()) == 2


def test_requeueing_all_on_the_dashboard_has_the_same_effect(product: Product, secrets_folder: Any) -> None:
    claim = refused_once(product)
    sweep(product)
    answer = operator(product, secrets_folder).post("/rq/requeue/travel_claims", headers=OWN)
    assert (answer.status_code, answer.get_json()["count"]) == (200, 1)
    assert_filed_in_its_second_cycle(product, claim)


def test_a_failed_entry_that_redis_lost_is_restored_by_a_sweep(product: Product, secrets_folder: Any) -> None:
    claim = refused_once(product)
    product.redis.flushall()
    sweep(product)
    message = claim.message
    client = operator(product, secrets_folder)
    assert client.post(f"/rq/job/{message['id']}-{message['fence']}/requeue", headers=OWN).status_code == 200
    assert_filed_in_its_second_cycle(product, claim)


def test_a_requeue_keeps_an_open_question_open(product: Product) -> None:
    """Parked unresolved, it is looked up before anything is sent again, and found."""
    product.control.set("btsss", "drop", times=1, operation="submitclaim")
    product.control.set("btsss", "html", operation="GetClaimsStatus")
    claim = file_claim(product)
    product.work(until=tried(product, 2))
    product.move_clock(LATER_THAN_EVER)
    sweep(product)
    product.control.clear("btsss")
    before = look_ups(product)
    assert command(product, "outbox", "requeue", str(claim.message["id"])).exit_code == 0
    product.work()
    assert (claim.state["state"], claim.state["unconfirmed"]) == ("submitted", False)
    assert texts(product) == ["cie.created"]
    assert (len(product.submits()), look_ups(product), product.cases()) == (1, before + 1, [])


def test_a_second_failure_after_a_requeue_is_notified_again(product: Product) -> None:
    product.control.play("btsss", "refused")
    claim = file_claim(product)
    product.work()
    assert requeue_message(claim.message["id"], actor="ana") is True
    product.work()
    assert texts(product, 2) == ["cie.error", "cie.error"]
    assert len({sent["reference"] for sent in sends(product)}) == 2
    assert (claim.state["state"], product.cases()) == ("failed", ["refused"])


def test_a_reopened_message_has_a_new_budget(product: Product) -> None:
    claim = file_claim(product)
    product.move_clock(timedelta(hours=25, minutes=1))
    product.control.set("veis", "refuse")
    product.work()
    requeue_message(claim.message["id"], actor="ana")
    product.work(until=tried(product, 4))
    assert claim.state["state"] == "pending"
    product.control.clear("veis")
    product.work()
    assert claim.state["state"] == "submitted"
