"""Uploads of files as the pages make them: refused with a readable sentence, unlocked, kept while they are needed."""

from __future__ import annotations

import json
import uuid
from io import BytesIO
from typing import Any

import pikepdf
import pytest
from werkzeug.datastructures import FileStorage

from flaskapp.form526.attachments import opening, turns
from flaskapp.form526.attachments.intake import stored_chunks
from flaskapp.form526.routes import MOST_UPLOAD_BYTES
from jobs import housekeeping
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration.form526_steps import (
    FILE_FIELD,
    PASSWORD_FIELD,
    PNG,
    UPLOAD_URL,
    UPLOADS,
    Filer,
    documents,
    evidence,
    filer,
    poll,
    statuses,
    uploaded,
)
from tests.integration.itf_steps import mails, pass_time
from tests.integration.steps import command, reconfigure
from tests.product import Product
from tests.unit.pdfs import LARGE_PAGE

BEN = DEFAULT_CAST[1]
DAMAGED = "is damaged or not complete"
REFUSED = [
    ("letter", b"words", "We cannot take this type of file. Please save it as one of these and add that: BMP, "),
    ("run.pdf", b"MZ\x90\x00" + bytes(60), "ends in .pdf, but it is a Windows program. Please add"),
    ("photo.jpg", b"\0\0\0\x18ftypheic" + bytes(60), "a HEIC picture of an iPhone. Please save it as a JPEG picture"),
    ("scan.png", PNG[:-8], DAMAGED),
    ("empty.txt", b"", "This file is empty."),
    ("letter.txt", "Zoë".encode(), "not plain ASCII text"),
    ("letter.pdf", b"%PDF-1.7\nand no more", DAMAGED),
]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy with other tests must not make a PDF be refused."""
    monkeypatch.setattr(turns, "TURN_SECONDS", 60)
    monkeypatch.setattr(turns, "SHARE_SECONDS", 600)
    monkeypatch.setattr(opening, "READING_SECONDS", 60)


def pdf(password: str | None = None) -> bytes:
    kept, document = BytesIO(), pikepdf.new()
    document.add_blank_page()
    document.save(kept, encryption=pikepdf.Encryption(owner="owner", user=password) if password else False)
    return kept.getvalue()


def sentence(response: Any, status: int = 422) -> str:
    (error,) = response.get_json()["errors"]
    assert (response.status_code, error["status"]) == (status, str(status)), response.text
    return str(error["detail"])


def kept(product: Product) -> int:
    """The number of files whose bytes are stored here."""
    return int(product.value("SELECT count(DISTINCT guid) FROM form526_attachment_chunks"))


# -- what is refused ----------------------------------------------------------


def test_an_unacceptable_file_is_refused_with_a_sentence_and_leaves_nothing(product: Product) -> None:
    person = filer(product)
    for name, content, words in REFUSED:
        assert words in sentence(person.upload(name, content)), name
    misplaced = {"file": FileStorage(BytesIO(b"words"), "letter.txt"), FILE_FIELD: "words"}
    assert sentence(person.send(misplaced)) == f"There is no file. Please send one as {FILE_FIELD}."
    assert sentence(person.send({})) == f"There is no file. Please send one as {FILE_FIELD}."
    assert product.value("SELECT count(*) FROM form526_attachments") == 0


@pytest.mark.parametrize("is_set", [True, False])
def test_a_very_large_page_is_refused_with_what_to_do_only_where_the_setting_says_so(
    product: Product, is_set: bool
) -> None:
    """The backup way takes no larger one; Benefits Documents does (contract: benefits 4.1)."""
    reconfigure(product, upload_limits_pages=is_set)
    content, large = BytesIO(), pikepdf.new()
    large.add_blank_page(page_size=(78 * 72 + 1, 101 * 72 + 1))
    large.save(content)
    response = filer(product).upload("plan.pdf", content.getvalue())
    assert kept(product) == (0 if is_set else 1)
    if is_set:
        assert sentence(response) == LARGE_PAGE
    else:
        assert response.status_code == 200, response.text


def test_a_body_larger_than_any_file_is_a_413_before_it_is_read(product: Product) -> None:
    large = {"CONTENT_LENGTH": str(MOST_UPLOAD_BYTES + 1), "CONTENT_TYPE": "multipart/form-data; boundary=b"}
    headers = filer(product).signed.headers
    refused = product.app.test_client().post(UPLOAD_URL, data=b"--b", headers=headers, environ_overrides=large)
    assert "The most we can take of a PDF is 99 MB. Please split it" in sentence(refused, 413)
    anybody = product.app.test_client().post(UPLOAD_URL, data=b"--b", environ_overrides=large)
    assert (anybody.status_code, kept(product)) == (401, 0)


def test_a_locked_pdf_is_opened_with_its_password_and_kept_without_it(product: Product) -> None:
    person, locked = filer(product), pdf("pässwörd 7")
    assert sentence(person.upload("letter.pdf", locked)).startswith("This PDF needs a password. Please")
    assert sentence(person.upload("letter.pdf", locked, "guess")).startswith(
        "That password does not open this PDF. Please"
    )
    assert kept(product) == 0
    response = person.upload("letter.pdf", locked, "pässwörd 7")
    assert (response.status_code, response.get_json()["data"]["type"]) == (200, "supporting_evidence_attachment")
    guid = response.get_json()["data"]["attributes"]["guid"]
    (row,) = product.rows("SELECT guid::text, chunks, size, content_type FROM form526_attachments")
    content = b"".join(stored_chunks(uuid.UUID(guid), row.chunks))
    assert (row.guid, row.size, row.content_type) == (guid, len(content), "application/pdf")
    with pikepdf.open(BytesIO(content)) as opened:
        assert (opened.is_encrypted, len(opened.pages)) == (False, 1)


def test_an_unlocked_pdf_is_kept_unchanged_and_unknown_parts_are_ignored(product: Product) -> None:
    content = pdf()
    parts = {"form_id": "21-526EZ", PASSWORD_FIELD: "", FILE_FIELD: FileStorage(BytesIO(content), "C:\\tmp\\scan.pdf")}
    assert filer(product).send(parts).status_code == 200
    (row,) = product.rows("SELECT guid, chunks FROM form526_attachments")
    assert b"".join(stored_chunks(row.guid, row.chunks)) == content


def test_a_picture_under_a_wrong_name_is_passed_on_under_a_right_one_and_shown_under_its_own(product: Product) -> None:
    person = filer(product)
    filed = person.file(person.attach("letter.pdf", PNG))
    product.work()
    assert {row["file_name"] for row in uploaded(product)} == {"letter.png", "BDD instructions.pdf"}
    assert '"name": "letter.pdf"' in json.dumps(person.documents(filed))


def test_a_file_name_in_another_encoding_and_half_a_body_are_refused_with_a_way_out(product: Product) -> None:
    """Old programs send names in Latin-1, and multipart does not say so."""
    part = (
        f'--b\r\nContent-Disposition: form-data; name="{FILE_FIELD}"; filename="Zo\xeb.txt"\r\n\r\nwords\r\n--b--\r\n'
    )
    headers = filer(product).signed.headers | {"Content-Type": "multipart/form-data; boundary=b"}
    response = product.app.test_client().post(UPLOAD_URL, data=part.encode("latin-1"), headers=headers)
    assert sentence(response).endswith("Please give it a name of plain letters and digits, and add it again.")
    response = product.app.test_client().post(UPLOAD_URL, data=part[:-20].encode(), headers=headers)
    assert sentence(response) == "This file did not arrive whole. Please add it again."


# -- owner and lifetime --------------------------------------------------------


def test_a_file_of_somebody_else_goes_into_no_claim(product: Product) -> None:
    """Nor does a file that never existed: the form is filed, and a human requests the file."""
    theirs = filer(product, BEN).attach("bens_discharge_letter.txt")
    person = filer(product)
    filed = person.file(theirs, {**theirs, "confirmationCode": str(uuid.uuid4())}, {**theirs, "confirmationCode": "x"})
    product.work()
    missing = [row for row in documents(product) if row["failed_step"] == "MISSING"]
    assert [(row["lighthouse_status"], row["attachment_guid"]) for row in missing] == [("failed", None)] * 3
    assert [row["file_name"] for row in uploaded(product)] == ["BDD instructions.pdf"]
    assert product.cases() == ["document_missing"] * 3
    assert person.word(filed) == "success"
    assert "We don't have this document" in json.dumps(person.documents(filed))
    assert product.value("SELECT submission_id IS NULL FROM form526_attachments")


WITHOUT_CODE: list[dict[str, Any]] = [
    {"name": "null.pdf", "confirmationCode": None, "attachmentId": "L015"},
    {"name": "empty.pdf", "confirmationCode": "", "attachmentId": "L015"},
    {"name": "blank.pdf", "confirmationCode": "  ", "attachmentId": "L015"},
    {"name": "number.pdf", "confirmationCode": 17, "attachmentId": "L015"},
    {"name": "absent.pdf", "attachmentId": "L015"},
    {"name": "uploading.pdf", "uploading": True, "attachmentId": "L015"},
    {"name": "refused.pdf", "errorMessage": "This file is empty.", "attachmentId": "L015", "size": 0},
    {"name": "refused.pdf", "errorMessage": "This file is empty.", "attachmentId": "L015", "size": 0},
    {},
]


def test_no_entry_without_a_code_is_skipped(product: Product) -> None:
    """Its upload did not end, or was refused. What we hold is sent, whatever else its entry says."""
    reconfigure(product, bdd_instructions="qualified")
    person = filer(product)
    held = {**person.attach(), "uploading": True, "errorMessage": "Try again."}
    filed = person.file(*WITHOUT_CODE, held, elsewhere={"confirmationCode": None, "attachmentId": "L015"})
    product.work()
    listed = person.documents(filed)
    names = [entry.get("name", "document") for entry in WITHOUT_CODE]
    assert [each["name"] for each in listed] == [*names, "letter.txt"]
    missing = [row for row in documents(product) if row["failed_step"] == "MISSING"]
    assert [row["lighthouse_status"] for row in missing] == ["failed"] * len(WITHOUT_CODE)
    assert product.cases() == ["document_missing"] * len(WITHOUT_CODE)
    (details,) = set(product.rows("SELECT details ->> 'why' FROM cases"))
    assert details[0] == "the form names a file without the code of an upload"
    expected = ["form526.accepted", *["form526.document_missing"] * len(WITHOUT_CODE)]
    assert sorted(mails(product, len(expected))) == expected
    assert [row["file_name"] for row in uploaded(product)] == ["letter.txt"]
    assert command(product, "audit").exit_code == 0


@pytest.mark.parametrize(
    ("given", "doc_type", "on_record"),
    [
        (" l015 ", "L015", None),
        ("L999", "L023", "L999"),
        (" l1839", "L023", "L1839"),
        (1489, "1489", None),
        ("Letter of Dr. Zzyzxfield", "L023", "[withheld]"),
        ("123456789", "L023", "[withheld]"),
        ("", "L023", None),
        (None, "L023", None),
        ("l023", "L023", None),
    ],
)
def test_a_doc_type_is_read_as_it_is_meant_and_an_unknown_one_stays_on_record(
    product: Product, given: Any, doc_type: str, on_record: str | None
) -> None:
    reconfigure(product, bdd_instructions="qualified")
    person = filer(product)
    person.file({**person.attach(), "attachmentId": given}, {"name": "lost.pdf", "attachmentId": given})
    product.work()
    assert [row["doc_type"] for row in documents(product)] == [doc_type] * 2
    assert [row["doc_type"] for row in uploaded(product)] == [doc_type]
    recorded = product.rows("SELECT detail ->> 'given_doc_type' FROM outbox_history WHERE what = 'document.enqueued'")
    assert [row[0] for row in recorded] == [on_record] * 2
    assert product.value("SELECT details ->> 'given_doc_type' FROM cases") == on_record


def test_the_list_has_whole_names_guids_and_the_order_of_the_form(product: Product) -> None:
    person = filer(product)
    named = [person.attach(f"{letter}_Zzyzxfield_letter.txt") for letter in "hcafegbd"]
    named.insert(3, {"name": "never sent.pdf", "confirmationCode": str(uuid.uuid4()), "attachmentId": "L015"})
    filed = person.file(*named, form0781={"incidents": [{"what": "a fall"}, {"personalAssault": True}]})
    product.work()
    listed = person.documents(filed)
    guids = [None if each["name"] == "never sent.pdf" else each["confirmationCode"] for each in named]
    assert [(each["name"], each["guid"]) for each in listed] == [
        *zip([each["name"] for each in named], guids, strict=True),
        ("Form 0781.pdf", None),
        ("Form 0781a.pdf", None),
        ("BDD instructions.pdf", None),
    ]


def test_an_unused_file_is_deleted_after_sixty_days_and_missing_afterwards(product: Product) -> None:
    person = filer(product)
    named = person.attach()
    pass_time(product, days=59, hours=23)
    housekeeping.retain()
    assert kept(product) == 1
    pass_time(product, hours=2)
    housekeeping.retain()
    assert kept(product) == 0
    assert product.value("SELECT purged_at IS NOT NULL FROM form526_attachments")
    again = filer(product)
    again.file(named)
    product.work()
    assert (evidence(product)["failed_step"], product.cases()) == ("MISSING", ["document_missing"])
    assert mails(product, 2) == ["form526.accepted", "form526.document_missing"]
    (asked,) = [mail for mail in product.phone(2) if mail["template"] == "form526.document_missing"]
    assert "Please send it again" in asked["body"] and "going to send it again" not in asked["body"]
    assert "letXer.txt" in asked["body"]


def after(product: Product, **span: float) -> int:
    """The number of files kept after so much time and a run of retention."""
    pass_time(product, **span)
    housekeeping.retain()
    return kept(product)


def test_bytes_stay_until_all_their_documents_have_been_final_for_a_week(product: Product) -> None:
    reconfigure(product, bdd_instructions="qualified")
    product.control.set("form526", "refuse")
    person = filer(product)
    named = person.attach()
    person.file(named)
    assert after(product, days=20) == 1
    product.control.clear("form526")
    product.work()
    assert (statuses(product), after(product, days=8)) == (["pending"], 1)
    poll(product)
    assert (statuses(product), after(product, days=6, hours=22)) == (["done"], 1)
    # The person changes the form and sends it with the same file, which is then needed once more.
    product.control.set("form526", "refuse")
    again = Filer(product, filer(product).signed)
    again.file(named, changed=True)
    assert after(product, days=3) == 1
    product.control.clear("form526")
    product.work()
    poll(product)
    assert statuses(product) == ["done", "done"]
    assert (after(product, days=6, hours=22), after(product, hours=3)) == (1, 0)
    assert product.value("SELECT purged_at IS NOT NULL FROM form526_attachments")


def test_bytes_of_a_failed_document_stay_while_a_human_holds_it(product: Product) -> None:
    reconfigure(product, bdd_instructions="qualified")
    product.control.set("documents", "status", status=413, operation=UPLOADS)
    person = filer(product)
    person.file(person.attach())
    product.work()
    assert (statuses(product), after(product, days=40)) == (["failed"], 1)
    done = command(product, "documents", "delivered", str(evidence(product)["id"]), "--note", "by courier")
    assert done.exit_code == 0
    assert (after(product, days=6, hours=22), after(product, hours=3)) == (1, 0)


def test_bytes_of_a_failed_form_stay_while_a_human_holds_it(product: Product) -> None:
    product.control.turn("form526", refuse_with="")
    person = filer(product)
    person.file(person.attach())
    product.work()
    assert (product.cases(), after(product, days=40)) == (["refused"], 1)
    case = product.value("SELECT id FROM cases WHERE closed_at IS NULL")
    assert command(product, "cases", "close", str(case), "--resolution", "filed by mail").exit_code == 0
    assert after(product) == 0
