"""Every way a signed-in travel pay claim can end: its state, its words, its answer, its e-mail and its case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flaskapp.travel_pay.states import UNCONFIRMED_WORDS, UNFINISHED_WORDS, WORDS
from sandbox.settings import OPERATOR, kept_secrets
from tests.edge_app import log_in
from tests.house import ADA, House
from tests.integration import travel_pay_steps as steps
from tests.integration.itf_steps import pass_time
from tests.integration.steps import command, reconfigure, sweep
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
from tests.integration.travel_pay_steps import BEGIN, FIND, MILEAGE, SUBMIT

OWN = {"X-Requested-With": "XMLHttpRequest", "Origin": "http://localhost"}


@dataclass(frozen=True)
class Ending:
    """How a claim ended, and what its person is answered and sent."""

    stands: tuple[str, str]
    answer: tuple[int, str, str]
    notice: str
    cases: list[str]


def ending(filing: Filing) -> Ending:
    (notice,) = filing.notices
    return Ending(filing.stands, filing.again(), notice, filing.cases)


def failed_at(step: str, status: int, code: str, words: str, notice: str, case: str) -> Ending:
    return Ending(("failed", step), (status, code, words), notice, [case])


def duplicate_at(step: str) -> Ending:
    return Ending(("duplicate", step), (400, "ALREADY_FILED", WORDS["duplicate"]), "duplicate", [])


REFUSED = {
    step: failed_at(step, 422, "NOT_FILED", WORDS["failed"], "failed", "refused") for step in ("appointment", "claim")
} | {
    step: failed_at(step, 201, status, UNFINISHED_WORDS, "unfinished", "half_filed")
    for step, status in (("expense", "Incomplete"), ("submit", "Saved"))
}


def test_duplicates_and_refusals_at_each_step_end_as_what_they_are(house: House) -> None:
    house.control.set("travel_pay", "status", status=422, operation=SUBMIT)
    at_submit = file(house, BEN)
    come_to(house, "submit", at_submit)
    house.control.set("travel_pay", "status", status=400, operation=MILEAGE)
    before = plant(house, ADA)
    found, meanwhile, at_expense = file(house, ADA), file(house, CARLA), file(house, DOV)
    at_appointment, at_claim = file(house, ELENA, facilityStationNumber="999"), file(house, JONAS)
    come_to(house, "claim", meanwhile)
    since = plant(house, CARLA)
    house.work()
    assert {each.veteran.first_name: ending(each) for each in (found, meanwhile)} == {
        "Ada": duplicate_at("appointment"),
        "Carla": duplicate_at("claim"),
    }
    refused = {"appointment": at_appointment, "claim": at_claim, "expense": at_expense, "submit": at_submit}
    assert {step: ending(each) for step, each in refused.items()} == REFUSED
    assert [filed(found)[1], filed(meanwhile)[1]] == [before["claimNumber"], since["claimNumber"]]
    assert [each.row["asked_again"] for each in (found, at_submit)] == [0, 1]
    assert (house.owed(), command(house, "audit").exit_code) == (0, 0)
    assert_held_with_what_was_done(at_submit, at_expense)


def assert_held_with_what_was_done(*half: Filing) -> None:
    """The case names the step, knows that the person asked again, and BTSSS's claim is the one we name."""
    for each in half:
        (case,) = each.house.rows("SELECT owner, details, notes FROM cases WHERE subject_id = :id", id=each.id)
        (claim,) = steps.on_file(each.house, each.veteran)
        assert case.owner and (case.details["step"], case.details["ended"]) == (each.stands[1], "refused")
        assert [note["note"] for note in case.notes] == ["the person asked again"]
        assert claim["id"] == each.row["claim_id"]


# -- nothing was done, or not by us -------------------------------------------


def test_a_token_that_died_early_costs_no_step_a_second_attempt(house: House) -> None:
    filing = file(house)
    come_to(house, "claim", filing)
    for operation in (BEGIN, MILEAGE, SUBMIT):
        house.control.set("travel_pay", "expire", operation=operation, times=1)
    house.work(until=lambda: filing.row["step"] == "submit")
    house.control.call("POST", "travel_pay", "revoke", json={"token": "veis"})
    house.work()
    assert_filed_once(filing, "answered")
    assert {status for _, _, status in filing.tries()} == {"success"}
    assert [steps.received(house, operation) for operation in (BEGIN, MILEAGE)] == [2, 2]


def test_hours_of_outage_and_a_rate_limit_cost_a_claim_nothing(house: House) -> None:
    """Whichever of the three that have to answer is away: nothing is charged, nothing parked, nothing asked twice."""
    filing, times = file(house), 2
    house.work(until=tried(filing, 1))
    for upstream in ("veis", "sts", "travel_pay"):
        house.redis.flushall()
        house.control.set(upstream, "refuse")
        house.work(until=tried(filing, times))
        pass_time(house, hours=10)
        house.control.clear(upstream)
        times += 1
    house.control.turn("travel_pay", minute_limit=0)
    reconfigure(house, gate_cap_seconds=900.0)
    house.relay.settings = house.relay.settings.__class__(0.1, 900.0)
    closed = "SELECT closed_until - closed_at > interval '30 seconds' FROM outbox_gates WHERE reason = 'throttled'"
    house.work(until=lambda: house.rows(closed))
    assert house.rows(closed) == [(True,)]
    house.control.turn("travel_pay", minute_limit=60_000)
    pass_time(house, hours=31)
    house.work()
    assert_filed_once(filing, "answered")
    assert house.value("SELECT count(*) FROM outbox_attempts WHERE charged") == 0
    assert {purpose for _, purpose, _ in filing.tries()} == {"read", "write"}
    assert (steps.received(house, BEGIN), filing.notices) == (1, ["submitted"])


# -- given up -----------------------------------------------------------------


def five_days_pass(house: House) -> list[Filing]:
    """One claim never tried, two whose answer at a write is open, and one begun and not submitted: all given up."""
    reconfigure(house, travel_pay_settle_seconds=1e9)
    for operation in (BEGIN, MILEAGE):
        house.control.set("travel_pay", "status", status=500, operation=operation, times=1)
    waiting = [file(house, veteran) for veteran in (BEN, CARLA, DOV)]
    house.work(until=lambda: sorted(each.row["step"] for each in waiting) == ["claim", "expense", "submit"])
    untried = file(house, FRANK)
    pass_time(house, days=5, hours=1)
    sweep(house)
    house.work()
    return [untried, *sorted(waiting, key=lambda each: each.row["step"])]


def test_after_five_days_everybody_is_told_what_is_so_and_a_requeue_goes_on_where_it_stood(house: House) -> None:
    given_up = five_days_pass(house)
    answers = [(each.stands, each.again(), each.notices) for each in given_up]
    assert answers == [
        (("failed", "appointment"), (422, "NOT_FILED", WORDS["failed"]), ["failed"]),
        (("failed", "claim"), (202, "Not filed", UNCONFIRMED_WORDS), ["unconfirmed"]),
        (("failed", "expense"), (202, "Incomplete", UNCONFIRMED_WORDS), ["unconfirmed"]),
        (("failed", "submit"), (201, "Saved", UNFINISHED_WORDS), ["unfinished"]),
    ]
    assert [each.cases for each in given_up] == [
        ["exhausted"],
        ["may_exist_upstream"],
        ["may_exist_upstream"],
        ["half_filed"],
    ]
    reconfigure(house, travel_pay_settle_seconds=0.05)
    for each in given_up:
        assert command(house, "outbox", "requeue", str(each.message["id"])).exit_code == 0
        assert each.row["state"] == "pending" and each.cases
    house.work()
    for each in given_up:
        assert_filed_once(each, "answered")
        assert each.notices[1:] == ["submitted"]
    assert [steps.received(house, operation) for operation in (BEGIN, MILEAGE, SUBMIT)] == [5, 5, 4]


def test_a_requeue_on_the_dashboard_goes_on_at_the_step_it_stood_at(house: House, secrets_folder: Any) -> None:
    """Refused once more it fails once more, and says so again."""
    house.control.set("travel_pay", "status", status=403, operation=SUBMIT, times=2)
    filing = file(house)
    house.work()
    sweep(house)
    client = house.app.test_client()
    assert log_in(client, kept_secrets(secrets_folder).operator_password, OPERATOR).status_code == 303
    job_id = f"{filing.message['id']}-{filing.message['fence']}"
    assert job_id in client.get("/rq/0/data/jobs/travel_pay/failed/8/asc/1.json").text
    assert client.post(f"/rq/job/{job_id}/requeue", headers=OWN).status_code == 200
    house.run_queued()
    house.work()
    assert (filing.stands, filing.cases) == (("failed", "submit"), ["half_filed"])
    assert command(house, "outbox", "requeue", str(filing.message["id"])).exit_code == 0
    house.work()
    assert_filed_once(filing, "answered")
    assert filing.notices == ["unfinished", "unfinished", "submitted"]
    assert [job for job, _, _ in filing.tries()][-3:] == ["submit_claim"] * 3
    assert (steps.received(house, FIND), steps.received(house, MILEAGE)) == (1, 1)
