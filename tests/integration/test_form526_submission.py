"""Submission of a form: whatever the 526 service answers, it is filed once, or a human holds it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import requests

from flaskapp.db import transaction
from flaskapp.form526 import service
from jobs import ledger
from jobs.engine import runner
from sandbox.settings import OPERATOR, kept_secrets
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.edge_app import log_in
from tests.integration.form526_steps import (
    LOOKS,
    STATUS_URL,
    SUBMIT,
    SUBMIT_URL,
    SUBMITS,
    Filer,
    attempts,
    documents,
    filer,
    grant,
    message_of,
    statuses,
    submissions,
    tried,
)
from tests.integration.itf_steps import WITHOUT_ICN, mails, pass_time
from tests.integration.steps import call, command, lose, sweep
from tests.product import ADA, Product

BEN = DEFAULT_CAST[1]
OWN = {"X-Requested-With": "XMLHttpRequest", "Origin": "http://localhost"}


# -- what the service may answer ----------------------------------------------


def test_a_refused_form_is_notified_and_held_and_filed_after_a_requeue_on_the_dashboard(
    product: Product, secrets_folder: Any
) -> None:
    product.control.turn("form526", refuse_with="")
    person = filer(product)
    filed = person.file()
    product.work()
    status = person.status(filed)
    assert (status["status"], status["state"], status["claimId"]) == ("non_retryable_error", "failed", None)
    assert (product.cases(), mails(product), documents(product)) == (["refused"], ["form526.failed"], [])
    assert person.file() == filed
    assert "the person requested it again" in str(product.value("SELECT notes FROM cases"))
    product.control.turn("form526", refuse_with=None)
    sweep(product)
    message, operator = message_of(product, filed["submissionId"]), product.app.test_client()
    assert log_in(operator, kept_secrets(secrets_folder).operator_password, OPERATOR).status_code == 303
    assert operator.post(f"/rq/job/{message['id']}-{message['fence']}/requeue", headers=OWN).status_code == 200
    product.run_queued()
    assert (person.word(filed), product.cases()) == ("try", ["refused"])
    product.work()
    status = person.status(filed)
    assert (status["status"], status["claimId"]) == ("success", submissions(product)[0]["claim_id"])
    assert (mails(product, 2), product.cases()) == (["form526.failed", "form526.accepted"], [])
    assert product.value("SELECT cycle FROM form526_submissions") == 2


def refused_once(product: Product) -> tuple[Filer, dict[str, Any]]:
    """A form that the service refused, and the next of which it would accept."""
    product.control.turn("form526", refuse_with="")
    person = filer(product)
    filed = person.file()
    product.work()
    product.control.turn("form526", refuse_with=None)
    return person, filed


def requeue(product: Product, filed: dict[str, Any], *options: str) -> Any:
    return command(product, "outbox", "requeue", str(message_of(product, filed["submissionId"])["id"]), *options)


def test_a_failed_form_with_a_newer_one_is_requeued_only_although_it_is_superseded(product: Product) -> None:
    person, filed = refused_once(product)
    newer = person.file(note="corrected")["submissionId"]
    assert f"the person filed a newer form: {newer}" in str(product.value("SELECT notes FROM cases"))
    product.work()
    refused = requeue(product, filed)
    assert (refused.exit_code, f"a newer one of the same person exists, {newer}" in refused.output) == (1, True)
    assert "--although-superseded" in refused.output
    message = message_of(product, filed["submissionId"])
    ledger.requeue_from_dashboard(message["id"], message["fence"])
    product.work()
    assert (person.word(filed), len(submissions(product))) == ("non_retryable_error", 1)
    assert newer in message_of(product, filed["submissionId"])["parked_reason"]
    assert requeue(product, filed, "--although-superseded").exit_code == 0
    product.work()
    assert (person.word(filed), len(submissions(product)), product.cases()) == ("success", 2, [])
    moved = "SELECT detail ->> 'although' FROM outbox_history WHERE moved_from = 'failed' AND moved_to = 'pending'"
    assert product.value(moved) == newer


def test_a_newer_form_that_failed_as_well_stands_in_the_way_only_if_it_may_have_arrived(product: Product) -> None:
    person, filed = refused_once(product)
    product.control.turn("form526", refuse_with="")
    newer = person.file(note="corrected")["submissionId"]
    product.work()
    product.control.turn("form526", refuse_with=None)
    product.rows("UPDATE form526_submissions SET unconfirmed = true WHERE id = :id RETURNING 1", id=newer)
    assert requeue(product, filed).exit_code == 1
    product.rows("UPDATE form526_submissions SET unconfirmed = false WHERE id = :id RETURNING 1", id=newer)
    assert requeue(product, filed).exit_code == 0


def test_the_case_of_a_form_that_fails_after_a_newer_one_names_that(product: Product) -> None:
    person = filer(product)
    product.control.set("form526", "refuse")
    filed = person.file()
    product.work(until=tried(product, 1))
    newer = person.file(note="corrected")["submissionId"]
    with transaction() as session:
        service.record_form_failed(session, filed["submissionId"], "exhausted", {})
    assert product.value("SELECT details ->> 'newer' FROM cases") == newer


def test_a_lost_reply_is_looked_up_by_reference_and_sent_once(product: Product) -> None:
    product.control.set("form526", "drop", times=1, operation=SUBMITS)
    person = filer(product)
    filed = person.file()
    product.work(until=tried(product, 1))
    assert person.word(filed) == "try"
    product.work()
    (accepted,) = submissions(product)
    assert (accepted["reference"], person.status(filed)["claimId"]) == (filed["submissionId"], accepted["claim_id"])
    assert attempts(product, filed["submissionId"]) == [("write", "unknown"), ("look_up", "success")]
    assert mails(product) == ["form526.accepted"]


def test_a_form_that_the_service_knows_already_is_recorded_as_accepted(product: Product) -> None:
    person = filer(product)
    filed = person.file()
    body = {"reference": filed["submissionId"], "icn": ADA.icn, "form526": {"a": 1}}
    key = {"x-api-key": product.app.extensions["config"].form526_api_key}
    known = requests.post(f"{product.fakes['form526']}/submissions", json=body, headers=key, timeout=30)
    product.work()
    assert person.status(filed)["claimId"] == known.json()["claimId"]
    assert attempts(product, filed["submissionId"]) == [("write", "error"), ("look_up", "success")]
    assert len(submissions(product)) == 1


def test_a_form_lost_on_the_way_is_sent_again_only_after_two_look_ups(product: Product) -> None:
    product.control.set("form526", "status", status=500, times=1, operation=SUBMITS)
    person = filer(product)
    filed = person.file()
    product.work()
    assert (person.word(filed), len(submissions(product)), product.cases()) == ("success", 1, [])
    made = attempts(product, filed["submissionId"])
    assert (made[0], made[-1]) == (("write", "unknown"), ("write", "success"))
    assert [purpose for purpose, _ in made[1:-1]].count("look_up") >= 2


def test_a_duplicate_that_no_look_up_finds_is_never_sent_again(product: Product) -> None:
    body = json.dumps({"errors": [{"title": "Duplicate", "code": "DUPLICATE", "status": "409"}]})
    product.control.set("form526", "answer", status=409, body=body, times=1, operation=SUBMITS)
    person = filer(product)
    filed = person.file()
    product.work(until=tried(product, 4))
    assert (person.word(filed), submissions(product)) == ("try", [])
    assert [purpose for purpose, _ in attempts(product, filed["submissionId"])] == ["write", *["look_up"] * 3]
    pass_time(product, hours=50)
    product.work()
    status = person.status(filed)
    assert (status["status"], status["unconfirmed"], product.cases()) == ("exhausted", True, ["may_exist_upstream"])
    assert (mails(product), submissions(product)) == (["form526.unconfirmed"], [])


def test_an_outage_of_the_service_charges_no_attempt_and_the_status_stays_try(product: Product) -> None:
    product.control.set("form526", "refuse")
    person = filer(product)
    filed = person.file()
    for hours in range(1, 4):
        product.work(until=tried(product, hours))
        assert person.word(filed) == "try"
        pass_time(product, hours=20)
    product.control.clear("form526")
    product.work()
    assert person.word(filed) == "success"
    assert not product.value("SELECT bool_or(charged) FROM outbox_attempts WHERE upstream = 'form526'")
    assert product.cases() == []


def test_a_form_is_given_up_after_two_days_of_closed_breaker_and_can_be_requeued(product: Product) -> None:
    person = filer(product)
    filed = person.file()
    product.work(until=lambda: product.value("SELECT identity IS NOT NULL FROM accounts"))
    pass_time(product, hours=50)
    product.control.set("form526", "refuse")
    product.work()
    status = person.status(filed)
    assert (status["status"], status["state"], status["unconfirmed"]) == ("exhausted", "failed", False)
    assert (product.cases(), mails(product)) == (["exhausted"], ["form526.failed"])
    product.control.clear("form526")
    assert command(product, "outbox", "requeue", str(message_of(product, filed["submissionId"])["id"])).exit_code == 0
    product.work()
    assert (person.word(filed), product.cases()) == ("success", [])


def test_giving_up_with_an_open_question_says_so_and_a_late_answer_ends_it(product: Product) -> None:
    """First a look-up gets no answer and the form is given up; then the late answer of the write arrives."""
    person = filer(product)
    filed = person.file()
    product.work(until=lambda: product.value("SELECT identity IS NOT NULL FROM accounts"))
    granted = grant(product, filed["submissionId"])
    answer = call(product, granted, SUBMIT)
    lose(product, granted)
    product.control.set("form526", "html", operation=LOOKS)
    product.work(until=tried(product, 2))
    assert person.word(filed) == "try"
    product.move_clock(timedelta(days=31))
    sweep(product)
    product.work()
    status = person.status(filed)
    assert (status["status"], status["unconfirmed"], "Don't send it again" in status["message"]) == (
        "exhausted",
        True,
        True,
    )
    assert (mails(product), "may_exist_upstream" in product.cases()) == (["form526.unconfirmed"], True)
    runner.finish(SUBMIT, granted, answer)
    assert "answered_late" in product.cases()
    assert command(product, "outbox", "requeue", str(message_of(product, filed["submissionId"])["id"])).exit_code == 0
    product.control.clear("form526")
    product.work()
    assert (person.word(filed), len(submissions(product)), product.cases()) == ("success", 1, [])
    assert mails(product, 2) == ["form526.unconfirmed", "form526.accepted"]


def test_without_an_icn_nothing_is_filed_and_a_human_contacts_the_person(product: Product) -> None:
    person = filer(product, WITHOUT_ICN)
    filed = person.file()
    product.work()
    assert person.word(filed) == "non_retryable_error"
    assert product.cases() == ["refused"]
    assert submissions(product) == []
    assert person.file() == filed
    refused = person.submit(another="form")
    assert (refused.status_code, refused.get_json()["errors"][0]["code"]) == (403, "NO_ICN")
    (case,) = product.rows("SELECT notes, details FROM cases")
    assert (len(case.notes), "not_informed" in case.details) == (2, True)
    # As long as the case is open, another day brings no other one.
    pass_time(product, hours=25)
    assert filer(product, WITHOUT_ICN).submit(third="form").status_code == 403
    product.work()
    assert (product.cases(), product.value("SELECT jsonb_array_length(notes) FROM cases")) == (["refused"], 3)
    assert product.rows("SELECT 1 FROM notifications") == []


def test_to_somebody_known_to_be_nobody_no_form_is_promised(product: Product) -> None:
    """Another flow has shown that VA's records have no ICN for the account. The files wait for their sixty days."""
    person = filer(product, WITHOUT_ICN)
    attachment = person.attach()
    assert person.signed.get("/pension").status_code == 403
    for _ in range(2):
        refused = person.submit(attachment)
        (entry,) = refused.get_json()["errors"]
        assert (refused.status_code, entry["status"], entry["code"]) == (403, "403", "NO_ICN")
        assert "Call VA at" in entry["detail"]
    assert product.value("SELECT count(*) FROM form526_submissions") == 0
    assert (product.messages(), product.cases()) == ([], [])


# -- what the person may send -------------------------------------------------


def test_the_form_arrives_unchanged_under_our_reference(product: Product) -> None:
    form = {
        "form0781": {"incidents": [{"personalAssault": False}], "isVAEmployee": None},
        "secondaryUploadSources0": [{"view:uploaded": "ß \U0001f600", "zip4": 12}],
        "nextOfKin1": {"hasLeft": True},
    }
    person = filer(product)
    filed = person.file(**form)
    product.work()
    (accepted,) = submissions(product)
    assert (accepted["icn"], accepted["reference"]) == (ADA.icn, filed["submissionId"])
    assert accepted["form526"] == {"attachments": [], "veteran": {"note": "as the pages gather it"}, **form}


def test_twenty_simultaneous_posts_are_one_submission_that_others_cannot_see(product: Product) -> None:
    people = [filer(product) for _ in range(20)]
    with ThreadPoolExecutor(10) as hands:
        answers = list(hands.map(lambda person: json.dumps(person.file()), people))
    assert len(set(answers)) == product.value("SELECT count(*) FROM form526_submissions") == product.outstanding() == 1
    filed, other = json.loads(answers[0]), filer(product, BEN)
    client = product.app.test_client()
    for path in (
        f"{STATUS_URL}/{filed['jobId']}",
        f"{SUBMIT_URL.rpartition('/')[0]}/{filed['submissionId']}/documents",
    ):
        refused = client.get(path, headers=other.signed.headers)
        assert (refused.status_code, refused.get_json()["errors"][0]["status"]) == (404, "404")
    assert other.file()["submissionId"] != filed["submissionId"]


def test_an_idempotency_key_names_one_form(product: Product) -> None:
    person = filer(product)

    def post(key: str, note: str) -> Any:
        headers = {**person.signed.headers, "Idempotency-Key": key}
        return product.app.test_client().post(SUBMIT_URL, json={"form526": {"note": note}}, headers=headers)

    assert post("one", "a").get_json() == post("one", "a").get_json()
    reused = post("one", "b")
    assert (reused.status_code, reused.get_json()["errors"][0]["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert (post("", "c").status_code, post("two", "a").status_code) == (400, 202)
    assert product.value("SELECT count(*) FROM form526_submissions") == 1


def test_a_form_may_hold_five_mebibytes_and_a_malformed_one_is_refused_with_an_error(product: Product) -> None:
    person = filer(product)
    client, headers = product.app.test_client(), person.signed.headers
    bodies = {
        413: [json.dumps({"form526": {"note": "x" * 5 * 1024 * 1024}})],
        400: ['{"form526": {', "[]", '{"form526": {"a": NaN}}'],
        422: ["{}", '{"form526": {}}', '{"form526": []}', '{"form526": null}', '{"other": {"a": 1}}'],
    }
    for status, texts in bodies.items():
        for text in texts:
            refused = client.post(SUBMIT_URL, data=text, content_type="application/json", headers=headers)
            (error,) = refused.get_json()["errors"]
            assert (refused.status_code, error["status"], bool(error["detail"])) == (status, str(status), True), text
    assert client.post(SUBMIT_URL, data="form526=1", headers=headers).status_code == 415
    assert client.post(SUBMIT_URL, json={"form526": {"a": 1}}).status_code == 401
    assert product.value("SELECT count(*) FROM form526_submissions") == 0
    assert person.submit(note="x" * 5_000_000).status_code == 202


def test_a_character_that_cannot_be_stored_costs_no_form(product: Product) -> None:
    """Pasted from a PDF, cut out of an emoji: the page would only say that something went wrong."""
    person = filer(product)
    filed = person.file(note="pasted\0 and cut \ud83d")
    product.work()
    assert person.word(filed) == "success"
    (sent,) = product.control.received("form526", "POST")
    assert sent["body"]["form526"]["note"] == "pasted\N{REPLACEMENT CHARACTER} and cut \N{REPLACEMENT CHARACTER}"


def test_one_file_named_in_several_spellings_is_one_document(product: Product) -> None:
    """Two documents of one file are forbidden: with two, the form could never be recorded as accepted."""
    person = filer(product)
    named = person.attach()
    guid = named["confirmationCode"]
    spelled = (guid.upper(), guid.replace("-", ""), f"urn:uuid:{guid}", f"{{{guid}}}")
    filed = person.file(named, *({**named, "confirmationCode": other} for other in spelled))
    product.work()
    assert (person.word(filed), statuses(product), product.cases()) == ("success", ["pending"] * 2, [])
