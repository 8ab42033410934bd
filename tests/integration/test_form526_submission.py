"""Submitting a form: however the 526 service takes it, it is filed once, or a human holds it; never neither."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import requests

from jobs.engine import runner
from sandbox.settings import OPERATOR, kept_secrets
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.edge_app import log_in
from tests.house import ADA, House
from tests.integration.form526_steps import (
    LOOKS,
    STATUS_URL,
    SUBMIT,
    SUBMIT_URL,
    SUBMITS,
    attempts,
    documents,
    filer,
    grant,
    owed_of,
    statuses,
    submissions,
    tried,
)
from tests.integration.itf_steps import WITHOUT_ICN, mails, pass_time
from tests.integration.steps import call, command, lose, sweep

BEN = DEFAULT_CAST[1]
OWN = {"X-Requested-With": "XMLHttpRequest", "Origin": "http://localhost"}


# -- what the service may answer ----------------------------------------------


def test_a_refused_form_is_told_and_held_and_filed_after_a_requeue_on_the_dashboard(
    house: House, secrets_folder: Any
) -> None:
    house.control.turn("form526", refuse_with="")
    person = filer(house)
    filed = person.file()
    house.work()
    told = person.status(filed)
    assert (told["status"], told["state"], told["claimId"]) == ("non_retryable_error", "failed", None)
    assert (house.cases(), mails(house), documents(house)) == (["refused"], ["form526.failed"], [])
    assert person.file() == filed
    assert "the person asked again" in str(house.value("SELECT notes FROM cases"))
    house.control.turn("form526", refuse_with=None)
    sweep(house)
    message, operator = owed_of(house, filed["submissionId"]), house.app.test_client()
    assert log_in(operator, kept_secrets(secrets_folder).operator_password, OPERATOR).status_code == 303
    assert operator.post(f"/rq/job/{message['id']}-{message['fence']}/requeue", headers=OWN).status_code == 200
    house.run_queued()
    assert (person.word(filed), house.cases()) == ("try", ["refused"])
    house.work()
    told = person.status(filed)
    assert (told["status"], told["claimId"]) == ("success", submissions(house)[0]["claim_id"])
    assert (mails(house, 2), house.cases()) == (["form526.failed", "form526.accepted"], [])
    assert house.value("SELECT cycle FROM form526_submissions") == 2


def test_a_lost_reply_is_looked_up_by_reference_and_sent_once(house: House) -> None:
    house.control.set("form526", "drop", times=1, operation=SUBMITS)
    person = filer(house)
    filed = person.file()
    house.work(until=tried(house, 1))
    assert person.word(filed) == "try"
    house.work()
    (taken,) = submissions(house)
    assert (taken["reference"], person.status(filed)["claimId"]) == (filed["submissionId"], taken["claim_id"])
    assert attempts(house, filed["submissionId"]) == [("write", "unknown"), ("look_up", "success")]
    assert mails(house) == ["form526.accepted"]


def test_a_form_the_service_knows_already_is_accepted_as_what_it_became(house: House) -> None:
    person = filer(house)
    filed = person.file()
    body = {"reference": filed["submissionId"], "icn": ADA.icn, "form526": {"a": 1}}
    key = {"x-api-key": house.app.extensions["config"].form526_api_key}
    known = requests.post(f"{house.fakes['form526']}/submissions", json=body, headers=key, timeout=30)
    house.work()
    assert person.status(filed)["claimId"] == known.json()["claimId"]
    assert attempts(house, filed["submissionId"]) == [("write", "error"), ("look_up", "success")]
    assert len(submissions(house)) == 1


def test_a_form_that_was_lost_on_the_way_is_sent_again_only_after_two_looks(house: House) -> None:
    house.control.set("form526", "status", status=500, times=1, operation=SUBMITS)
    person = filer(house)
    filed = person.file()
    house.work()
    assert (person.word(filed), len(submissions(house)), house.cases()) == ("success", 1, [])
    made = attempts(house, filed["submissionId"])
    assert (made[0], made[-1]) == (("write", "unknown"), ("write", "success"))
    assert [purpose for purpose, _ in made[1:-1]].count("look_up") >= 2


def test_a_duplicate_that_nobody_can_find_is_never_sent_again(house: House) -> None:
    house.control.set("form526", "status", status=409, times=1, operation=SUBMITS)
    person = filer(house)
    filed = person.file()
    house.work(until=tried(house, 4))
    assert (person.word(filed), submissions(house)) == ("try", [])
    assert [purpose for purpose, _ in attempts(house, filed["submissionId"])] == ["write", *["look_up"] * 3]
    pass_time(house, hours=50)
    house.work()
    told = person.status(filed)
    assert (told["status"], told["unconfirmed"], house.cases()) == ("exhausted", True, ["may_exist_upstream"])
    assert (mails(house), submissions(house)) == (["form526.unconfirmed"], [])


def test_hours_without_the_service_cost_a_form_nothing_and_its_client_waits(house: House) -> None:
    house.control.set("form526", "refuse")
    person = filer(house)
    filed = person.file()
    for hours in range(1, 4):
        house.work(until=tried(house, hours))
        assert person.word(filed) == "try"
        pass_time(house, hours=20)
    house.control.clear("form526")
    house.work()
    assert person.word(filed) == "success"
    assert not house.value("SELECT bool_or(charged) FROM outbox_attempts WHERE upstream = 'form526'")
    assert house.cases() == []


def test_a_form_is_given_up_after_two_days_of_open_gate_and_can_be_taken_up_again(house: House) -> None:
    person = filer(house)
    filed = person.file()
    house.work(until=lambda: house.value("SELECT identity IS NOT NULL FROM accounts"))
    pass_time(house, hours=50)
    house.control.set("form526", "refuse")
    house.work()
    told = person.status(filed)
    assert (told["status"], told["state"], told["unconfirmed"]) == ("exhausted", "failed", False)
    assert (house.cases(), mails(house)) == (["exhausted"], ["form526.failed"])
    house.control.clear("form526")
    assert command(house, "outbox", "requeue", str(owed_of(house, filed["submissionId"])["id"])).exit_code == 0
    house.work()
    assert (person.word(filed), house.cases()) == ("success", [])


def test_giving_up_with_an_open_question_says_so_and_a_late_answer_ends_it(house: House) -> None:
    """First by a look-up that nobody answers; then the answer itself arrives, when all is given up."""
    person = filer(house)
    filed = person.file()
    house.work(until=lambda: house.value("SELECT identity IS NOT NULL FROM accounts"))
    held = grant(house, filed["submissionId"])
    answer = call(house, held, SUBMIT)
    lose(house, held)
    house.control.set("form526", "html", operation=LOOKS)
    house.work(until=tried(house, 2))
    assert person.word(filed) == "try"
    house.move_clock(timedelta(days=31))
    sweep(house)
    house.work()
    told = person.status(filed)
    assert (told["status"], told["unconfirmed"], "Don't send it again" in told["message"]) == ("exhausted", True, True)
    assert (mails(house), "may_exist_upstream" in house.cases()) == (["form526.unconfirmed"], True)
    runner.finish(SUBMIT, held, answer)
    assert "answered_late" in house.cases()
    assert command(house, "outbox", "requeue", str(owed_of(house, filed["submissionId"])["id"])).exit_code == 0
    house.control.clear("form526")
    house.work()
    assert (person.word(filed), len(submissions(house)), house.cases()) == ("success", 1, [])
    assert mails(house, 2) == ["form526.unconfirmed", "form526.accepted"]


def test_without_an_icn_nothing_can_be_filed_and_a_human_reaches_the_person(house: House) -> None:
    person = filer(house, WITHOUT_ICN)
    filed = person.file()
    house.work()
    assert person.word(filed) == "non_retryable_error"
    assert sorted(house.cases()) == ["notice_not_sent", "refused"]
    assert submissions(house) == []


# -- what the person may send -------------------------------------------------


def test_the_form_arrives_as_it_was_posted_under_our_reference(house: House) -> None:
    form = {
        "form0781": {"incidents": [{"personalAssault": False}], "isVAEmployee": None},
        "secondaryUploadSources0": [{"view:uploaded": "ß \U0001f600", "zip4": 12}],
        "nextOfKin1": {"hasLeft": True},
    }
    person = filer(house)
    filed = person.file(**form)
    house.work()
    (taken,) = submissions(house)
    assert (taken["icn"], taken["reference"]) == (ADA.icn, filed["submissionId"])
    assert taken["form526"] == {"attachments": [], "veteran": {"note": "as the pages gather it"}, **form}


def test_twenty_postings_at_once_are_one_submission_and_nobody_elses(house: House) -> None:
    people = [filer(house) for _ in range(20)]
    with ThreadPoolExecutor(10) as hands:
        answers = list(hands.map(lambda person: json.dumps(person.file()), people))
    assert len(set(answers)) == house.value("SELECT count(*) FROM form526_submissions") == house.owed() == 1
    filed, other = json.loads(answers[0]), filer(house, BEN)
    client = house.app.test_client()
    for path in (
        f"{STATUS_URL}/{filed['jobId']}",
        f"{SUBMIT_URL.rpartition('/')[0]}/{filed['submissionId']}/documents",
    ):
        refused = client.get(path, headers=other.signed.headers)
        assert (refused.status_code, refused.get_json()["errors"][0]["status"]) == (404, "404")
    assert other.file()["submissionId"] != filed["submissionId"]


def test_a_key_names_one_form(house: House) -> None:
    person = filer(house)

    def post(key: str, note: str) -> Any:
        headers = {**person.signed.headers, "Idempotency-Key": key}
        return house.app.test_client().post(SUBMIT_URL, json={"form526": {"note": note}}, headers=headers)

    assert post("one", "a").get_json() == post("one", "a").get_json()
    reused = post("one", "b")
    assert (reused.status_code, reused.get_json()["errors"][0]["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert (post("", "c").status_code, post("two", "a").status_code) == (400, 202)
    assert house.value("SELECT count(*) FROM form526_submissions") == 1


def test_a_form_may_hold_five_mebibytes_and_what_is_none_is_refused_in_the_errors_shape(house: House) -> None:
    person = filer(house)
    client, headers = house.app.test_client(), person.signed.headers
    bodies = {
        413: [json.dumps({"form526": {"note": "x" * 5 * 1024 * 1024}})],
        400: ['{"form526": {', "[]", '{"form526": {"a": NaN}}', '{"form526": {"a": "\\u0000"}}'],
        422: ["{}", '{"form526": {}}', '{"form526": []}', '{"form526": null}', '{"other": {"a": 1}}'],
    }
    for status, texts in bodies.items():
        for text in texts:
            refused = client.post(SUBMIT_URL, data=text, content_type="application/json", headers=headers)
            (error,) = refused.get_json()["errors"]
            assert (refused.status_code, error["status"], bool(error["detail"])) == (status, str(status), True), text
    assert client.post(SUBMIT_URL, data="form526=1", headers=headers).status_code == 415
    assert client.post(SUBMIT_URL, json={"form526": {"a": 1}}).status_code == 401
    assert house.value("SELECT count(*) FROM form526_submissions") == 0
    assert person.submit(note="x" * 5_000_000).status_code == 202


def test_one_file_named_in_several_spellings_is_one_document(house: House) -> None:
    """Two documents of one file are forbidden: were they made, the form could never be recorded as accepted."""
    person = filer(house)
    named = person.attach()
    guid = named["confirmationCode"]
    spelled = (guid.upper(), guid.replace("-", ""), f"urn:uuid:{guid}", f"{{{guid}}}")
    filed = person.file(named, *({**named, "confirmationCode": other} for other in spelled))
    house.work()
    assert (person.word(filed), statuses(house), house.cases()) == ("success", ["pending"] * 2, [])
