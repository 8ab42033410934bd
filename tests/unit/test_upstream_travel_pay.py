"""The reads of Travel Pay: every field by its name, no guess when in doubt, and lists that survive one bad item."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any
from urllib.parse import parse_qsl

import pytest

from flaskapp.upstreams.contact import Contact
from flaskapp.upstreams.errors import Throttled, Unavailable, UpstreamError
from flaskapp.upstreams.travel_pay.reads import DocumentFile, Page
from flaskapp.upstreams.travel_pay.values import ClaimDetail, ClaimSummary, Document, Expense, UpstreamAppointment
from tests.unit.loopback import Body, Reply, reset, serving, silence, whole
from tests.unit.travel_pay import ADA, APPOINTMENT, CLAIM_ID, NO_ENDPOINT, NO_ROUTE, NOT_FOUND, Bench, envelope

SUMMARY = {
    "id": CLAIM_ID,
    "claimNumber": "TC0928098230498",
    "claimStatus": "InProcess",
    "appointmentDateTime": "2031-03-04T09:30:00.000Z",
    "facilityId": "f1",
    "facilityName": "Aspen VA",
    "totalCostRequested": 20,
    "reimbursementAmount": 14.52,
    "createdOn": "2031-03-05T10:00:00.123Z",
    "modifiedOn": "2031-03-06T10:00:00Z",
}
READ_SUMMARY = ClaimSummary(
    id=CLAIM_ID,
    claim_number="TC0928098230498",
    claim_status="InProcess",
    appointment_date_time="2031-03-04T09:30:00.000Z",
    facility_id="f1",
    facility_name="Aspen VA",
    total_cost_requested=20,
    reimbursement_amount=14.52,
    created_on="2031-03-05T10:00:00.123Z",
    modified_on="2031-03-06T10:00:00Z",
)
EXPENSE = {
    "id": "e1",
    "expenseType": "Mileage",
    "name": "Mileage Expense",
    "dateIncurred": "2031-03-04",
    "costRequested": 1.5,
}
DETAIL = {
    "claimId": CLAIM_ID,
    "claimNumber": "TC1",
    "claimName": "Travel",
    "claimantFirstName": "Ada",
    "claimantMiddleName": None,
    "claimantLastName": "Example",
    "claimStatus": "Denied",
    "appointmentDate": "2031-03-04T09:30:00Z",
    "facilityName": "Aspen VA",
    "totalCostRequested": 1.5,
    "reimbursementAmount": 0,
    "rejectionReason": "No appointment",
    "createdOn": "2031-03-05T10:00:00Z",
    "modifiedOn": "2031-03-06T10:00:00Z",
    "claimSource": "VaGov",
    "appointment": APPOINTMENT,
    "expenses": [EXPENSE],
}


def paged(*items: Any, **beside: Any) -> dict[str, Any]:
    return envelope(list(items), **{"totalRecordCount": 41, "pageNumber": 2, "pageSize": 20, **beside})


@pytest.fixture
def bench() -> Iterator[Bench]:
    with serving(whole(200, envelope([]))) as server:
        yield Bench(server)


def search(bench: Bench) -> Page[ClaimSummary]:
    return bench.reads.search_claims(ADA, date(2031, 1, 1), date(2031, 3, 31), 2, 20, total_seconds=30)


def appointments(bench: Bench, **options: bool) -> Page[UpstreamAppointment]:
    return bench.reads.appointments(ADA, 2, 20, total_seconds=30, **options)


def claim(bench: Bench) -> ClaimDetail | None:
    return bench.reads.claim(ADA, CLAIM_ID, total_seconds=30)


def document(bench: Bench) -> DocumentFile | None:
    return bench.reads.document(ADA, CLAIM_ID, "d/1", total_seconds=30)


def list_claims(bench: Bench) -> list[ClaimSummary]:
    return list(bench.reads.list_claims(ADA, total_seconds=30).items)


def list_documents(bench: Bench) -> tuple[list[Document], int]:
    return bench.reads.documents(ADA, CLAIM_ID, total_seconds=30)


def contact(bench: Bench) -> Contact:
    return bench.reads.contact(ADA, total_seconds=30)


def sent_line(bench: Bench) -> str:
    return bench.server.received[-1].line.removesuffix(" HTTP/1.1")


def test_claims_are_searched_page_by_page(bench: Bench) -> None:
    found = search(bench.answering(whole(200, paged(SUMMARY))))
    assert found == Page((READ_SUMMARY,), total=41, page=2, size=20, unreadable=0)
    path, query = sent_line(bench).split("?")
    assert path == "GET /api/v2/claims/search-by-appointment-date"
    assert parse_qsl(query) == [
        ("startDate", "2031-01-01T00:00:00Z"),
        ("endDate", "2031-03-31T23:59:59Z"),
        ("pageNumber", "2"),
        ("pageSize", "20"),
    ]


def test_claims_are_listed(bench: Bench) -> None:
    sparse = {"id": "c2", "claimStatus": "Saved", "appointmentDateTime": None}
    listed = list_claims(bench.answering(whole(200, envelope([SUMMARY, sparse]))))
    assert listed[0] == READ_SUMMARY and (listed[1].appointment_date_time, listed[1].claim_number) == (None, None)
    assert sent_line(bench) == "GET /api/v2/claims"


def test_appointments_include_those_with_claims_by_default(bench: Bench) -> None:
    full = {**APPOINTMENT, "associatedClaimId": CLAIM_ID, "serviceConnectedDisability": 30, "appointmentType": "Other"}
    (found,) = appointments(bench.answering(whole(200, paged(full)))).items
    assert sent_line(bench) == "GET /api/v2/appointments?pageNumber=2&pageSize=20"
    assert (found.id, found.appointment_date_time, found.is_completed) == ("a1", "2031-03-04T09:30:00Z", True)
    assert (found.associated_claim_id, found.appointment_type, found.facility_id) == (CLAIM_ID, "Other", None)
    appointments(bench, exclude_with_claims=True)
    assert sent_line(bench).endswith("&excludeWithClaims=true")


def test_a_claim_is_read_with_its_appointment_and_expenses(bench: Bench) -> None:
    found = claim(bench.answering(whole(200, envelope(DETAIL))))
    assert found is not None and sent_line(bench) == f"GET /api/v3/claims/{CLAIM_ID}"
    assert (found.claim_id, found.claim_status) == (CLAIM_ID, "Denied")
    assert (found.claimant_first_name, found.claimant_last_name) == ("Ada", "Example")
    assert found.appointment is not None and found.appointment.id == "a1"
    assert found.expenses == (Expense("e1", "Mileage", "Mileage Expense", "2031-03-04", None, 1.5, None),)
    assert "Ada" not in repr(found)


@pytest.mark.parametrize(("given", "read"), [("VaGov", "VaGov"), ("", None), (None, None), (2, None), ({}, None)])
def test_where_a_claim_was_begun_is_read_from_a_text_only(bench: Bench, given: object, read: str | None) -> None:
    found = claim(bench.answering(whole(200, envelope({**DETAIL, "claimSource": given}))))
    assert found is not None and found.claim_source == read


LONG, SHORT = "It was filed more than 30 days after the visit.", "Late"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("No appointment", "No appointment"),
        ({"rejectionReasonId": "r1", "rejectionReasonTitle": SHORT, "rejectionReasonDescription": LONG}, LONG),
        ({"rejectionReasonName": "LATE", "rejectionReasonTitle": SHORT, "rejectionReasonDescription": None}, SHORT),
        ({"rejectionReasonName": "LATE", "rejectionReasonTitle": 7}, "LATE"),
    ],
)
def test_a_rejection_is_an_object_and_has_words_for_the_person(bench: Bench, given: object, words: str) -> None:
    found = claim(bench.answering(whole(200, envelope({**DETAIL, "rejectionReason": given}))))
    assert found is not None and found.rejection_reason is not None and found.rejection_reason.words == words


@pytest.mark.parametrize("given", [None, "", {}, [], 7, {"rejectionReasonTitle": " "}])
def test_a_claim_without_a_reason_has_none(bench: Bench, given: object) -> None:
    found = claim(bench.answering(whole(200, envelope({**DETAIL, "rejectionReason": given}))))
    assert found is not None and found.rejection_reason is None


@pytest.mark.parametrize(
    "absent", ["claimNumber", "appointment", "claimSource", "expenses", "rejectionReason", "createdOn"]
)
def test_a_claim_may_lack_what_is_not_known_yet(bench: Bench, absent: str) -> None:
    for detail in ({**DETAIL, absent: None}, {name: value for name, value in DETAIL.items() if name != absent}):
        assert claim(bench.answering(whole(200, envelope(detail)))) is not None


@pytest.mark.parametrize(
    "odd",
    [
        {"claimId": "8b7a6c5d-0000-4000-8000-000000000002"},
        {"claimStatus": ""},
        {"claimNumber": 17},
        {"createdOn": "yesterday"},
        {"createdOn": "2031-02-30T10:00:00Z"},
        {"totalCostRequested": "20"},
        {"reimbursementAmount": True},
        {"expenses": [{}]},
        {"expenses": 3},
        {"appointment": {"id": None}},
        {"appointment": {**APPOINTMENT, "isCompleted": "yes"}},
    ],
)
def test_a_claim_that_cannot_be_read_is_unavailable(bench: Bench, odd: dict[str, Any]) -> None:
    with pytest.raises(Unavailable) as caught:
        claim(bench.answering(whole(200, envelope({**DETAIL, **odd}))))
    assert caught.value.detail.startswith("the answer cannot be read")


def test_a_list_survives_unreadable_items_and_counts_them(bench: Bench) -> None:
    odd = [{**SUMMARY, "appointmentDateTime": "4 March"}, "text", {"claimStatus": "Saved"}]
    found = search(bench.answering(whole(200, paged(odd[0], SUMMARY, *odd[1:]))))
    assert found.items == (READ_SUMMARY,) and found.unreadable == 3
    assert list_claims(bench.answering(whole(200, envelope([*odd, SUMMARY])))) == [READ_SUMMARY]


@pytest.mark.parametrize(
    "body",
    [
        paged(SUMMARY, totalRecordCount="41"),
        paged(SUMMARY, totalRecordCount=-1),
        paged(SUMMARY, pageNumber="2"),
        {**paged(), "data": None},
        {**paged(), "data": {"id": "c1"}},
        [SUMMARY],
        "<html>",
        "",
    ],
)
def test_a_page_whose_numbers_or_items_make_no_sense_is_unavailable(bench: Bench, body: Body) -> None:
    with pytest.raises(Unavailable):
        search(bench.answering(whole(200, body)))


@pytest.mark.parametrize("read", [claim, document])
def test_only_the_apis_own_word_makes_a_thing_unknown(bench: Bench, read: Callable[[Bench], object]) -> None:
    for body in (NOT_FOUND, envelope(None, 404, "Claim not found")):
        assert read(bench.answering(whole(404, body))) is None
    for elsewhere in (NO_ENDPOINT, NO_ROUTE, NO_ENDPOINT, envelope(None, 404, "Not found"), {}, "<html>", ""):
        with pytest.raises(Unavailable):
            read(bench.answering(whole(404, elsewhere)))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {
                "address": {
                    "addressLine1": "1 Elm St",
                    "addressLine2": " ",
                    "city": "Aspen",
                    "state": "CO",
                    "zipCode": "81611",
                    "country": "USA",
                },
                "phoneNumber": "5555550101",
                "email": "ada@example.test",
            },
            Contact("1 Elm St", "Aspen", "CO", "81611", "USA", "5555550101", "ada@example.test"),
        ),
        ({"address": None, "phoneNumber": None, "email": None}, Contact(*[None] * 7)),
    ],
)
def test_contact_details_are_read_as_btsss_writes_them(bench: Bench, data: dict[str, Any], expected: Contact) -> None:
    assert contact(bench.answering(whole(200, envelope(data)))) == expected
    assert sent_line(bench) == "GET /api/v2/contacts"


@pytest.mark.parametrize("read", [list_claims, search, appointments, claim, list_documents, document, contact])
@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        (whole(400, envelope(None, 400, "Bad date.")), Unavailable, "400"),
        (whole(403, {"errors": [{"code": "TP_403", "title": "Forbidden"}]}), Unavailable, "TP_403"),
        (whole(409, envelope(None, 409, "Conflict.")), Unavailable, "409"),
        (whole(408, envelope(None, 408, "Timeout.")), Unavailable, "408"),
        (whole(403, "<html>"), Unavailable, "403"),
        (whole(302, envelope([])), Unavailable, None),
        (whole(200, {**paged(), "success": False}, Content_Type="application/json"), Unavailable, None),
        (whole(429, "", Ratelimit_Reset="7"), Throttled, None),
        (whole(500, {"errors": [{"error": {"code": "X", "message": "Y"}}]}), Unavailable, None),
        (reset, Unavailable, None),
    ],
)
def test_no_failure_of_a_read_looks_like_an_answer(
    bench: Bench, read: Callable[[Bench], object], reply: Reply, kind: type[UpstreamError], code: str | None
) -> None:
    with pytest.raises(kind) as caught:
        read(bench.answering(reply))
    assert type(caught.value) is kind and caught.value.upstream == "travel_pay"
    assert code in (None, caught.value.code) or read is document
    assert kind is not Throttled or caught.value.retry_after == 7


def test_the_callers_limit_holds(bench: Bench) -> None:
    with pytest.raises(Unavailable) as caught:
        bench.answering(silence).reads.contact(ADA, total_seconds=0.1)
    assert caught.value.timed_out
