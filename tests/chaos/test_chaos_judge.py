"""The judge of a chaos run finds every wrong: the rows of promises that were kept, with one thing of them changed."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from flaskapp import create_app
from flaskapp.config import from_env
from flaskapp.db import db
from sandbox.chaos.evidence import Evidence, gather
from sandbox.chaos.journeys import FORM, ITF, TRAVEL_CLAIM, TRAVEL_PAY
from sandbox.chaos.judge import Verdicts, held_promises, judge
from sandbox.settings import environment, kept_secrets
from sandbox.story_form526 import KNOBS
from tests.chaos.journeys import sync_only
from tests.product import SETTINGS, Product


@pytest.fixture(scope="module")
def kept(migrated, redis_server, fakes, secrets_folder) -> Evidence:
    """The evidence after a few journeys that went well."""
    fakes.fakes.reset()
    settings = {**SETTINGS, "DOCUMENT_POLL_MINUTES": "0.0001"}
    with migrated.copied() as url:
        app = create_app(from_env(environment(url, redis_server.url, fakes, kept_secrets(secrets_folder), settings)))
        product = Product(app, fakes)
        product.redis.flushall()
        product.control.turn("documents", **KNOBS | {"step_seconds": 0})
        with app.app_context():
            found = gather(url, product.control, sync_only(product))
            db.session.remove()
            db.engine.dispose()
        product.redis.close()
        return found


@pytest.fixture
def evidence(kept: Evidence) -> Evidence:
    return copy.deepcopy(kept)


def test_there_is_no_complaint_about_promises_that_were_kept(evidence):
    assert Counter(promise.flow for promise in evidence.promises) == {ITF: 2, TRAVEL_PAY: 2, FORM: 2, TRAVEL_CLAIM: 3}
    assert {row["state"] for row in evidence.documents} == {"done", "failed"}
    assert {row["state"] for row in evidence.subjects if row["flow"] == TRAVEL_CLAIM} == {
        "submitted",
        "duplicate",
        "failed",
    }
    assert judge(evidence) == Verdicts()


def row_of(rows: list[Any], **wanted: Any) -> Any:
    return next(row for row in rows if wanted.items() <= row.items())


def forget_a_claim(evidence: Evidence) -> None:
    evidence.subjects.remove(row_of(evidence.subjects, flow=TRAVEL_CLAIM, state="submitted"))


def lose_a_claim_upstream(evidence: Evidence) -> None:
    evidence.claims.remove(row_of(evidence.claims, source="submitted"))


def lose_an_upload(evidence: Evidence) -> None:
    done = row_of(evidence.documents, state="done")
    evidence.uploads.remove(row_of(evidence.uploads, id=done["request_id"]))


@pytest.mark.parametrize("harm", [forget_a_claim, lose_a_claim_upstream, lose_an_upload])
def test_what_was_promised_and_is_nowhere_counts_as_lost(evidence, harm):
    harm(evidence)
    assert len(judge(evidence).lost) == 1


def text_twice(evidence: Evidence) -> None:
    evidence.sends.append(dict(row_of(evidence.sends, channel="sms")))


def file_twice(name: str) -> Callable[[Evidence], None]:
    def harm(evidence: Evidence) -> None:
        getattr(evidence, name).append(copy.deepcopy(getattr(evidence, name)[0]))

    return harm


def pay_mileage_twice(evidence: Evidence) -> None:
    expenses = evidence.travel_pay[0]["expenses"]
    expenses.append(dict(expenses[0]))


def answer_with_two_ids(evidence: Evidence) -> None:
    """A second promise of the same claim. That Postgres does not have it is another complaint."""
    first = next(promise for promise in evidence.promises if promise.flow == TRAVEL_CLAIM)
    evidence.promises = [*evidence.promises, replace(first, key="another")]


HARMS = {
    "a text": text_twice,
    "a claim at BTSSS": file_twice("claims"),
    "an ITF": file_twice("itfs"),
    "a form": file_twice("forms"),
    "an upload": file_twice("uploads"),
    "a claim at Travel Pay": file_twice("travel_pay"),
    "mileage": pay_mileage_twice,
    "an id": answer_with_two_ids,
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS.keys())
def test_what_is_upstream_twice_counts_as_a_duplicate(evidence, harm):
    harm(evidence)
    assert len(judge(evidence).duplicate) == 1


def test_a_document_recorded_as_possibly_twice_is_no_duplicate(evidence):
    file_twice("uploads")(evidence)
    upload = evidence.uploads[0]
    document = row_of(evidence.documents, claim=str(upload["claim_id"]), doc_type=upload["doc_type"])
    document["possibly_twice"] = True
    assert judge(evidence) == Verdicts()


def never_send(evidence: Evidence) -> None:
    created = row_of(evidence.notifications, subject_type=TRAVEL_CLAIM, kind="created")
    evidence.sends.remove(row_of(evidence.sends, reference=created["id"]))


def say_something_else(evidence: Evidence) -> None:
    row_of(evidence.sends, template="cie.created")["template"] = "cie.duplicate"


def say_what_is_false(evidence: Evidence) -> None:
    """Somebody who filed at the kiosk is notified that we did."""
    row_of(evidence.notifications, kind="duplicate")["kind"] = "created"
    row_of(evidence.sends, template="cie.duplicate")["template"] = "cie.created"


def call_it_pending(evidence: Evidence) -> None:
    row_of(evidence.subjects, flow=ITF)["state"] = "pending"


def enqueue_a_second_notification(evidence: Evidence) -> None:
    evidence.notifications.append(row_of(evidence.notifications, kind="accepted") | {"id": "another"})


def close_the_case(evidence: Evidence) -> None:
    """The case of the document that failed. A right notification of the failure does not replace the human."""
    evidence.cases.remove(row_of(evidence.cases, kind="document_failed"))


def leave_a_document_under_way(evidence: Evidence) -> None:
    row_of(evidence.documents, state="done")["state"] = "pending"


def send_an_older_text_last(evidence: Evidence) -> None:
    """A claim that failed, and was filed when it was requeued: the older text came last."""
    created = row_of(evidence.notifications, subject_type=TRAVEL_CLAIM, kind="created")
    evidence.notifications.append(created | {"id": "older", "kind": "error", "cycle": created["cycle"] - 1})
    evidence.sends.append(row_of(evidence.sends, reference=created["id"]) | {"reference": "older"})


def send_a_withdrawn_text(evidence: Evidence) -> None:
    """The same in the right order, but our row says that nobody got it."""
    send_an_older_text_last(evidence)
    evidence.sends.insert(0, evidence.sends.pop())
    row_of(evidence.notifications, id="older")["state"] = "withdrawn"


def withdraw_the_only_one(evidence: Evidence) -> None:
    created = row_of(evidence.notifications, subject_type=TRAVEL_CLAIM, kind="created")
    created["state"] = "withdrawn"
    evidence.sends.remove(row_of(evidence.sends, reference=created["id"]))


@pytest.mark.parametrize(
    "harm",
    [
        send_an_older_text_last,
        send_a_withdrawn_text,
        withdraw_the_only_one,
        never_send,
        say_something_else,
        say_what_is_false,
        call_it_pending,
        enqueue_a_second_notification,
        close_the_case,
        leave_a_document_under_way,
    ],
)
def test_a_person_without_a_right_notification_and_without_a_human_is_untold(evidence, harm):
    harm(evidence)
    assert judge(evidence).untold


def test_a_failure_and_then_the_success_are_right_notifications(evidence):
    send_an_older_text_last(evidence)
    evidence.sends.insert(0, evidence.sends.pop())
    assert judge(evidence) == Verdicts()


def test_a_withdrawn_notification_need_not_arrive(evidence):
    send_an_older_text_last(evidence)
    evidence.sends.pop()
    row_of(evidence.notifications, id="older")["state"] = "withdrawn"
    assert judge(evidence) == Verdicts()


def test_a_person_whom_a_human_holds_is_not_untold(evidence):
    claim = row_of(evidence.subjects, flow=TRAVEL_CLAIM, state="submitted")
    never_send(evidence)
    evidence.cases.append({"subject_type": TRAVEL_CLAIM, "subject_id": claim["id"], "kind": "overdue", "owner": "rosa"})
    assert judge(evidence) == Verdicts()


def say_a_false_failure_to_somebody_held(evidence: Evidence) -> None:
    """BTSSS filed it, the person was notified that it did not, and a human has it."""
    claim = row_of(evidence.subjects, flow=TRAVEL_CLAIM, state="submitted")
    notification = row_of(evidence.notifications, subject_type=TRAVEL_CLAIM, subject_id=claim["id"])
    claim["state"] = "failed"
    row_of(evidence.sends, reference=notification["id"])["template"] = f"{notification['sender']}.error"
    notification["kind"] = "error"
    evidence.cases.append({"subject_type": TRAVEL_CLAIM, "subject_id": claim["id"], "kind": "refused", "owner": "rosa"})


def promise_too_much_to_somebody_held(evidence: Evidence) -> None:
    claim = row_of(evidence.subjects, flow=TRAVEL_CLAIM, state="failed")
    row_of(evidence.notifications, subject_type=TRAVEL_CLAIM, subject_id=claim["id"])["kind"] = "created"


def call_an_arrived_document_failed(evidence: Evidence) -> None:
    failed = row_of(evidence.documents, state="failed")
    row_of(evidence.uploads, id=failed["request_id"])["state"] = "SUCCESS"


def call_a_document_failed_whose_reply_was_lost(evidence: Evidence) -> None:
    """We hold no request id of it, and Lighthouse has it."""
    failed = row_of(evidence.documents, state="failed")
    row_of(evidence.uploads, id=failed["request_id"])["state"] = "SUCCESS"
    failed["request_id"] = None


@pytest.mark.parametrize(
    "harm",
    [
        say_a_false_failure_to_somebody_held,
        promise_too_much_to_somebody_held,
        call_an_arrived_document_failed,
        call_a_document_failed_whose_reply_was_lost,
    ],
)
def test_a_person_whom_a_human_holds_must_not_be_notified_falsely(evidence, harm):
    harm(evidence)
    assert len(judge(evidence).untold) == 1


def test_a_notification_that_we_do_not_know_is_never_false(evidence):
    call_a_document_failed_whose_reply_was_lost(evidence)
    failed = row_of(evidence.documents, state="failed")
    notification = row_of(evidence.notifications, subject_type="form526_document", subject_id=failed["id"])
    notification["kind"] = "document_unconfirmed"
    row_of(evidence.sends, reference=notification["id"])["template"] = "form526.document_unconfirmed"
    assert judge(evidence) == Verdicts()


def test_the_ending_of_another_document_of_the_same_type_does_not_count(evidence):
    done = row_of(evidence.documents, state="done")
    failed = row_of(evidence.documents, state="failed")
    for row in (row_of(evidence.uploads, id=failed["request_id"]), failed):
        row["doc_type"] = done["doc_type"]
    failed["claim"] = done["claim"]
    row_of(evidence.uploads, id=failed["request_id"])["claim_id"] = int(done["claim"])
    assert judge(evidence).untold == []


def test_submissions_with_humans_are_counted_by_flow(evidence):
    assert held_promises(evidence) == {TRAVEL_CLAIM: 1}
