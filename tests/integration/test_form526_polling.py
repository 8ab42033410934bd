"""The fate of documents behind Lighthouse, reported in every possible form, and who is notified of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flaskapp.form526.states import BENEFITS_GATEWAY, CLAIMS_EVIDENCE
from sandbox.upstreams.upload_plans import BGS, PLANS, UNKNOWN_STEP
from tests.integration.form526_polling_steps import accepted, change, facts, forget, plant, stamps, status_requests
from tests.integration.form526_steps import documents, filer, poll, questions, statuses, uploaded
from tests.integration.itf_steps import mails
from tests.integration.steps import command, reconfigure, sweep
from tests.product import Product

Fate = tuple[str, str | None, str | None, list[str]]

DONE: Fate = ("done", None, None, [])
PENDING: Fate = ("pending", None, None, [])
LOST: Fate = ("failed", CLAIMS_EVIDENCE, "document_failed", ["document_failed"])
IN_EFOLDER: Fate = ("failed", BENEFITS_GATEWAY, "document_incomplete", ["document_in_efolder"])
UNCLEAR: Fate = ("pending", None, None, ["document_unclear"])
# Status, step, e-mail and open case after one poll, by the plan of the upload at Lighthouse.
FATES: dict[str, Fate] = {
    "ok": DONE,
    "fails_at_claims_evidence": LOST,
    "fails_at_bgs": IN_EFOLDER,
    "fails_at_removal": DONE,
    "fails_at_unknown_step": ("failed", UNKNOWN_STEP, "document_failed", ["document_failed"]),
    "fails_without_step": IN_EFOLDER,
    "fails_without_error": IN_EFOLDER,
    "stuck": PENDING,
    "stuck_at_bgs": PENDING,
    "stuck_at_removal": DONE,
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
    return row["lighthouse_status"], row["failed_step"], row["notification"], sorted(cases.get(str(row["id"]), []))


def fates(product: Product, plans: dict[int, str]) -> dict[str, Fate]:
    """Status, step, e-mail and open cases of every document, by the plan of its upload."""
    cases: dict[str, list[str]] = {}
    for row in product.rows("SELECT subject_id, kind FROM cases WHERE closed_at IS NULL"):
        cases.setdefault(row.subject_id, []).append(row.kind)
    return {plans[row["lighthouse_request_id"]]: fate(row, cases) for row in documents(product)}


def test_every_fate_at_lighthouse_and_every_way_to_report_it(product: Product) -> None:
    assert set(FATES) == set(PLANS)
    product.control.turn("documents", plans={"L023": "fails_at_claims_evidence"}, step_seconds=1)
    person = filer(product)
    others = [plan for plan in PLANS if plan != "fails_at_claims_evidence"]
    filed = person.file(*[person.attach(f"plan-{plan}.txt") for plan in others])
    product.work()
    poll(product)
    plans = {each["id"]: each["plan"] for each in uploaded(product)}
    assert fates(product, plans) == FATES
    assert [len(ids) for ids in questions(product)] == [len(PLANS)]
    assert None not in stamps(product)
    check_what_the_person_gets(product, person.documents(filed))
    check_times(product)
    # The unclear ones arrive after all; documents in a final state are not polled again.
    change(product, plan="ok")
    poll(product)
    waiting = {plan for plan, fate in FATES.items() if fate[0] == "pending"}
    assert fates(product, plans) == FATES | dict.fromkeys(waiting, DONE)
    assert {plans[request_id] for request_id in questions(product)[-1]} == waiting
    closed = product.rows("SELECT kind, resolution FROM cases WHERE closed_at IS NOT NULL")
    assert [tuple(row) for row in closed] == [("document_unclear", "it arrived")] * 3
    assert command(product, "audit").exit_code == 0


def check_what_the_person_gets(product: Product, listed: list[dict[str, Any]]) -> None:
    """One e-mail for each failure, the BDD instructions' among them, and the same result in the list."""
    failed = [fate[2] for fate in FATES.values() if fate[0] == "failed"]
    keys = [f"form526.{notification}" for notification in failed]
    assert sorted(mails(product, len(keys) + 1)) == sorted([*keys, "form526.accepted"])
    states = sorted((each["message"].split(".")[0], each["lastCheckedAt"] is not None) for each in listed)
    messages = {
        "done": "This document is in your file",
        "pending": "VA has received this document and is putting it into your file",
        CLAIMS_EVIDENCE: "This document did not get into your file",
        UNKNOWN_STEP: "This document did not get into your file",
        BGS: "This document is in your file, but was not yet linked to your claim",
    }
    assert states == sorted((messages[step or status], True) for status, step, _, _ in FATES.values())


def check_times(product: Product) -> None:
    """Milliseconds, seconds and texts mean the same times; a time that is not given is not invented."""
    begun = {each["id"]: datetime.fromisoformat(each["started_at"]) for each in uploaded(product)}
    plans = {each["id"]: each["plan"] for each in uploaded(product)}
    for row in documents(product):
        plan, started = plans[row["lighthouse_request_id"]], begun[row["lighthouse_request_id"]]
        known = plan not in ("without_time", "without_status", "without_request_id")
        assert (row["started_at"] is not None) == known, plan
        assert not known or abs(row["started_at"] - started) <= timedelta(seconds=1), plan
        endless = plan in ("fails_without_error", "stuck_at_removal")
        ended = row["lighthouse_status"] != "pending" and known and not endless
        assert (row["ended_at"] is not None) == (ended or plan == "unknown_status"), plan
        assert row["ended_at"] is None or row["ended_at"] < datetime.now(UTC) + timedelta(hours=1)
        errors = plan.startswith("fails") and plan != "fails_without_error"
        assert (row["upstream_error"] is not None) == errors, plan


def test_an_unknown_id_is_a_case_at_the_third_poll_and_the_case_closes_when_it_is_known(
    product: Product,
) -> None:
    accepted(product)
    missing, seen = plant(product, 2)
    change(product, plan="stuck")
    forget(product, missing)
    for poll_number in (1, 2, 3, 4):
        poll(product)
        row = facts(product)[missing]
        expected = ["document_not_found"] if poll_number >= 3 else []
        assert (row.status, row.missed, row.cases) == ("pending", poll_number, expected)
        assert facts(product)[seen].missed == 0
        assert len(questions(product)) == poll_number
    # Known again but not arrived yet: the count starts again, and no human need query Lighthouse.
    product.control.call("POST", "documents", "uploads", json={"id": missing, "plan": "stuck"})
    poll(product)
    assert (facts(product)[missing].missed, product.cases()) == (0, [])
    change(product, plan="ok")
    poll(product)
    assert facts(product)[missing].status == "done"
    assert command(product, "audit").exit_code == 0


def test_an_answer_that_leaves_an_id_out_or_names_others_harms_nothing(product: Product) -> None:
    accepted(product)
    left_out, arrived = plant(product, 2)
    others = product.control.call("POST", "documents", "uploads", json={"count": 3, "age_seconds": 600})["ids"]
    forget(product, left_out)
    product.control.turn("documents", not_found_reported="never", unrequested=3)
    poll(product)
    tracked = facts(product)
    assert (tracked[left_out].status, tracked[left_out].missed) == ("pending", 0)
    assert tracked[left_out].cases == ["document_unclear"]
    assert tracked[arrived].status == "done"
    assert tracked.keys().isdisjoint(others)
    assert None not in stamps(product)


def test_a_batch_unknown_to_lighthouse_is_queried_again_in_halves(product: Product) -> None:
    accepted(product)
    ids = plant(product, 7, plan="stuck")
    change(product, plan="stuck")
    everything = sorted(facts(product))
    forget(product, *ids[:3])
    # It answers 404 to eight ids of which it knows five, as if it knew none.
    product.control.set("documents", "status", status=404, operation="uploads/status", times=1)
    poll(product)
    assert [row.missed for row in facts(product).values()] == [int(each in ids[:3]) for each in everything]
    assert None not in stamps(product)
    assert [len(each) for each in questions(product)] == [8, 4, 4]
    # Now it really knows none: each is queried by itself before it counts as unknown.
    forget(product, *(each for each in everything if each not in ids[:3]))
    poll(product)
    assert sorted(row.missed for row in facts(product).values()) == [1] * 5 + [2] * 3
    assert sorted(map(len, questions(product)[3:]), reverse=True) == [8, 4, 4, 2, 2, 2, 2] + [1] * 8
    assert product.cases() == []


def test_every_poll_stamps_every_document_and_ten_days_open_one_case_each(product: Product) -> None:
    accepted(product)
    plant(product, 2, plan="stuck")
    change(product, plan="stuck")
    before: list[Any] = [datetime.min.replace(tzinfo=UTC)] * 3
    for hours in (1.0, 1.0, 24 * 9):
        poll(product, hours)
        now = stamps(product)
        assert all(new > old for new, old in zip(now, before, strict=True))
        before = now
        sweep(product)
        assert product.cases() == []
    assert command(product, "documents", "unfinished").output.count("bdd_instructions") == 3
    for _ in (1, 2):
        poll(product, 24)
        sweep(product)
        assert product.cases() == ["document_stuck"] * 3
    product.rows("UPDATE cases SET closed_at = outbox_now(), closed_by = 'somebody' RETURNING id")
    poll(product)
    sweep(product)
    assert product.cases() == []
    assert status_requests(product) == 6
    poll(product, 48)
    sweep(product)
    assert product.cases() == ["document_stuck"] * 3, "stuck for twice as long"


# -- failures that Lighthouse corrects ------------------------------------------


def failed(product: Product, plan: str = "fails_at_claims_evidence") -> None:
    product.control.turn("documents", plans={"L023": plan}, step_seconds=1)
    accepted(product)
    poll(product)
    assert statuses(product) == ["failed"]


def ask_again(product: Product, days: float) -> int:
    """Let so many days pass; returns how often Lighthouse has been asked by then."""
    poll(product, hours=24 * days)
    return status_requests(product)


@pytest.mark.parametrize("plan", ["fails_at_claims_evidence", "fails_at_bgs"])
def test_a_failure_that_lighthouse_corrects_is_corrected_here_and_the_person_is_told(
    product: Product, plan: str
) -> None:
    failed(product, plan)
    assert ask_again(product, 0.9) == 1
    change(product, plan="ok")
    assert ask_again(product, 0.2) == 2
    (row,) = documents(product)
    assert (row["lighthouse_status"], row["failed_step"], row["poll_due_at"]) == ("done", None, None)
    assert (product.cases(), mails(product, 3)[-1]) == ([], "form526.document_arrived")
    assert ask_again(product, 30) == 2
    assert command(product, "audit", "--trace").exit_code == 0


def test_a_failed_document_is_asked_about_four_times_and_no_more(product: Product) -> None:
    failed(product)
    before = mails(product, 2)
    asked = [ask_again(product, days) for days in (1.1, 1, 1, 4, 7, 30, 30)]
    assert asked == [2, 2, 3, 4, 5, 5, 5]
    (row,) = documents(product)
    assert (row["lighthouse_status"], row["poll_due_at"], row["poll_batch"]) == ("failed", None, None)
    assert (product.cases(), mails(product, 2)) == (["document_failed"], before)


def test_without_days_no_failed_document_is_asked_about_again(product: Product) -> None:
    reconfigure(product, document_ask_again_days=())
    failed(product)
    assert (ask_again(product, 30), documents(product)[0]["poll_due_at"]) == (1, None)
