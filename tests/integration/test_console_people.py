"""Roles of operators: who may look, who may act, and who may see people, which is recorded with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from sandbox.settings import OPERATOR
from tests.dashboard import OWN
from tests.edge_app import csrf_of
from tests.integration.console_steps import act, become, logged_in, read
from tests.integration.form526_steps import filer
from tests.integration.itf_steps import sign_in
from tests.integration.steps import file_claim, refused
from tests.product import ADA, Product

PEOPLE = "/ops/people/"


@pytest.fixture
def operator(product: Product, secrets_folder: Path) -> FlaskClient:
    """An administrator, as after `make run`."""
    return logged_in(product, secrets_folder)


def test_who_it_is_is_shown_with_a_reason_that_stands_in_the_story(
    product: Product, operator: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    claim = file_claim(product)
    page = f"/ops/submissions/travel_claim/{claim.id}"
    assert ADA.icn not in read(operator, page)
    shown = act(operator, page, f"{PEOPLE}travel_claim/{claim.id}", reason="to call back")
    assert ADA.icn in shown and ADA.phone in shown
    story = read(operator, page)
    assert f"revealed (reason to call back) <small>{OPERATOR}</small>" in story and ADA.icn not in story
    assert ADA.icn not in caplog.text
    (event,) = [record for record in caplog.records if getattr(record, "event", "") == "person.revealed"]
    assert vars(event)["by"] == OPERATOR


def test_nothing_is_shown_if_the_reason_cannot_be_recorded(
    product: Product, operator: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = file_claim(product)
    page = f"/ops/submissions/travel_claim/{claim.id}"
    token = csrf_of(operator.get(page).text)
    monkeypatch.setattr("flaskapp.ops.people.write_history", lambda *_, **__: 1 / 0)
    answer = operator.post(f"{PEOPLE}travel_claim/{claim.id}", data={"csrf_token": token, "reason": "x"})
    assert answer.status_code == 500 and ADA.icn not in answer.text


def test_the_person_of_an_account_and_the_name_of_a_file_are_shown_and_no_form(
    product: Product, operator: FlaskClient
) -> None:
    person = filer(product)
    filed = person.file(person.attach("Zzyzxfield letter.txt"), note="not to be shown")
    product.work()
    form = f"form526_submission/{filed['submissionId']}"
    shown = act(operator, f"/ops/submissions/{form}", f"{PEOPLE}{form}", reason="x")
    assert ADA.icn in shown and "not to be shown" not in shown
    document = f"form526_document/{product.value('SELECT id::text FROM form526_document_submissions')}"
    assert "Zzyzxfield letter.txt" in act(operator, f"/ops/submissions/{document}", f"{PEOPLE}{document}", reason="x")


def test_a_person_is_found_by_icn_or_account_with_all_that_they_have_with_us(
    product: Product, operator: FlaskClient
) -> None:
    claim = file_claim(product)
    sign_in(product).ask()
    product.work()
    itf = str(product.value("SELECT id::text FROM intents_to_file"))
    account = str(product.value("SELECT account_id::text FROM intents_to_file"))
    for wanted in (ADA.icn, ADA.icn.lower(), account):
        page = act(operator, PEOPLE, PEOPLE, person=wanted, reason="they called")
        assert f"/travel_claim/{claim.id}" in page and f"/intent_to_file/{itf}" in page, wanted
        assert ADA.icn not in page
    assert "0 found" in act(operator, PEOPLE, PEOPLE, person="1" * 10 + "V" + "2" * 6, reason="x")
    rows = product.rows("SELECT actor, detail FROM outbox_history WHERE what = 'person.searched' ORDER BY id")
    assert [row.actor for row in rows] == [OPERATOR] * 4
    assert rows[0].detail["reason"] == "they called" and f"travel_claim {claim.id}" in rows[0].detail["found"]
    assert ADA.icn not in str(rows)


def test_only_administrators_see_people(product: Product, operator: FlaskClient) -> None:
    claim = file_claim(product)
    page = f"/ops/submissions/travel_claim/{claim.id}"
    token = csrf_of(operator.get(page).text)
    become(product)
    assert "Who is it?" not in read(operator, page)
    assert operator.get(PEOPLE).status_code == 403
    form = {"csrf_token": token, "reason": "x", "person": ADA.icn}
    for path in (PEOPLE, f"{PEOPLE}travel_claim/{claim.id}"):
        answer = operator.post(path, data=form)
        assert answer.status_code == 403 and ADA.icn not in answer.text
        assert product.app.test_client().post(path, data=form).status_code == 401
    become(product, operator_administrators=(OPERATOR,))
    for path in (PEOPLE, f"{PEOPLE}travel_claim/{claim.id}"):
        assert operator.post(path, data={**form, "reason": " "}).status_code == 422
        assert operator.post(path, data={"reason": "x", "person": ADA.icn}).status_code == 403
    assert product.value("SELECT count(*) FROM outbox_history WHERE what ~ '^person[.]'") == 0


def test_a_viewer_looks_and_changes_nothing(product: Product, operator: FlaskClient) -> None:
    claim = refused(product)
    case = product.value("SELECT id::text FROM cases")
    message = claim.message
    become(product, operator_viewers=(OPERATOR,))
    for path in ("/ops/", "/ops/cases/", f"/ops/cases/{case}", "/ops/breakers/btsss", "/ops/parked/", "/rq/"):
        assert operator.get(path).status_code == 200, path
    assert "<h1>Travel claim " in act(operator, "/ops/cases/", "/ops/find", wanted=claim.id)
    token = csrf_of(operator.get("/ops/").text)
    form = {"csrf_token": token, "reason": "x", "outcome": "x", "note": "x", "owner": "x", "duration": "1h"}
    acts = [f"cases/{case}/{name}" for name in ("note", "assign", "close", "requeue")]
    acts += [f"breakers/btsss/{name}" for name in ("hold", "lift", "try-now")] + ["parked/redrive", "parked/chosen"]
    for path in acts:
        answer = operator.post(f"/ops/{path}", data={**form, "job": message["job"], "cause": message["parked_reason"]})
        assert answer.status_code == 403 and "You may look at everything here" in answer.text, path
    requeue = f"/rq/job/{message['id']}-{message['fence']}/requeue"
    assert operator.post(requeue, headers=OWN).status_code == 403
    assert (product.cases(), claim.message["state"]) == (["refused"], "parked")
    assert operator.post("/ops/logout", data={"csrf_token": token}).status_code == 303
