"""What staff do about documents that did not arrive: see them, send them again, or bring them there themselves."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from flaskapp.cases.kinds import KINDS
from jobs import housekeeping
from tests.house import House
from tests.integration.form526_steps import (
    UPLOADS,
    Filer,
    documents,
    evidence,
    filer,
    owed_of,
    poll,
    statuses,
    uploaded,
)
from tests.integration.itf_steps import mails, pass_time
from tests.integration.steps import command, reconfigure

NAME = "Quillon_Zzyzxfield_discharge.txt"
OBSCURED = "QuiXXXXXXXXXXXXXXXXXXXXge.txt"


@pytest.fixture(autouse=True)
def one_document_a_form(house: House) -> None:
    reconfigure(house, bdd_instructions="qualified")


def refused(house: House) -> tuple[Filer, dict[str, Any], str]:
    """A form whose one document Lighthouse refused, and would take now; with the document's id."""
    house.control.set("documents", "status", status=400, times=1, operation=UPLOADS)
    return filed(house)


def failed_at(house: House, plan: str) -> tuple[Filer, dict[str, Any], str]:
    """The same, taken in and failed at a step behind it."""
    house.control.turn("documents", plan=plan)
    found = filed(house)
    poll(house)
    house.control.turn("documents", plan="ok")
    return found


def filed(house: House) -> tuple[Filer, dict[str, Any], str]:
    person = filer(house)
    form = person.file(person.attach(NAME))
    house.work()
    return person, form, str(evidence(house)["id"])


def run(house: House, *args: str) -> str:
    """What a command says that succeeds."""
    result = command(house, "documents", *args)
    assert result.exit_code == 0, result.output
    return result.output


def complaint(house: House, *args: str) -> str:
    result = command(house, "documents", *args)
    assert result.exit_code == 1, result.output
    return result.output


# -- seeing -------------------------------------------------------------------


def test_what_takes_long_is_listed_and_shown_with_everything_but_its_name(house: House) -> None:
    house.control.turn("documents", plan="stuck")
    _, _, document = filed(house)
    assert json.loads(run(house, "unfinished", "--json")) == []
    pass_time(house, hours=25)
    (listed,) = json.loads(run(house, "unfinished", "--json"))
    assert (listed["id"], listed["hours"]) == (document, 25.0)
    assert (document in run(house, "unfinished"), run(house, "unfinished", "--hours", "26")) == (True, "nothing\n")
    shown = json.loads(run(house, "show", document, "--json"))
    assert shown["lighthouse_request_id"] == uploaded(house)[0]["id"]
    assert [entry["what"] for entry in shown["history"]] == ["document.owed", "document.uploaded"]
    text = run(house, "show", document)
    assert str(shown["lighthouse_request_id"]) in text and "document.uploaded" in text
    assert "Zzyzxfield" not in text + json.dumps(shown)


def test_the_help_and_the_cases_say_what_to_type(house: House) -> None:
    listed = run(house, "--help")
    for name in ("unfinished", "show", "upload-again", "delivered"):
        assert name in listed and "Usage" in run(house, name, "--help")
    assert "--note" in run(house, "delivered", "--help") and "ID" in run(house, "upload-again", "--help")
    told = [kind.to_do for name, kind in KINDS.items() if name.startswith("document_")]
    assert len(told) == 6 and all("flask documents" in words for words in told)
    nobody = str(uuid.uuid4())
    assert f"there is no document {nobody}" in complaint(house, "show", nobody)
    assert f"there is no document {nobody}" in complaint(house, "delivered", nobody, "--note", "x")
    assert "only a failed document" in complaint(house, "upload-again", nobody)
    assert command(house, "documents", "delivered", nobody).exit_code == 2


# -- sending again ------------------------------------------------------------


def test_a_refused_upload_is_sent_again_by_its_parked_message(house: House) -> None:
    person, form, document = refused(house)
    message = owed_of(house, document)
    assert (message["state"], house.cases()) == ("parked", ["document_failed"])
    assert run(house, "upload-again", document) == "it will be uploaded again\n"
    assert (owed_of(house, document)["id"], statuses(house), house.cases()) == (
        message["id"],
        ["pending"],
        ["document_failed"],
    )
    assert "only a failed document" in complaint(house, "upload-again", document)
    house.work()
    poll(house)
    assert (statuses(house), house.cases(), len(uploaded(house))) == (["done"], [], 1)
    assert person.documents(form)[0]["message"] == "This document is in your file."


def test_one_that_failed_behind_lighthouse_is_sent_again_under_a_new_id_and_failing_again_is_told_again(
    house: House,
) -> None:
    person, form, document = failed_at(house, "fails_at_claims_evidence")
    before = evidence(house)["lighthouse_request_id"]
    assert (evidence(house)["failed_step"], house.owed()) == ("CLAIMS_EVIDENCE", 0)
    house.control.turn("documents", plan="fails_at_claims_evidence")
    run(house, "upload-again", document)
    house.work()
    assert evidence(house)["lighthouse_request_id"] != before
    poll(house)
    assert (statuses(house), evidence(house)["cycle"], house.cases()) == (["failed"], 2, ["document_failed"])
    assert mails(house, 3) == ["form526.accepted", "form526.document_failed", "form526.document_failed"]
    moves = house.rows("SELECT detail FROM outbox_history WHERE what = 'document.moved' AND moved_to = 'pending'")
    assert [row.detail["earlier_request_id"] for row in moves] == [before]
    assert "did not get into your file" in person.documents(form)[0]["message"]


def test_what_is_gone_cannot_be_sent_again_and_the_refusal_says_so(house: House) -> None:
    _, _, document = refused(house)
    (case,) = house.rows("SELECT id FROM cases")
    assert command(house, "cases", "close", str(case.id), "--resolution", "they mailed it").exit_code == 0
    pass_time(house, days=8)
    housekeeping.retain()
    assert "its bytes are gone: deliver it by hand" in complaint(house, "upload-again", document)
    message = owed_of(house, document)
    assert (message["state"], "its bytes are gone" in message["parked_reason"]) == ("parked", True)
    assert statuses(house) == ["failed"]
    missing = filer(house)
    missing.file({"name": "x.pdf", "confirmationCode": str(uuid.uuid4()), "attachmentId": "L023"})
    house.work()
    (absent,) = [str(row["id"]) for row in documents(house) if row["failed_step"] == "MISSING"]
    assert "its bytes are gone" in complaint(house, "upload-again", absent)


# -- bringing it there by hand ------------------------------------------------


def test_a_document_brought_by_hand_is_done_and_its_cases_are_closed_with_the_note(house: House) -> None:
    person, form, document = failed_at(house, "fails_at_bgs")
    assert (evidence(house)["failed_step"], house.cases()) == ("BENEFITS_GATEWAY_SERVICE", ["document_in_efolder"])
    assert mails(house, 2) == ["form526.accepted", "form526.document_incomplete"]
    assert "is in your file, but was not yet linked" in person.documents(form)[0]["message"]
    run(house, "delivered", document, "--note", "linked by the claims team")
    assert (statuses(house), house.cases()) == (["done"], [])
    (case,) = house.rows("SELECT closed_by, resolution FROM cases")
    assert (case.closed_by[:6], case.resolution) == ("shell:", "delivered by hand: linked by the claims team")
    assert evidence(house)["delivered_by"].startswith("shell:")
    assert person.documents(form)[0]["message"] == "This document is in your file."
    assert "only a failed document" in complaint(house, "delivered", document, "--note", "again")
    assert "only a failed document" in complaint(house, "upload-again", document)


def test_a_parked_upload_that_was_brought_by_hand_is_let_go_by_a_requeue(house: House) -> None:
    _, _, document = refused(house)
    run(house, "delivered", document, "--note", "by courier")
    assert command(house, "outbox", "requeue", str(owed_of(house, document)["id"])).exit_code == 0
    house.work()
    assert (uploaded(house), statuses(house), house.messages()) == ([], ["done"], [])


def test_the_e_mail_of_a_failure_names_the_file_obscured_and_nothing_else(house: House) -> None:
    refused(house)
    mails(house, 2)
    sends = [entry["body"] for entry in house.control.received("va_notify", "POST /v2/notifications/email")]
    words = [body["personalisation"] for body in sends]
    assert {tuple(sorted(each)) for each in words} == {("claim_id", "submitted_date"), ("file_name", "submitted_date")}
    assert [each["file_name"] for each in words if "file_name" in each] == [OBSCURED]
    assert "Zzyzxfield" not in json.dumps(sends) and "Zzyzxfield" not in json.dumps(house.phone(2))
