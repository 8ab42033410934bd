"""Outcomes of a travel pay claim: its state, its words, its answer, its e-mail and its case."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from flaskapp.travel_pay.states import UNCONFIRMED_WORDS, UNFINISHED_WORDS, WORDS
from sandbox.settings import OPERATOR, kept_secrets
from tests.edge_app import log_in
from tests.integration import travel_pay_steps as steps
from tests.integration.itf_steps import pass_time
from tests.integration.steps import command, reconfigure, sweep, tokens_may_be_replaced
from tests.integration.travel_pay_filing import (
    BEN,
    CARLA,
    DOV,
    ELENA,
    FRANK,
    JONAS,
    Filing,
    assert_filed_once,
    come_to,
    file,
    filed,
    plant,
    tried,
)
from tests.integration.travel_pay_reading import APPOINTMENTS_URL, MANY
from tests.integration.travel_pay_steps import BEGIN, CLAIMS_URL, FIND, MILEAGE, SUBMIT, traveling
from tests.product import ADA, Product

OWN = {"X-Requested-With": "XMLHttpRequest", "Origin": "http://localhost"}


@dataclass(frozen=True)
class Ending:
    """How a claim ended, and what its person gets as answer and as e-mail."""

    stands: tuple[str, str]
    answer: tuple[int, str, str]
    notification: str
    cases: list[str]


def ending(filing: Filing) -> Ending:
    (notification,) = filing.notifications
    return Ending(filing.stands, filing.again(), notification, filing.cases)


def failed_at(step: str, status: int, code: str, words: str, notification: str, case: str) -> Ending:
    return Ending(("failed", step), (status, code, words), notification, [case])


def duplicate_at(step: str) -> Ending:
    return Ending(("duplicate", step), (400, "ALREADY_FILED", WORDS["duplicate"]), "duplicate", [])


REFUSED = {
    step: failed_at(step, 422, "NOT_FILED", WORDS["failed"], "failed", "refused") for step in ("appointment", "claim")
} | {"submit": failed_at("submit", 201, "Saved", UNFINISHED_WORDS, "unfinished", "half_filed")}


def test_duplicates_and_refusals_end_as_such_at_each_step(product: Product) -> None:
    steps.refuse_in(product, "Invalid appointment date format", FIND, times=1)
    at_appointment = file(product, ELENA)
    product.work(until=lambda: at_appointment.stands[0] == "failed")
    product.control.set("travel_pay", "status", status=404, operation=SUBMIT)
    at_submit = file(product, BEN)
    come_to(product, "submit", at_submit)
    before = plant(product, ADA)
    found, meanwhile = file(product, ADA), file(product, CARLA)
    at_claim = file(product, JONAS)
    come_to(product, "claim", meanwhile)
    since = plant(product, CARLA)
    product.work()
    assert {each.veteran.first_name: ending(each) for each in (found, meanwhile)} == {
        "Ada": duplicate_at("appointment"),
        "Carla": duplicate_at("claim"),
    }
    refused = {"appointment": at_appointment, "claim": at_claim, "submit": at_submit}
    assert {step: ending(each) for step, each in refused.items()} == REFUSED
    assert [filed(found)[1], filed(meanwhile)[1]] == [before["claimNumber"], since["claimNumber"]]
    assert [each.row["asked_again"] for each in (found, at_submit)] == [0, 1]
    assert (product.outstanding(), command(product, "audit").exit_code) == (0, 0)
    assert_held_with_what_was_done(at_submit)


def assert_held_with_what_was_done(*half: Filing) -> None:
    """The case names the step, notes the person's second request, and names the same claim as BTSSS."""
    for each in half:
        (case,) = each.product.rows("SELECT owner, details, notes FROM cases WHERE subject_id = :id", id=each.id)
        (claim,) = steps.on_file(each.product, each.veteran)
        assert case.owner and (case.details["step"], case.details["ended"]) == (each.stands[1], "refused")
        assert [note["note"] for note in case.notes] == ["the person requested it again"]
        assert claim["id"] == each.row["claim_id"]


def test_a_duplicate_is_the_answer_where_nothing_of_ours_was_lost(product: Product) -> None:
    """Whether or not the appointment names the claim that is there, and whatever the status of ours still says."""
    steps.refuse_in(product, "A claim has already been created for this appointment.", BEGIN)
    at_claim = file(product, ADA)
    product.work()
    assert ending(at_claim) == duplicate_at("claim")
    shown = traveling(product, ADA).read(f"{CLAIMS_URL}/{at_claim.id}")
    assert (shown["claimStatus"], shown["recordMessage"]) == ("On file", WORDS["duplicate"])
    product.control.clear("travel_pay")
    at_submit = file(product, BEN)
    come_to(product, "submit", at_submit)
    steps.refuse_in(product, "This claim has already been submitted.", SUBMIT)
    product.work()
    assert (at_submit.stands, at_submit.cases, at_submit.notifications) == (("submitted", "submit"), [], ["submitted"])
    assert (product.outstanding(), command(product, "audit").exit_code) == (0, 0)


@pytest.mark.parametrize("place", [0, 70, -1])
def test_an_appointment_that_is_there_is_found_wherever_it_stands_in_the_list(product: Product, place: int) -> None:
    shown = traveling(product, MANY).read(APPOINTMENTS_URL)["data"][place]["attributes"]
    steps.refuse_in(product, "The appointment already exists.", FIND)
    filing = file(product, MANY, shown["localStartTime"][:19], facilityStationNumber=shown["locationId"])
    product.work()
    # Most of this person's appointments have a claim.
    assert (filing.stands[0] in ("submitted", "duplicate"), filing.cases) == (True, [])


def test_a_duplicate_at_the_mileage_is_no_duplicate_claim(product: Product) -> None:
    """BTSSS says that it has the expense, and does not show it: the claim is submitted all the same."""
    filing = file(product)
    come_to(product, "expense", filing)
    steps.refuse_in(product, "The expense already exists.", MILEAGE)
    data = {"claimId": filing.row["claim_id"], "status": "ClaimSubmitted"}
    submitted = json.dumps({"statusCode": 200, "message": "Submitted.", "success": True, "data": data})
    product.control.set("travel_pay", "answer", status=200, body=submitted, operation=SUBMIT)
    product.work()
    assert (filing.stands, filing.cases, filing.notifications) == (("submitted", "submit"), [], ["submitted"])
    assert steps.received(product, MILEAGE) == 1


def test_a_claim_that_somebody_submitted_without_its_mileage_goes_to_a_human(product: Product) -> None:
    filing = file(product)
    come_to(product, "expense", filing)
    steps.refuse_in(product, "The claim has already been submitted.", MILEAGE)
    for claim in product.fakes.fakes.travel_pay.book.claims.values():
        claim.moved("ClaimSubmitted")
    product.work(until=tried(filing, 5))
    assert (filing.stands, steps.received(product, MILEAGE)) == (("pending", "expense"), 1)
    pass_time(product, days=5, hours=1)
    sweep(product)
    product.work()
    assert (filing.stands, filing.cases) == (("failed", "expense"), ["may_exist_upstream"])


# -- nothing was done, or not by us -------------------------------------------


def test_an_expired_token_costs_no_step_a_second_attempt(product: Product) -> None:
    filing = file(product)
    come_to(product, "claim", filing)
    for operation, left in ((BEGIN, "claim"), (MILEAGE, "expense")):
        product.control.set("travel_pay", "expire", operation=operation, times=1)
        product.work(until=lambda left=left: filing.row["step"] != left)
        tokens_may_be_replaced(product.redis)
    product.control.set("travel_pay", "expire", operation=SUBMIT, times=1)
    product.control.call("POST", "travel_pay", "revoke", json={"token": "veis"})
    product.work()
    assert_filed_once(filing, "answered")
    assert {status for _, _, status in filing.tries()} == {"success"}
    assert [steps.received(product, operation) for operation in (BEGIN, MILEAGE)] == [2, 2]


def test_outages_and_a_rate_limit_charge_no_attempt(product: Product) -> None:
    """While any of the three upstreams is away, nothing is charged, nothing parked, and nothing sent twice."""
    filing, times = file(product), 2
    product.work(until=tried(filing, 1))
    for upstream in ("veis", "sts", "travel_pay"):
        product.redis.flushall()
        product.control.set(upstream, "refuse")
        product.work(until=tried(filing, times))
        pass_time(product, hours=10)
        product.control.clear(upstream)
        times += 1
    product.control.turn("travel_pay", minute_limit=0)
    reconfigure(product, breaker_cap_seconds=900.0)
    product.relay.settings = product.relay.settings.__class__(0.1, 900.0)
    trip = "SELECT open_until - opened_at > interval '30 seconds' FROM outbox_breakers WHERE reason = 'throttled'"
    product.work(until=lambda: product.rows(trip))
    assert product.rows(trip) == [(True,)]
    product.control.turn("travel_pay", minute_limit=60_000)
    pass_time(product, hours=31)
    product.work()
    assert_filed_once(filing, "answered")
    assert product.value("SELECT count(*) FROM outbox_attempts WHERE charged") == 0
    assert {purpose for _, purpose, _ in filing.tries()} == {"read", "write"}
    assert (steps.received(product, BEGIN), filing.notifications) == (1, ["submitted"])


def test_while_sts_refuses_us_nobody_fails_and_everything_is_filed_afterwards(product: Product) -> None:
    """STS answers every fault of ours with a 400, and none of the person's: our clock is wrong, not their claim."""
    begun = file(product, BEN)
    come_to(product, "expense", begun)
    fresh = file(product, CARLA)
    # Without Redis and in another process: nobody has a token left.
    product.redis.flushall()
    reconfigure(product)
    product.control.set(
        "sts",
        "answer",
        status=400,
        headers={"Content-Type": "application/json"},
        body='{"errors":"Assertion issuance timestamp is not valid"}',
    )
    exchanges = len(product.control.received("sts"))
    for storm in range(1, 5):
        product.work(until=lambda storm=storm: len(product.control.received("sts")) >= exchanges + storm)
        pass_time(product, hours=20)
        sweep(product)
    for each in (begun, fresh):
        assert (each.row["state"], each.again()[0], each.notifications, each.cases) == ("pending", 202, [], ["overdue"])
    read = steps.traveling(product, BEN).get(steps.CLAIMS_URL)
    assert (read.status_code, int(read.headers["Retry-After"]) > 0) == (206, True)
    assert [claim["claimStatus"] for claim in read.get_json()["data"]] == ["Received"]
    reason = "SELECT reason FROM outbox_breakers WHERE upstream = 'travel_pay'"
    assert product.value(reason) == "unauthorized"
    product.control.clear("sts")
    pass_time(product, hours=1)
    product.work()
    for each in (begun, fresh):
        assert_filed_once(each, "answered")
        assert each.notifications == ["submitted"]
    assert product.value("SELECT count(*) FROM outbox_attempts WHERE charged") == 0
    assert sorted(steps.e_mails(product, 2)) == ["travel_pay.submitted"] * 2


# -- given up -----------------------------------------------------------------


def five_days_pass(product: Product) -> list[Filing]:
    """One claim never tried, two with an unanswered write, and one begun and not submitted: all given up."""
    reconfigure(product, travel_pay_confirm_seconds=1e9)
    for operation in (BEGIN, MILEAGE):
        product.control.set("travel_pay", "status", status=500, operation=operation, times=1)
    waiting = [file(product, veteran) for veteran in (BEN, CARLA, DOV)]
    product.work(until=lambda: sorted(each.row["step"] for each in waiting) == ["claim", "expense", "submit"])
    untried = file(product, FRANK)
    pass_time(product, days=5, hours=1)
    sweep(product)
    product.work()
    return [untried, *sorted(waiting, key=lambda each: each.row["step"])]


def test_after_five_days_everybody_gets_the_true_state_and_a_requeue_continues_at_its_step(
    product: Product,
) -> None:
    given_up = five_days_pass(product)
    answers = [(each.stands, each.again(), each.notifications) for each in given_up]
    assert answers == [
        (("failed", "appointment"), (422, "NOT_FILED", WORDS["failed"]), []),
        (("failed", "claim"), (202, "Not confirmed", UNCONFIRMED_WORDS), ["unconfirmed"]),
        (("failed", "expense"), (202, "Incomplete", UNCONFIRMED_WORDS), ["unconfirmed"]),
        (("failed", "submit"), (201, "Saved", UNFINISHED_WORDS), ["unfinished"]),
    ]
    assert [each.cases for each in given_up] == [
        ["exhausted"],
        ["may_exist_upstream"],
        ["may_exist_upstream"],
        ["half_filed"],
    ]
    reconfigure(product, travel_pay_confirm_seconds=0.05)
    for each in given_up:
        assert command(product, "outbox", "requeue", str(each.message["id"])).exit_code == 0
        assert each.row["state"] == "pending" and each.cases
    product.work()
    for each in given_up:
        assert_filed_once(each, "answered")
        # Whom nobody had identified could not be written to before.
        assert each.notifications[-1] == "submitted"
    assert [steps.received(product, operation) for operation in (BEGIN, MILEAGE, SUBMIT)] == [5, 5, 4]


def test_a_claim_has_no_newer_one_that_a_requeue_would_file_as_well(product: Product) -> None:
    """The same appointment is the same row, and posting it again after a failure is refused: so no
    `--although-superseded` is wanted here."""
    steps.refuse_in(product, "Invalid appointment date format", FIND, times=1)
    filing = file(product)
    product.work()
    assert (filing.stands[0], filing.again()) == ("failed", (422, "NOT_FILED", WORDS["failed"]))
    assert [str(each["id"]) for each in steps.rows(product)] == [filing.id]
    assert command(product, "outbox", "requeue", str(filing.message["id"])).exit_code == 0
    assert filing.again()[0] == 202
    product.work()
    assert_filed_once(filing, "answered")
    assert [str(each["id"]) for each in steps.rows(product)] == [filing.id]


def test_a_requeue_on_the_dashboard_continues_at_its_step(product: Product, secrets_folder: Any) -> None:
    """Refused once more, the claim fails once more, and its person is notified again."""
    product.control.set("travel_pay", "status", status=404, operation=SUBMIT, times=2)
    filing = file(product)
    product.work()
    sweep(product)
    client = product.app.test_client()
    assert log_in(client, kept_secrets(secrets_folder).operator_password, OPERATOR).status_code == 303
    job_id = f"{filing.message['id']}-{filing.message['fence']}"
    assert job_id in client.get("/rq/0/data/jobs/travel_pay/failed/8/asc/1.json").text
    assert client.post(f"/rq/job/{job_id}/requeue", headers=OWN).status_code == 200
    product.run_queued()
    product.work()
    assert (filing.stands, filing.cases) == (("failed", "submit"), ["half_filed"])
    assert command(product, "outbox", "requeue", str(filing.message["id"])).exit_code == 0
    product.work()
    assert_filed_once(filing, "answered")
    assert filing.notifications == ["unfinished", "unfinished", "submitted"]
    assert [job for job, _, _ in filing.tries()][-3:] == ["submit_travel_pay_claim"] * 3
    assert (steps.received(product, FIND), steps.received(product, MILEAGE)) == (1, 1)
