"""Staff and documents that did not arrive: they see them, send them again, or deliver them themselves."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from flaskapp.cases.kinds import KINDS
from flaskapp.db import transaction
from flaskapp.form526.uploads import reconsider_copies
from jobs import housekeeping
from tests.integration.form526_polling_steps import STATUS, change, deal, forget
from tests.integration.form526_steps import (
    UPLOADS,
    Filer,
    documents,
    evidence,
    filer,
    message_of,
    poll,
    statuses,
    uploaded,
)
from tests.integration.itf_steps import mails, pass_time
from tests.integration.steps import command, reconfigure, sweep
from tests.product import Product

NAME = "Quillon_Zzyzxfield_discharge.txt"
OBSCURED = "QuiXXXX_XXXXXXXXXX_XXXXXXXge.txt"


@pytest.fixture(autouse=True)
def one_document_a_form(product: Product) -> None:
    reconfigure(product, bdd_instructions="qualified")


def refused(product: Product) -> tuple[Filer, dict[str, Any], str]:
    """A form whose one document Lighthouse refused once and would accept now; with the document's id."""
    product.control.set("documents", "status", status=413, times=1, operation=UPLOADS)
    return filed(product)


def failed_at(product: Product, plan: str) -> tuple[Filer, dict[str, Any], str]:
    """The same, but the document was accepted and failed at a later step."""
    product.control.turn("documents", plan=plan)
    found = filed(product)
    poll(product)
    product.control.turn("documents", plan="ok")
    return found


def filed(product: Product) -> tuple[Filer, dict[str, Any], str]:
    person = filer(product)
    form = person.file(person.attach(NAME))
    product.work()
    return person, form, str(evidence(product)["id"])


def run(product: Product, *args: str) -> str:
    """The output of a command that succeeds."""
    result = command(product, "documents", *args)
    assert result.exit_code == 0, result.output
    return result.output


def complaint(product: Product, *args: str) -> str:
    result = command(product, "documents", *args)
    assert result.exit_code == 1, result.output
    return result.output


# -- seeing -------------------------------------------------------------------


def test_slow_documents_are_listed_and_shown_without_their_name(product: Product) -> None:
    product.control.turn("documents", plan="stuck")
    _, _, document = filed(product)
    assert json.loads(run(product, "unfinished", "--json")) == []
    pass_time(product, hours=25)
    (listed,) = json.loads(run(product, "unfinished", "--json"))
    assert (listed["id"], listed["hours"]) == (document, 25.0)
    assert (document in run(product, "unfinished"), run(product, "unfinished", "--hours", "26")) == (True, "nothing\n")
    shown = json.loads(run(product, "show", document, "--json"))
    assert shown["lighthouse_request_id"] == uploaded(product)[0]["id"]
    assert [entry["what"] for entry in shown["history"]] == ["document.enqueued", "document.uploaded"]
    text = run(product, "show", document)
    assert str(shown["lighthouse_request_id"]) in text and "document.uploaded" in text
    assert "Zzyzxfield" not in text + json.dumps(shown)


def test_the_help_and_the_cases_name_the_commands(product: Product) -> None:
    listed = run(product, "--help")
    for name in ("unfinished", "show", "upload-again", "delivered"):
        assert name in listed and "Usage" in run(product, name, "--help")
    assert "--note" in run(product, "delivered", "--help") and "ID" in run(product, "upload-again", "--help")
    instructions = [kind.to_do for name, kind in KINDS.items() if name.startswith("document_")]
    assert len(instructions) == 6 and all("flask documents" in words for words in instructions)
    nobody = str(uuid.uuid4())
    assert f"there is no document {nobody}" in complaint(product, "show", nobody)
    assert f"there is no document {nobody}" in complaint(product, "delivered", nobody, "--note", "x")
    assert f"there is no document {nobody}" in complaint(product, "upload-again", nobody)
    assert command(product, "documents", "delivered", nobody).exit_code == 2


# -- sending again ------------------------------------------------------------


def test_a_refused_upload_is_sent_again_by_its_parked_message(product: Product) -> None:
    person, form, document = refused(product)
    message = message_of(product, document)
    assert (message["state"], product.cases()) == ("parked", ["document_failed"])
    assert run(product, "upload-again", document) == "it will be uploaded again, unless Lighthouse has it by now\n"
    assert (message_of(product, document)["id"], statuses(product), product.cases()) == (
        message["id"],
        ["pending"],
        ["document_failed"],
    )
    assert "only a failed document" in complaint(product, "upload-again", document)
    product.work()
    poll(product)
    assert (statuses(product), product.cases(), len(uploaded(product))) == (["done"], [], 1)
    assert person.documents(form)[0]["message"] == "This document is in your file."


def test_a_document_that_failed_later_is_sent_again_under_a_new_id_and_its_next_failure_is_notified_again(
    product: Product,
) -> None:
    person, form, document = failed_at(product, "fails_at_claims_evidence")
    before = evidence(product)["lighthouse_request_id"]
    assert (evidence(product)["failed_step"], product.outstanding()) == ("CLAIMS_EVIDENCE", 0)
    product.control.turn("documents", plan="fails_at_claims_evidence")
    run(product, "upload-again", document)
    product.work()
    assert evidence(product)["lighthouse_request_id"] != before
    poll(product)
    assert (statuses(product), evidence(product)["cycle"], product.cases()) == (["failed"], 2, ["document_failed"])
    assert mails(product, 3) == ["form526.accepted", "form526.document_failed", "form526.document_failed"]
    moves = product.rows("SELECT detail FROM outbox_history WHERE what = 'document.moved' AND moved_to = 'pending'")
    assert [row.detail["earlier_request_id"] for row in moves] == [before]
    assert "did not get into your file" in person.documents(form)[0]["message"]


def resend(product: Product, document: str) -> None:
    run(product, "upload-again", document)
    product.work()


def test_a_failed_document_that_arrived_meanwhile_is_done_without_a_second_upload_and_its_person_is_told(
    product: Product,
) -> None:
    person, form, document = failed_at(product, "fails_at_claims_evidence")
    before = evidence(product)["lighthouse_request_id"]
    assert mails(product, 2) == ["form526.accepted", "form526.document_failed"]
    change(product, plan="ok")
    resend(product, document)
    row = evidence(product)
    assert (len(uploaded(product)), row["possibly_twice"], product.outstanding()) == (1, False, 0)
    assert (row["lighthouse_status"], row["lighthouse_request_id"], product.cases()) == ("done", before, [])
    assert mails(product, 3)[-1] == "form526.document_arrived"
    body = product.phone(3)[0]["body"]
    assert OBSCURED in body and "It is in your file now" in body
    assert person.documents(form)[0]["message"] == "This document is in your file."
    assert [command(product, "audit", *trace).exit_code for trace in ([], ["--trace"])] == [0, 0]


def test_a_person_who_never_heard_of_the_failure_hears_of_no_arrival(product: Product) -> None:
    product.control.turn("documents", plan="fails_at_claims_evidence")
    _, _, document = filed(product)
    mails(product)
    assert command(product, "breakers", "hold", "va_notify", "--for", "1d", "--reason", "x").exit_code == 0
    deal(product)
    product.work(until=lambda: statuses(product) == ["failed"])
    change(product, plan="ok")
    run(product, "upload-again", document)
    product.work(until=lambda: statuses(product) == ["done"])
    assert command(product, "breakers", "lift", "va_notify").exit_code == 0
    product.work()
    assert product.rows("SELECT kind, state FROM notifications ORDER BY created_at") == [
        ("accepted", "sent"),
        ("document_failed", "withdrawn"),
    ]


def test_a_failed_document_that_is_on_its_way_again_is_polled_under_its_old_id(product: Product) -> None:
    _, _, document = failed_at(product, "fails_at_bgs")
    before = evidence(product)["lighthouse_request_id"]
    change(product, plan="stuck_at_bgs")
    resend(product, document)
    row = evidence(product)
    assert (statuses(product), row["lighthouse_request_id"], len(uploaded(product))) == (["pending"], before, 1)
    change(product, plan="ok")
    poll(product)
    assert (statuses(product), evidence(product)["possibly_twice"], product.cases()) == (["done"], False, [])
    assert mails(product, 3)[-1] == "form526.document_arrived"


@pytest.mark.parametrize(("plan", "twice"), [("fails_at_claims_evidence", False), ("fails_at_bgs", True)])
def test_a_second_upload_is_possibly_twice_where_the_first_may_be_in_the_file(
    product: Product, plan: str, twice: bool
) -> None:
    _, _, document = failed_at(product, plan)
    resend(product, document)
    assert (len(uploaded(product)), evidence(product)["possibly_twice"]) == (2, twice)
    poll(product)
    assert (statuses(product), mails(product, 3)[-1]) == (["done"], "form526.document_arrived")


def test_an_upload_that_lighthouse_forgot_may_be_in_the_file_and_a_late_answer_does_not_change_that(
    product: Product,
) -> None:
    _, _, document = failed_at(product, "fails_at_claims_evidence")
    forget(product, evidence(product)["lighthouse_request_id"])
    resend(product, document)
    assert (len(product.control.received("documents", UPLOADS)), evidence(product)["possibly_twice"]) == (2, True)
    with transaction() as session:
        reconsider_copies(session, document)
    assert evidence(product)["possibly_twice"]


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 400}, {"plan": "unknown_status"}])
def test_nothing_is_sent_again_while_lighthouse_does_not_say_what_became_of_the_first(
    product: Product, fault: dict[str, Any]
) -> None:
    _, _, document = failed_at(product, "fails_at_claims_evidence")
    if "plan" in fault:
        change(product, **fault)
    else:
        product.control.set("documents", operation=STATUS, **fault)
    run(product, "upload-again", document)
    ended = "SELECT count(*) >= 3 FROM outbox_attempts WHERE subject_id = :id AND status <> 'try'"
    product.work(until=lambda: bool(product.value(ended, id=document)))
    assert (len(uploaded(product)), statuses(product)) == (1, ["pending"])
    product.control.clear("documents")
    change(product, plan="ok")
    product.work()
    assert (len(uploaded(product)), statuses(product)) == (1, ["done"])


def test_a_resend_that_never_learned_what_became_of_the_first_is_unconfirmed(product: Product) -> None:
    _, _, document = failed_at(product, "fails_at_claims_evidence")
    change(product, plan="unknown_status")
    run(product, "upload-again", document)
    pass_time(product, days=31)
    sweep(product)
    product.work()
    assert (statuses(product), product.cases()) == (["failed"], ["document_failed", "may_exist_upstream"])
    assert mails(product, 3)[-1] == "form526.document_unconfirmed"


def test_a_document_whose_bytes_are_gone_cannot_be_sent_again(product: Product) -> None:
    _, _, document = refused(product)
    (case,) = product.rows("SELECT id FROM cases")
    assert command(product, "cases", "close", str(case.id), "--resolution", "they mailed it").exit_code == 0
    pass_time(product, days=8)
    housekeeping.retain()
    assert "its bytes are gone: deliver it by hand" in complaint(product, "upload-again", document)
    message = message_of(product, document)
    assert (message["state"], "its bytes are gone" in message["parked_reason"]) == ("parked", True)
    assert statuses(product) == ["failed"]
    missing = filer(product)
    missing.file({"name": "x.pdf", "confirmationCode": str(uuid.uuid4()), "attachmentId": "L023"})
    product.work()
    (absent,) = [str(row["id"]) for row in documents(product) if row["failed_step"] == "MISSING"]
    assert "its bytes are gone" in complaint(product, "upload-again", absent)


# -- delivering by hand ---------------------------------------------------------


def test_a_document_delivered_by_hand_is_done_and_its_cases_close_with_the_note(product: Product) -> None:
    person, form, document = failed_at(product, "fails_at_bgs")
    assert (evidence(product)["failed_step"], product.cases()) == ("BENEFITS_GATEWAY_SERVICE", ["document_in_efolder"])
    assert mails(product, 2) == ["form526.accepted", "form526.document_incomplete"]
    assert "is in your file, but was not yet linked" in person.documents(form)[0]["message"]
    run(product, "delivered", document, "--note", "linked by the claims team")
    assert (statuses(product), product.cases()) == (["done"], [])
    (case,) = product.rows("SELECT closed_by, resolution FROM cases")
    assert (case.closed_by[:6], case.resolution) == ("shell:", "delivered by hand: linked by the claims team")
    assert evidence(product)["delivered_by"].startswith("shell:")
    assert person.documents(form)[0]["message"] == "This document is in your file."
    assert "only a failed document" in complaint(product, "delivered", document, "--note", "again")
    assert "only a failed document" in complaint(product, "upload-again", document)


def test_a_parked_upload_of_a_delivered_document_ends_with_a_requeue(product: Product) -> None:
    _, _, document = refused(product)
    run(product, "delivered", document, "--note", "by courier")
    assert command(product, "outbox", "requeue", str(message_of(product, document)["id"])).exit_code == 0
    product.work()
    assert (uploaded(product), statuses(product), product.messages()) == ([], ["done"], [])


def test_the_e_mail_about_a_page_that_we_made_says_what_it_is(product: Product) -> None:
    product.control.set("documents", "status", status=413, times=1, operation=UPLOADS)
    filer(product).file(bddQualified=True)
    product.work()
    assert mails(product, 2) == ["form526.accepted", "form526.document_failed"]
    body = next(mail["body"] for mail in product.phone(2) if mail["template"] == "form526.document_failed")
    assert "the instructions for a claim before discharge (BDD), a page that we add and not one of your files" in body


def test_the_e_mail_about_a_failure_names_the_file_obscured_and_nothing_else(product: Product) -> None:
    refused(product)
    mails(product, 2)
    sends = [entry["body"] for entry in product.control.received("va_notify", "POST /v2/notifications/email")]
    words = [body["personalisation"] for body in sends]
    assert {tuple(sorted(each)) for each in words} == {("claim_id", "submitted_date"), ("file_name", "submitted_date")}
    assert [each["file_name"] for each in words if "file_name" in each] == [OBSCURED]
    assert "Zzyzxfield" not in json.dumps(sends) and "Zzyzxfield" not in json.dumps(product.phone(2))
