"""What the travel pay pages show: claims, one claim and its documents, in people's words and by the local clock."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from flaskapp.travel_pay.shapes import humanised, wall_clock
from sandbox.upstreams.cast import DEFAULT_CAST
from sandbox.upstreams.scenarios import with_habit
from sandbox.upstreams.travel_pay_book import Claim, Document
from sandbox.upstreams.travel_pay_past import PDF, PNG
from tests.integration import travel_pay_steps as steps
from tests.integration.travel_pay_reading import ALWAYS, APPOINTMENTS_URL, STATUSES, book, plant, reads, refusal
from tests.integration.travel_pay_steps import CLAIMS_URL, FIND, SUBMIT, traveling
from tests.product import Product

BEN = DEFAULT_CAST[1]
NOBODYS = "0c4f6d1e-0000-4000-8000-00000000aa01"
# The statuses (contract: travel 2.3), and how people read them.
WORDS = {
    "ApprovedForPayment": "Approved for payment",
    "ClaimPaid": "Claim paid",
    "ClaimSubmitted": "Claim submitted",
    "InManualReview": "In manual review",
    "In-Process": "In process",
    "InProcess": "In process",
    "Saved": "Saved",
    "SubmittedForPayment": "Submitted for payment",
    "PreApprovedForPayment": "Pre approved for payment",
    "Appeal": "Appeal",
    "ClosedWithNoPayment": "Closed with no payment",
    "Denied": "Denied",
    "FiscalRescinded": "Fiscal rescinded",
    "Incomplete": "Incomplete",
    "OnHold": "On hold",
    "PartialPayment": "Partial payment",
    "PaymentCanceled": "Payment canceled",
}
ITEM = {
    "id",
    "claimNumber",
    "claimStatus",
    "appointmentDateTime",
    "facilityId",
    "facilityName",
    "totalCostRequested",
    "reimbursementAmount",
    "createdOn",
    "modifiedOn",
}
DETAIL = (ITEM - {"id", "appointmentDateTime", "facilityId"}) | {
    "claimId",
    "claimName",
    "appointmentDate",
    "claimSource",
    "decisionLetterReason",
    "documents",
    "rejectionReason",
    "expenses",
}


def claim_of(product: Product, status: str) -> Claim:
    """The claim in this status, of the person who has one in every status."""
    return next(each for each in book(product).claims_of(STATUSES.icn) if each.status == status and each.appointment)


def test_every_status_of_the_contract_has_words_for_people() -> None:
    assert {status: humanised(status) for status in WORDS} == WORDS
    assert (humanised(None), humanised(""), humanised("On hold")) == (None, None, "On hold")


@pytest.mark.parametrize("ending", ["", "Z", "+00:00", "-0600", "-06:00"])
def test_the_offset_of_an_appointment_is_dropped_and_never_used(ending: str) -> None:
    assert wall_clock(f"2031-03-04T09:30:00{ending}") == "2031-03-04T09:30:00"
    assert (wall_clock("2031-03-04"), wall_clock(None)) == ("2031-03-04", None)


def test_claims_are_listed_as_the_page_reads_them(product: Product) -> None:
    person = traveling(product, STATUSES)
    shown = person.read(CLAIMS_URL)
    on_file = {claim["id"]: claim for claim in steps.on_file(product, STATUSES)}
    assert len(shown["data"]) == len(on_file) == 17
    for item in shown["data"]:
        filed = on_file[item["id"]]
        assert set(item) == ITEM
        assert item["claimStatus"] == WORDS[filed["claimStatus"]]
        assert item["appointmentDateTime"] == wall_clock(filed["appointmentDateTime"])
        same = ITEM - {"claimStatus", "appointmentDateTime"}
        assert {name: item[name] for name in same} == {name: filed[name] for name in same}
    assert [item["appointmentDateTime"] for item in shown["data"]].count(None) == 1
    assert shown["metadata"] == {
        "status": 200,
        "success": True,
        "message": "Data retrieved successfully.",
        "totalRecordCount": 17,
        "pageNumber": None,
        "pending": [],
        "contactDiscrepancies": [],
    }


def test_dates_and_pages_narrow_the_list(product: Product) -> None:
    person = traveling(product, STATUSES)
    days = sorted(claim["wallClock"][:10] for claim in steps.on_file(product, STATUSES) if claim["wallClock"])
    some = person.read(CLAIMS_URL, start_date=days[2], end_date=f"{days[5]}T23:59:59Z")
    assert [item["appointmentDateTime"][:10] for item in some["data"]] == days[2:6]
    whole, page = (person.read(CLAIMS_URL, **ALWAYS, **more) for more in ({}, {"page_number": 2, "page_size": 5}))
    assert page["data"] == whole["data"][5:10]
    assert (page["metadata"]["pageNumber"], page["metadata"]["totalRecordCount"]) == (2, 16)
    assert person.read(CLAIMS_URL, start_date="1999-01-01", end_date="1999-12-31")["data"] == []


def test_a_claim_is_given_at_the_top_level_with_the_reason_of_its_denial(product: Product) -> None:
    person = traveling(product, STATUSES)
    person.read(CLAIMS_URL)
    denied = claim_of(product, "Denied")
    shown = person.read(f"{CLAIMS_URL}/{denied.id.upper()}/")
    assert set(shown) == DETAIL
    assert (shown["claimId"], shown["claimNumber"], shown["claimStatus"]) == (denied.id, denied.number, "Denied")
    assert shown["decisionLetterReason"] == shown["rejectionReason"]["rejectionReasonDescription"] == denied.rejection
    assert shown["appointmentDate"] == f"{denied.appointment.at:%Y-%m-%dT%H:%M:%S}.000"
    (expense,) = shown["expenses"]
    assert (expense["expenseType"], expense["description"], expense["costRequested"]) == ("Mileage", "mileage", 20.75)
    (letter,) = shown["documents"]
    assert (letter["filename"], letter["mimetype"]) == ("Rejection Letter.pdf", "application/pdf")


def test_documents_are_bytes_to_save_and_never_json(product: Product) -> None:
    person = traveling(product, STATUSES)
    person.read(CLAIMS_URL)
    paid, now = claim_of(product, "ClaimPaid"), datetime.now(UTC)
    paid.documents += [
        Document("page.svg", "image/svg+xml", b"<svg onload='x'/>", now),
        Document("notes.txt", "text/plain; charset=utf-8", b"seen", now),
        Document("odd.bin", "Application/PDF", b"%PDF-1.7", now),
    ]
    listed = person.read(f"{CLAIMS_URL}/{paid.id}")["documents"]
    assert [each["mimetype"] for each in listed][:3] == ["application/pdf", "image/png", None]
    files = [document_of(person, paid, each["documentId"]) for each in listed]
    assert files == [
        ("application/pdf", PDF),
        ("image/png", PNG),
        ("application/octet-stream", b"{\\rtf1 screened}"),
        ("application/octet-stream", b"<svg onload='x'/>"),
        ("text/plain", b"seen"),
        ("application/pdf", b"%PDF-1.7"),
    ]
    others = [f"{CLAIMS_URL}/{paid.id}/documents/{NOBODYS}", f"{CLAIMS_URL}/{NOBODYS}/documents/{first_id(listed)}"]
    assert [refusal(person.get(path)) for path in others] == [(404, "404")] * 2
    paid.documents.append(Document("x.json", "application/json", b"{}", now))
    lost = person.get(f"{CLAIMS_URL}/{paid.id}/documents/{paid.documents[-1].id}")
    assert refusal(lost) == (502, "502")


def test_a_claim_begun_here_is_one_of_va_gov_and_another_is_not(product: Product) -> None:
    """Only with these two does the page let a person go on with a begun claim (contract: frontend 5.4)."""
    person, elsewhere = traveling(product), plant(product, appointmentDateTime="2031-03-05T09:30:00")
    ours = f"{CLAIMS_URL}/{person.file()}"
    assert person.read(ours)["claimSource"] == "VaGov"
    product.work()
    assert person.read(ours)["claimSource"] == "VaGov"
    assert person.read(f"{CLAIMS_URL}/{elsewhere['id']}")["claimSource"] is None
    claim = book(product).claims[elsewhere["id"]]
    proof, letter = (Document(name, "application/pdf", PDF, datetime.now(UTC)) for name in ("toll.pdf", "letter.pdf"))
    claim.documents += [replace(proof, expense_id="e-1"), letter]
    shown = person.read(f"{CLAIMS_URL}/{elsewhere['id']}")["documents"]
    assert [(each["filename"], each["expenseId"]) for each in shown] == [("toll.pdf", "e-1"), ("letter.pdf", None)]


def document_of(person: steps.Traveling, claim: Claim, document_id: str) -> tuple[str, bytes]:
    response = person.get(f"{CLAIMS_URL}/{claim.id}/documents/{document_id}")
    assert response.status_code == 200, response.text
    assert response.headers["Content-Disposition"] == "attachment"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    return response.mimetype, response.data


def first_id(listed: list[dict[str, Any]]) -> str:
    return str(listed[0]["documentId"])


def test_malformed_dates_pages_and_ids_are_refused_before_upstream_is_called(product: Product) -> None:
    person = traveling(product)
    queries: list[dict[str, Any]] = [
        {"start_date": "2031-03-04"},
        {"end_date": "2031-03-04"},
        {"start_date": "2031-03-05", "end_date": "2031-03-04"},
        *({"start_date": text, "end_date": "2031-03-04"} for text in ("yesterday", "2031-02-30", "2031-3-4", "0")),
        *({**ALWAYS, "page_number": text} for text in ("0", "-1", "x", "1.5", "10001", "\u0661", "9" * 30)),
        *({**ALWAYS, "page_size": text} for text in ("0", "101", "ten")),
        {"page_number": "1"},
    ]
    calls = [(CLAIMS_URL, query) for query in queries]
    calls += [(APPOINTMENTS_URL, {"start": "2031-03-04"}), (APPOINTMENTS_URL, {"start": "soon", "end": "later"})]
    for path in ("1", "x" * 500, f"{NOBODYS}/documents/1", f"1/documents/{NOBODYS}"):
        calls.append((f"{CLAIMS_URL}/{path}", {}))
    for path, query in calls:
        assert refusal(person.get(path, **query)) == (400, "103"), (path, query)
    assert product.control.received("travel_pay") == []


def test_the_claim_of_another_person_is_a_404(product: Product) -> None:
    person, other = traveling(product), traveling(product, BEN)
    begun_id = person.file()
    assert refusal(other.get(f"{CLAIMS_URL}/{begun_id}")) == (404, "404")
    assert other.read(CLAIMS_URL)["metadata"]["pending"] == []
    product.work()
    filed_id = steps.row(product)["claim_id"]
    assert person.read(f"{CLAIMS_URL}/{begun_id}")["claimId"] == filed_id
    for claim_id in (begun_id, filed_id, NOBODYS):
        assert refusal(other.get(f"{CLAIMS_URL}/{claim_id}")) == (404, "404")
    assert other.read(CLAIMS_URL)["data"] == []
    assert refusal(other.get(f"{CLAIMS_URL}/{filed_id}/documents/{uuid.uuid4()}")) == (404, "404")


def test_a_claim_not_yet_filed_is_shown_beside_the_list_and_by_our_id(product: Product) -> None:
    person = traveling(product)
    plant(product)
    claim_id = person.file()
    (pending,) = person.read(CLAIMS_URL)["metadata"]["pending"]
    assert (pending["id"], pending["claimStatus"], pending["recordState"]) == (claim_id, "Received", "pending")
    assert (pending["appointmentDateTime"], pending["facilityName"]) == ("2031-03-04T09:30:00", "Example VA")
    before = reads(product)
    shown = person.read(f"{CLAIMS_URL}/{claim_id}")
    assert set(shown) >= DETAIL - {"claimName", "decisionLetterReason", "rejectionReason"}
    assert (shown["claimId"], shown["claimStatus"], shown["claimNumber"]) == (claim_id, "Received", None)
    assert "e-mail you when it is filed" in shown["recordMessage"]
    assert reads(product) == before
    product.work()
    assert person.read(CLAIMS_URL)["metadata"]["pending"] == []
    assert person.read(f"{CLAIMS_URL}/{claim_id}")["claimStatus"] == "Claim submitted"


def test_a_claim_that_could_not_be_filed_says_how_far_it_came(product: Product) -> None:
    jonas = traveling(product, with_habit("refused"))
    refused_id = jonas.file()
    ada = traveling(product)
    half_id = ada.file()
    product.control.set("travel_pay", "status", status=404, operation=SUBMIT)
    product.work()
    for person, claim_id, status, words in (
        (jonas, refused_id, "Not filed", "We could not file"),
        (ada, half_id, "Saved", "begun but could not be finished"),
    ):
        (listed,) = person.read(CLAIMS_URL)["metadata"]["pending"]
        shown = person.read(f"{CLAIMS_URL}/{claim_id}")
        for shown_claim in (listed, shown):
            assert (shown_claim["claimStatus"], shown_claim["recordState"]) == (status, "failed")
            assert words in shown_claim["recordMessage"]
    assert product.control.received("travel_pay", FIND)
