"""Upload of documents to Lighthouse: byte for byte, once where that can be known, recorded where it cannot."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from flaskapp.crypto import Vault
from flaskapp.db import db
from flaskapp.form526.pdf import making
from flaskapp.form526.ptsd import ptsd_parts
from flaskapp.web.inflection import to_snake, with_keys
from jobs import housekeeping
from jobs.engine import runner
from sandbox.upstreams.cast import DOCUMENT_CAST
from tests.integration.form526_steps import (
    UPLOAD,
    UPLOADS,
    Filer,
    attempts,
    documents,
    evidence,
    filer,
    grant,
    poll,
    statuses,
    tried,
    uploaded,
)
from tests.integration.itf_steps import mails, pass_time
from tests.integration.steps import call, command, lose, reconfigure, sweep
from tests.product import ADA, Product
from tests.unit.loopback import serving, whole

BY_FILE_NUMBER, BY_NOTHING = DOCUMENT_CAST[0], DOCUMENT_CAST[1]
# After this time an upload can no longer be answered, and one without an answer is sent again.
CONFIRMABLE = {"seconds": 130}


@pytest.fixture(autouse=True)
def one_document_a_form(product: Product) -> None:
    """Only the attached file, without the BDD instructions."""
    reconfigure(product, bdd_instructions="qualified")


def sent(product: Product) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The parameters and the file of every upload, whatever was answered."""
    bodies = [entry["body"] for entry in product.control.received("documents", UPLOADS)]
    parts = [{part["name"]: part for part in body} for body in bodies]
    return [(json.loads(each["parameters"]["text"])["data"], each["file"]) for each in parts]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def accepted(product: Product) -> Filer:
    """An accepted form with one file, whose upload is enqueued and not yet tried."""
    person = filer(product)
    person.file(person.attach())
    product.work(until=lambda: product.value("SELECT count(*) FROM form526_document_submissions"))
    return person


# -- what is sent -------------------------------------------------------------


def test_an_upload_names_the_claim_the_document_type_and_exactly_one_number_of_the_person(product: Product) -> None:
    for veteran, code in ((ADA, "L015"), (BY_FILE_NUMBER, "L999")):
        person = filer(product, veteran)
        person.file(person.attach("Zoë.scan 1.txt", b"plain words", code))
    product.work()
    claims = dict(
        product.rows("SELECT a.id, s.claim_id FROM accounts a JOIN form526_submissions s ON s.account_id = a.id")
    )
    first, second = sorted(sent(product), key=lambda each: each[0]["docType"])
    assert first[0] == {
        "systemName": "VA.gov",
        "docType": "L015",
        "claimId": next(claim for account, claim in claims.items() if str(account) == ADA.account),
        "fileName": "Zoëscan 1.txt",
        "participantId": ADA.participant_id,
    }
    assert (second[0]["docType"], second[0]["fileNumber"]) == ("L023", BY_FILE_NUMBER.file_number)
    assert "participantId" not in second[0]
    assert (first[1]["content_type"], first[1]["sha256"]) == ("text/plain", digest(b"plain words"))


def test_without_either_number_nothing_is_sent_and_person_and_staff_are_notified(product: Product) -> None:
    person = filer(product, BY_NOTHING)
    filed = person.file(person.attach())
    product.work()
    row = evidence(product)
    assert (row["lighthouse_status"], row["failed_step"], sent(product)) == ("failed", "UPLOAD", [])
    assert (product.cases(), set(mails(product, 2))) == (
        ["document_failed"],
        {"form526.accepted", "form526.document_failed"},
    )
    assert "did not get into your file" in person.documents(filed)[0]["message"]
    (reason,) = product.rows("SELECT error_detail FROM outbox_attempts WHERE subject_id = :id", id=str(row["id"]))
    assert reason[0] == "neither participant id nor file number"


def test_files_of_several_chunks_and_generated_pdfs_arrive_byte_for_byte(product: Product) -> None:
    reconfigure(product, bdd_instructions="always")
    content = random.Random(526).randbytes(1_835_008).hex().encode()
    form = {"form0781": {"incidents": [{"personalAssault": True, "unit": "1st"}, {"incidentLocation": "Camp"}]}}
    person = filer(product)
    person.file(person.attach("long.txt", content), **form)
    assert product.value("SELECT count(*) FROM form526_attachment_chunks") == 4
    product.work()
    parts = ptsd_parts(with_keys(form, to_snake))
    assert {row["doc_type"] + row["file_name"]: (row["size"], row["sha256"]) for row in uploaded(product)} == {
        "L015long.txt": (3_670_016, digest(content)),
        **{
            name: (len(made), digest(made))
            for name, made in {
                "L228Form 0781.pdf": making.form_0781(parts.form_0781 or {}),
                "L229Form 0781a.pdf": making.form_0781a(parts.form_0781a or {}),
                "L023BDD instructions.pdf": making.bdd_instructions(),
            }.items()
        },
    }


def test_a_slow_upload_holds_no_database_connection(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted(product)
    pool, held = db.engine.pool, []
    unseal = Vault.unseal

    def watched(vault: Vault, sealed: bytes) -> bytes:
        held.append(pool.checkedout())  # type: ignore[attr-defined]
        return unseal(vault, sealed)

    monkeypatch.setattr(Vault, "unseal", watched)

    def answer(sock: Any) -> None:
        held.append(pool.checkedout())  # type: ignore[attr-defined]
        whole(200, {"data": {"success": True, "requestId": 1}})(sock)

    with serving(answer) as server:
        reconfigure(product, lighthouse_base_url=server.url)
        product.work(until=lambda: evidence(product)["uploaded_at"])
    assert held == [0, 0]


# -- answers that are lost ----------------------------------------------------


def test_an_unanswered_upload_is_sent_again_and_recorded_as_possibly_twice(product: Product) -> None:
    product.control.set("documents", "drop", times=1, operation=UPLOADS)
    accepted(product)
    product.work(until=tried(product, 1, "lighthouse_documents"))
    pass_time(product, **CONFIRMABLE)
    product.work()
    first, second = uploaded(product)
    row = evidence(product)
    assert (row["lighthouse_request_id"], row["possibly_twice"]) == (second["id"], True)
    assert first["sha256"] == second["sha256"]
    made = attempts(product, row["id"])
    assert (made[0], made[-1]) == (("write", "unknown"), ("write", "success"))
    query = "SELECT detail FROM outbox_history WHERE what = 'document.uploaded'"
    assert product.value(query) == {"request_id": second["id"], "possibly_twice": True}
    poll(product)
    assert statuses(product) == ["done"]


@pytest.mark.parametrize("late", ["before", "after"])
def test_the_late_answer_of_a_frozen_worker_shows_that_a_document_is_there_twice(product: Product, late: str) -> None:
    """The worker froze right after its upload, and two look-ups found nothing. Its answer comes before or after that of
    the second upload."""
    accepted(product)
    document = evidence(product)["id"]
    held = grant(product, document)
    answer = call(product, held, UPLOAD)
    lose(product, held)
    while (again := grant(product, document)).purpose == "look_up":
        runner.finish(UPLOAD, again, call(product, again, UPLOAD))
        pass_time(product, **CONFIRMABLE)
    second = call(product, again, UPLOAD)
    for granted, outcome in sorted([(held, answer), (again, second)], key=lambda each: each[0].attempt_id):
        if (late, granted) != ("after", held):
            runner.finish(UPLOAD, granted, outcome)
    if late == "after":
        runner.finish(UPLOAD, held, answer)
    assert (len(uploaded(product)), evidence(product)["possibly_twice"]) == (2, True)
    assert product.cases() == ["conflicting_answers"]


def test_a_refusal_that_comes_late_shows_that_a_document_is_there_once(product: Product) -> None:
    accepted(product)
    document = evidence(product)["id"]
    held = grant(product, document)
    product.control.set("documents", "status", status=413, operation=UPLOADS, times=1)
    refused = call(product, held, UPLOAD)
    lose(product, held)
    while (again := grant(product, document)).purpose == "look_up":
        runner.finish(UPLOAD, again, call(product, again, UPLOAD))
        pass_time(product, **CONFIRMABLE)
    runner.finish(UPLOAD, again, call(product, again, UPLOAD))
    assert evidence(product)["possibly_twice"]
    runner.finish(UPLOAD, held, refused)
    assert (len(uploaded(product)), evidence(product)["possibly_twice"]) == (1, False)


def test_whoever_was_told_that_nobody_knows_is_told_when_a_late_answer_says_it(product: Product) -> None:
    """The upload that is polled failed, and one that was lost might have arrived: until it turns out to be refused."""
    person = filer(product)
    filed = person.file(person.attach())
    product.work(until=lambda: documents(product))
    document = evidence(product)["id"]
    held = grant(product, document)
    product.control.set("documents", "status", status=413, operation=UPLOADS, times=1)
    refused = call(product, held, UPLOAD)
    lose(product, held)
    product.control.turn("documents", plan="fails_at_claims_evidence")
    while (again := grant(product, document)).purpose == "look_up":
        runner.finish(UPLOAD, again, call(product, again, UPLOAD))
        pass_time(product, **CONFIRMABLE)
    runner.finish(UPLOAD, again, call(product, again, UPLOAD))
    poll(product)
    (shown,) = person.documents(filed)
    assert ("could not confirm" in shown["message"], mails(product, 2)[-1]) == (True, "form526.document_unconfirmed")
    assert product.cases() == ["may_exist_upstream"]
    runner.finish(UPLOAD, held, refused)
    product.work()
    (shown,) = person.documents(filed)
    assert ("did not get into your file" in shown["message"], mails(product, 3)[-1]) == (
        True,
        "form526.document_failed",
    )
    assert product.cases() == ["may_exist_upstream", "document_failed"]
    assert command(product, "audit").exit_code == 0


def test_a_failed_settle_keeps_the_request_id_and_nothing_is_sent_again(product: Product) -> None:
    accepted(product)

    def fail(*_: Any) -> None:
        raise RuntimeError("the process has no memory left")

    held = grant(product, evidence(product)["id"])
    runner.finish(replace(UPLOAD, record=fail), held, call(product, held, UPLOAD))
    assert evidence(product)["lighthouse_request_id"] is None
    pass_time(product, minutes=1)
    product.work()
    (only,) = uploaded(product)
    row = evidence(product)
    assert (row["lighthouse_request_id"], row["possibly_twice"], product.cases()) == (only["id"], False, [])


def test_an_answer_after_its_worker_was_given_up_is_used(product: Product) -> None:
    accepted(product)
    held = grant(product, evidence(product)["id"])
    answer = call(product, held, UPLOAD)
    lose(product, held)
    runner.finish(UPLOAD, held, answer)
    product.work()
    (only,) = uploaded(product)
    assert evidence(product)["lighthouse_request_id"] == only["id"]
    assert product.cases() == []


def test_an_answer_after_the_document_was_given_up_is_used_by_a_requeue_and_closes_every_case(product: Product) -> None:
    accepted(product)
    row = evidence(product)
    held = grant(product, row["id"])
    answer = call(product, held, UPLOAD)
    lose(product, held)
    pass_time(product, days=31)
    sweep(product)
    assert evidence(product)["lighthouse_status"] == "failed"
    runner.finish(UPLOAD, held, answer)
    assert {"may_exist_upstream", "answered_late"} <= set(product.cases())
    assert command(product, "documents", "upload-again", str(row["id"])).exit_code == 0
    product.work()
    poll(product)
    assert (len(uploaded(product)), statuses(product), product.cases()) == (1, ["done"], [])


def test_an_upload_that_our_side_broke_off_never_arrived(product: Product) -> None:
    """No whole request went out, so it is tried again and is certainly not there twice."""
    accepted(product)
    product.rows("UPDATE form526_attachment_chunks SET place = 7 RETURNING 1")
    product.work(until=tried(product, 1, "lighthouse_documents"))
    product.rows("UPDATE form526_attachment_chunks SET place = 0 RETURNING 1")
    product.work()
    row = evidence(product)
    assert attempts(product, row["id"])[-1] == ("write", "success")
    assert (len(uploaded(product)), row["possibly_twice"], row["lighthouse_status"]) == (1, False, "pending")


def test_one_request_id_for_two_documents_counts_for_one_and_the_other_is_held(product: Product) -> None:
    person = filer(product)
    filed = person.file(person.attach("one.txt"), person.attach("two.txt"))
    with serving(whole(200, {"data": {"success": True, "requestId": 77}})) as server:
        reconfigure(product, lighthouse_base_url=server.url)
        product.work()
    one, two = sorted(documents(product), key=lambda row: row["lighthouse_request_id"] is None)
    assert (one["lighthouse_request_id"], one["lighthouse_status"]) == (77, "pending")
    assert (two["lighthouse_status"], two["failed_step"]) == ("failed", "NO_WORD")
    assert two["upstream_error"] == "conflicting_answers"
    details = product.value("SELECT details FROM cases")
    assert (product.cases(), details["request_id"], details["other"]) == (["may_exist_upstream"], 77, str(one["id"]))
    assert sum("could not confirm" in each["message"] for each in person.documents(filed)) == 1


# -- refusals and giving up ---------------------------------------------------


def test_a_refused_upload_is_notified_and_held_and_never_sent_again(product: Product) -> None:
    product.control.set("documents", "status", status=413, operation=UPLOADS)
    accepted(product)
    product.work()
    row = evidence(product)
    assert (row["failed_step"], row["upstream_error"], len(sent(product))) == ("UPLOAD", "refused", 1)
    assert (product.cases(), "form526.document_failed" in mails(product, 2)) == (["document_failed"], True)


@pytest.mark.parametrize(("last", "error"), [(400, "Unexplained"), (404, "Unavailable")])
def test_a_refusal_in_unknown_words_is_tried_again_and_in_the_end_unconfirmed(
    product: Product, last: int, error: str
) -> None:
    """They may have said that the document is there (contract: benefits 4.1), so nobody is told that it is not. Nor is
    anybody when the last answer is another: both say plainly that this last write did not happen."""
    product.control.set("documents", "status", status=400, operation=UPLOADS)
    person = accepted(product)
    product.work(until=tried(product, 2, "lighthouse_documents"))
    assert (evidence(product)["lighthouse_status"], product.cases()) == ("pending", [])
    pass_time(product, hours=50)
    product.control.clear("documents")
    product.control.set("documents", "status", status=last, operation=UPLOADS)
    product.work()
    row = evidence(product)
    ends = "SELECT status, error_class FROM outbox_attempts WHERE subject_id = :id ORDER BY id DESC"
    assert tuple(product.rows(ends, id=str(row["id"]))[0]) == ("expired", error)
    assert (row["lighthouse_status"], row["failed_step"], row["upstream_error"]) == (
        "failed",
        "NO_WORD",
        "may_exist_upstream",
    )
    assert "form526.document_unconfirmed" in mails(product, 2)
    assert (product.cases(), person.product.outstanding()) == (["may_exist_upstream"], 0)


def test_a_first_refusal_in_unknown_words_that_comes_when_the_time_is_over_is_unconfirmed_too(product: Product) -> None:
    accepted(product)
    pass_time(product, hours=50)
    product.control.set("documents", "status", status=400, operation=UPLOADS)
    product.work()
    assert (len(sent(product)), evidence(product)["failed_step"]) == (1, "NO_WORD")
    assert product.cases() == ["may_exist_upstream"]


def test_a_refused_token_is_replaced_and_the_same_bytes_are_sent(product: Product) -> None:
    product.control.set("documents", "expire", times=1, operation=UPLOADS)
    accepted(product)
    product.work()
    assert [file["sha256"] for _, file in sent(product)] == [digest(b"a doctor's letter")] * 2
    assert attempts(product, evidence(product)["id"]) == [("write", "success")]
    assert not evidence(product)["possibly_twice"]


def test_an_upload_is_given_up_after_two_days_of_closed_breaker(product: Product) -> None:
    person = accepted(product)
    pass_time(product, hours=50)
    product.control.set("documents", "refuse")
    product.work()
    row = evidence(product)
    assert (row["lighthouse_status"], row["failed_step"], row["upstream_error"]) == ("failed", "UPLOAD", "exhausted")
    assert "form526.document_failed" in mails(product, 2)
    assert (product.cases(), person.product.outstanding()) == (["document_failed"], 0)
    housekeeping.audit_all()
    assert product.cases() == ["document_failed"]
