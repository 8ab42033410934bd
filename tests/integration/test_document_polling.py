"""What becomes of documents behind Lighthouse, told in every way it can be told, and who hears of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from flaskapp.form526.states import BENEFITS_GATEWAY, CLAIMS_EVIDENCE
from sandbox.upstreams.upload_plans import BGS, PLANS, UNKNOWN_STEP
from tests.house import House
from tests.integration.form526_steps import documents, filer, poll, questions, uploaded
from tests.integration.itf_steps import mails
from tests.integration.polling_steps import accepted, asked, change, facts, forget, plant, stamps
from tests.integration.steps import command, sweep

Fate = tuple[str, str | None, str | None, list[str]]

DONE: Fate = ("done", None, None, [])
PENDING: Fate = ("pending", None, None, [])
LOST: Fate = ("failed", CLAIMS_EVIDENCE, "document_failed", ["document_failed"])
IN_EFOLDER: Fate = ("failed", BENEFITS_GATEWAY, "document_incomplete", ["document_in_efolder"])
UNCLEAR: Fate = ("pending", None, None, ["document_unclear"])
# Status, step, e-mail and open case after one poll, by the plan Lighthouse goes by.
FATES: dict[str, Fate] = {
    "ok": DONE,
    "fails_at_claims_evidence": LOST,
    "fails_at_bgs": IN_EFOLDER,
    "fails_at_unknown_step": ("failed", UNKNOWN_STEP, "document_failed", ["document_failed"]),
    "fails_without_step": IN_EFOLDER,
    "fails_without_error": IN_EFOLDER,
    "stuck": PENDING,
    "stuck_at_bgs": PENDING,
    "unknown_step": DONE,
    "unknown_status": UNCLEAR,
    "seconds": DONE,
    "texts": DONE,
    "without_time": DONE,
    "without_steps": DONE,
    "without_status": UNCLEAR,
    "without_request_id": UNCLEAR,
}


def fate(row: dict[str, Any], cases: dict[str, list[str]]) -> Fate:
    return row["lighthouse_status"], row["failed_step"], row["notice"], sorted(cases.get(str(row["id"]), []))


def fates(house: House, plans: dict[int, str]) -> dict[str, Fate]:
    """Status, step, e-mail and open cases of every document, by the plan its upload goes by."""
    cases: dict[str, list[str]] = {}
    for row in house.rows("SELECT subject_id, kind FROM cases WHERE closed_at IS NULL"):
        cases.setdefault(row.subject_id, []).append(row.kind)
    return {plans[row["lighthouse_request_id"]]: fate(row, cases) for row in documents(house)}


def test_every_fate_lighthouse_can_tell_and_every_way_it_tells_it(house: House) -> None:
    assert set(FATES) == set(PLANS)
    house.control.turn("documents", plans={"L023": "fails_at_claims_evidence"}, step_seconds=1)
    person = filer(house)
    others = [plan for plan in PLANS if plan != "fails_at_claims_evidence"]
    filed = person.file(*[person.attach(f"plan-{plan}.txt") for plan in others])
    house.work()
    poll(house)
    plans = {each["id"]: each["plan"] for each in uploaded(house)}
    assert fates(house, plans) == FATES
    assert [len(ids) for ids in questions(house)] == [len(PLANS)]
    assert None not in stamps(house)
    check_what_the_person_hears(house, person.documents(filed))
    check_times(house)
    # The unclear ones arrive after all; what is final is not even asked after again.
    change(house, plan="ok")
    poll(house)
    waiting = {plan for plan, told in FATES.items() if told[0] == "pending"}
    assert fates(house, plans) == FATES | dict.fromkeys(waiting, DONE)
    assert {plans[request_id] for request_id in questions(house)[-1]} == waiting
    closed = house.rows("SELECT kind, resolution FROM cases WHERE closed_at IS NOT NULL")
    assert [tuple(row) for row in closed] == [("document_unclear", "it arrived")] * 3
    assert command(house, "audit").exit_code == 0


def check_what_the_person_hears(house: House, listed: list[dict[str, Any]]) -> None:
    """An e-mail each, the BDD instructions' among them, and the same truth in the list."""
    failed = [told[2] for told in FATES.values() if told[0] == "failed"]
    keys = [f"form526.{notice}" for notice in failed]
    assert sorted(mails(house, len(keys) + 1)) == sorted([*keys, "form526.accepted"])
    states = sorted((each["message"].split(".")[0], each["lastCheckedAt"] is not None) for each in listed)
    told = {
        "done": "This document is in your file",
        "pending": "VA has received this document and is putting it into your file",
        CLAIMS_EVIDENCE: "This document did not get into your file",
        UNKNOWN_STEP: "This document did not get into your file",
        BGS: "This document is in your file, but was not yet linked to your claim",
    }
    assert states == sorted((told[step or status], True) for status, step, _, _ in FATES.values())


def check_times(house: House) -> None:
    """Milliseconds, seconds and texts are the same moments; what is not said is not made up."""
    begun = {each["id"]: datetime.fromisoformat(each["started_at"]) for each in uploaded(house)}
    plans = {each["id"]: each["plan"] for each in uploaded(house)}
    for row in documents(house):
        plan, started = plans[row["lighthouse_request_id"]], begun[row["lighthouse_request_id"]]
        known = plan not in ("without_time", "without_status", "without_request_id")
        assert (row["started_at"] is not None) == known, plan
        assert not known or abs(row["started_at"] - started) <= timedelta(seconds=1), plan
        ended = row["lighthouse_status"] != "pending" and known and plan != "fails_without_error"
        assert (row["ended_at"] is not None) == (ended or plan == "unknown_status"), plan
        assert row["ended_at"] is None or row["ended_at"] < datetime.now(UTC) + timedelta(hours=1)
        errors = plan.startswith("fails") and plan != "fails_without_error"
        assert (row["upstream_error"] is not None) == errors, plan


def test_an_id_lighthouse_does_not_know_is_a_case_at_the_third_poll_and_closes_itself_when_known(house: House) -> None:
    accepted(house)
    missing, seen = plant(house, 2)
    change(house, plan="stuck")
    forget(house, missing)
    for poll_number in (1, 2, 3, 4):
        poll(house)
        row = facts(house)[missing]
        expected = ["document_not_found"] if poll_number >= 3 else []
        assert (row.status, row.missed, row.cases) == ("pending", poll_number, expected)
        assert facts(house)[seen].missed == 0
        assert len(questions(house)) == poll_number
    # Known again, if not yet there: the count starts anew, and nobody need ask Lighthouse.
    house.control.call("POST", "documents", "uploads", json={"id": missing, "plan": "stuck"})
    poll(house)
    assert (facts(house)[missing].missed, house.cases()) == (0, [])
    change(house, plan="ok")
    poll(house)
    assert facts(house)[missing].status == "done"
    assert command(house, "audit").exit_code == 0


def test_an_answer_that_leaves_an_id_out_or_tells_of_others_spoils_nothing(house: House) -> None:
    accepted(house)
    left_out, arrived = plant(house, 2)
    others = house.control.call("POST", "documents", "uploads", json={"count": 3, "age_seconds": 600})["ids"]
    forget(house, left_out)
    house.control.turn("documents", not_found_told="never", unasked=3)
    poll(house)
    told = facts(house)
    assert (told[left_out].status, told[left_out].missed) == ("pending", 0)
    assert told[left_out].cases == ["document_unclear"]
    assert told[arrived].status == "done"
    assert told.keys().isdisjoint(others)
    assert None not in stamps(house)


def test_a_batch_of_which_lighthouse_knows_nothing_is_asked_after_by_halves(house: House) -> None:
    accepted(house)
    ids = plant(house, 7, plan="stuck")
    change(house, plan="stuck")
    everything = sorted(facts(house))
    forget(house, *ids[:3])
    # It answers 404 to eight ids of which it knows five, as if it knew none.
    house.control.set("documents", "status", status=404, operation="uploads/status", times=1)
    poll(house)
    assert [row.missed for row in facts(house).values()] == [int(each in ids[:3]) for each in everything]
    assert None not in stamps(house)
    assert [len(each) for each in questions(house)] == [8, 4, 4]
    # And now it truly knows none: each is asked after alone before it counts as unknown.
    forget(house, *(each for each in everything if each not in ids[:3]))
    poll(house)
    assert sorted(row.missed for row in facts(house).values()) == [1] * 5 + [2] * 3
    assert sorted(map(len, questions(house)[3:]), reverse=True) == [8, 4, 4, 2, 2, 2, 2] + [1] * 8
    assert house.cases() == []


def test_every_poll_stamps_everything_and_ten_days_are_a_case_once(house: House) -> None:
    accepted(house)
    plant(house, 2, plan="stuck")
    change(house, plan="stuck")
    before: list[Any] = [datetime.min.replace(tzinfo=UTC)] * 3
    for hours in (1.0, 1.0, 24 * 9):
        poll(house, hours)
        now = stamps(house)
        assert all(new > old for new, old in zip(now, before, strict=True))
        before = now
        sweep(house)
        assert house.cases() == []
    assert command(house, "documents", "unfinished").output.count("bdd_instructions") == 3
    for _ in (1, 2):
        poll(house, 24)
        sweep(house)
        assert house.cases() == ["document_stuck"] * 3
    house.rows("UPDATE cases SET closed_at = outbox_now(), closed_by = 'somebody' RETURNING id")
    poll(house)
    sweep(house)
    assert house.cases() == []
    assert asked(house) == 6
