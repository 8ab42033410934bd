"""The fake Travel Pay's reads: lists in pages, ranges, details and documents (contract: travel 5.3).

Also the contact details (docs/assumptions.md).
"""

from __future__ import annotations

import base64
from typing import Any

import pytest
import requests

from sandbox.faults import Control, Refused
from sandbox.upstreams.cast import Veteran
from sandbox.upstreams.contacts import at_btsss
from sandbox.upstreams.scenarios import with_habit, with_travel_pay, without_email
from sandbox.upstreams.serve import Upstreams
from tests.contract.travel_pay_wire import PAGING, Chain, Traveler, data, not_found, refusal

ADA, MANY, STATUSES = with_habit("ok"), with_travel_pay("many"), with_travel_pay("statuses")
LISTED = {
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
DETAIL = (LISTED - {"id", "appointmentDateTime", "facilityId"}) | {
    "claimId",
    "claimName",
    "claimantFirstName",
    "claimantMiddleName",
    "claimantLastName",
    "appointmentDate",
    "rejectionReason",
    "claimSource",
    "appointment",
    "expenses",
}
EXPENSE = {"id", "expenseType", "name", "dateIncurred", "description", "costRequested", "costSubmitted"}
# The contract's statuses (contract: travel 2.3) in Travel Pay's spelling.
EVERY_STATUS = {
    "Appeal",
    "ApprovedForPayment",
    "ClaimPaid",
    "ClaimSubmitted",
    "ClosedWithNoPayment",
    "Denied",
    "FiscalRescinded",
    "InManualReview",
    "InProcess",
    "Incomplete",
    "OnHold",
    "PartialPayment",
    "PaymentCanceled",
    "PreApprovedForPayment",
    "Saved",
    "SubmittedForPayment",
}


@pytest.fixture
def chain(http: requests.Session, upstreams: Upstreams) -> Chain:
    return Chain(http, upstreams)


@pytest.fixture
def abel(chain: Chain) -> Traveler:
    return Traveler(chain, STATUSES)


@pytest.fixture
def zeke(chain: Chain) -> Traveler:
    return Traveler(chain, MANY)


def paging(answer: requests.Response) -> tuple[int, int, int]:
    body = answer.json()
    assert set(body) > PAGING
    return body["totalRecordCount"], body["pageNumber"], body["pageSize"]


def with_status(traveler: Traveler, status: str) -> dict[str, Any]:
    """The first claim in the list that has it, in detail."""
    listed = next(claim for claim in data(traveler.claims()) if claim["claimStatus"] == status)
    return dict(data(traveler.claim(listed["id"])))


def test_every_status_is_on_file_for_somebody(abel: Traveler) -> None:
    claims = data(abel.claims())
    assert {claim["claimStatus"] for claim in claims} == EVERY_STATUS
    assert all(set(claim) == LISTED for claim in claims)
    assert [claim["claimStatus"] for claim in claims if claim["appointmentDateTime"] is None] == ["ClaimPaid"]


def test_a_list_comes_in_pages_no_larger_than_the_server_allows(zeke: Traveler, control: Control) -> None:
    assert paging(zeke.claims()) == (120, 1, 50)
    assert paging(zeke.claims(pageSize=500, pageNumber=2)) == (120, 2, 50)
    pages = [data(zeke.claims(pageNumber=number, pageSize=45)) for number in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [45, 45, 30, 0]
    assert len({claim["id"] for page in pages for claim in page}) == 120
    control.turn("travel_pay", largest_page=200)
    assert len(data(zeke.claims())) == 120


def test_a_list_is_sorted_as_requested(zeke: Traveler) -> None:
    for field, direction, backwards in (("appointmentDateTime", "Descending", True), ("createdOn", "asc", False)):
        values = [claim[field] for claim in data(zeke.claims(sortField=field, sortDirection=direction))]
        assert values == sorted(values, reverse=backwards)
    for query in ({"sortField": "colour"}, {"sortDirection": "up"}, {"pageNumber": 0}, {"pageSize": "x"}):
        assert refusal(zeke.claims(**query))[0] == 400


def test_claims_are_found_by_the_wall_clock_of_their_appointment(zeke: Traveler) -> None:
    timestamps = sorted(claim["appointmentDateTime"] for claim in data(zeke.claims(sortDirection="desc")))
    first, last = timestamps[-3], timestamps[-1]
    found = zeke.search(first, last)
    assert [claim["appointmentDateTime"] for claim in data(found)] == timestamps[-3:]
    assert paging(found) == (3, 1, 50)
    assert paging(zeke.search(first, last, pageSize=2, pageNumber=2)) == (3, 2, 2)
    # A bare date means its midnight: the day's own appointments come after it.
    assert len(data(zeke.search(first[:10], last[:10]))) == 2


@pytest.mark.parametrize(("first", "last"), [("", "2031-01-01"), ("soon", "2031-01-01"), ("2031-01-02", "2031-01-01")])
def test_an_impossible_range_is_refused(chain: Chain, first: str, last: str) -> None:
    assert refusal(Traveler(chain, ADA).search(first, last))[0] == 400


def test_a_claim_without_an_appointment_is_in_no_range(abel: Traveler) -> None:
    assert len(data(abel.claims())) == len(EVERY_STATUS) + 1
    assert len(data(abel.search("2000-01-01", "2099-01-01"))) == len(EVERY_STATUS)


def test_a_claim_is_shown_in_detail(abel: Traveler) -> None:
    claim = with_status(abel, "ClaimPaid")
    assert set(claim) == DETAIL
    assert (claim["claimantFirstName"], claim["claimantLastName"]) == (STATUSES.first_name, STATUSES.last_name)
    assert claim["appointment"]["associatedClaimId"] == claim["claimId"]
    assert claim["appointment"]["appointmentDateTime"] == claim["appointmentDate"]
    assert [set(expense) for expense in claim["expenses"]] == [EXPENSE]
    assert claim["totalCostRequested"] == claim["reimbursementAmount"] == 20.75
    assert claim["claimSource"] is None
    denied = with_status(abel, "Denied")
    assert (bool(denied["rejectionReason"]), denied["reimbursementAmount"]) == (True, 0)


def test_documents_are_listed_and_fetched(abel: Traveler) -> None:
    claim = with_status(abel, "ClaimPaid")["claimId"]
    listed = data(abel.call("GET", f"v2/claims/{claim}/documents"))
    assert all(set(document) == {"documentId", "filename", "mimetype", "createdon"} for document in listed)
    kinds = {document["filename"]: document["mimetype"] for document in listed}
    assert kinds == {"Decision Letter.pdf": "application/pdf", "Beleg für Maut.png": "image/png", "screening.txt": None}
    fetched = {
        document["filename"]: abel.call("GET", f"v2/claims/{claim}/documents/{document['documentId']}")
        for document in listed
    }
    letter, receipt, note = fetched.values()
    assert (letter.headers["Content-Type"], letter.content[:5]) == ("application/pdf", b"%PDF-")
    assert receipt.headers["Content-Disposition"] == "attachment; filename*=UTF-8''Beleg%20f%C3%BCr%20Maut.png"
    assert note.headers["Content-Type"] == "application/octet-stream"


def test_a_document_can_come_in_json_under_its_own_type_and_name(abel: Traveler, control: Control) -> None:
    claim = with_status(abel, "Denied")["claimId"]
    (listed,) = data(abel.call("GET", f"v2/claims/{claim}/documents"))
    path = f"v2/claims/{claim}/documents/{listed['documentId']}"
    plain = abel.call("GET", path)
    control.turn("travel_pay", documents_in_json=True)
    encoded = abel.call("GET", path)
    for name in ("Content-Type", "Content-Disposition"):
        assert encoded.headers[name] == plain.headers[name]
    assert base64.b64decode(encoded.json()["data"]) == plain.content


def test_another_persons_documents_are_not_found(abel: Traveler, chain: Chain) -> None:
    claim = with_status(abel, "Denied")["claimId"]
    (letter,) = data(abel.call("GET", f"v2/claims/{claim}/documents"))
    path = f"v2/claims/{claim}/documents/{letter['documentId']}"
    other = Traveler(chain, ADA)
    assert not_found(other.call("GET", f"v2/claims/{claim}/documents")) == "Claim not found."
    assert not_found(other.call("GET", path)) == "Document not found."
    assert not_found(abel.call("GET", path.replace(letter["documentId"], claim))) == "Document not found."


def test_the_days_appointments_are_there_with_and_without_those_that_have_claims(chain: Chain) -> None:
    hector = Traveler(chain, with_habit("filed"))
    (todays,) = data(hector.appointments())
    assert todays["appointmentDateTime"].endswith("T09:30:00.000Z")
    assert data(hector.appointments(excludeWithClaims="true")) == []
    added = data(hector.find_or_add("2000-01-01T10:00:00Z"))[0]["id"]
    assert [each["id"] for each in data(hector.appointments())] == [added, todays["id"]]
    assert paging(hector.appointments(excludeWithClaims="true", pageSize=1)) == (1, 1, 1)


def equal_details(person: Veteran, chain: Chain, http: requests.Session, upstreams: Upstreams) -> set[str]:
    """The details that are the same at BTSSS and VA Profile, in any case and in any form of a number."""
    btsss = data(Traveler(chain, person).call("GET", "v2/contacts"))
    assert set(btsss) == {"address", "phoneNumber", "email"}
    url, key = f"{upstreams['va_profile']}/contact-information/{person.icn}", upstreams.fakes.settings
    profile = http.get(url, headers={"x-api-key": key.va_profile_api_key}).json()
    digits = "".join(filter(str.isdigit, btsss["phoneNumber"]))
    lines = [btsss["address"]["addressLine1"], profile["mailingAddress"]["addressLine1"]]
    alike = {
        "phoneNumber": profile["mobilePhone"].endswith(digits),
        "email": btsss["email"].lower() == profile["email"],
        "address": len({line.strip().lower() for line in lines}) == 1,
    }
    return {name for name, same in alike.items() if same}


def test_contact_details_agree_for_most_and_differ_for_one(
    chain: Chain, http: requests.Session, upstreams: Upstreams
) -> None:
    assert equal_details(ADA, chain, http, upstreams) == {"phoneNumber", "email", "address"}
    assert equal_details(with_travel_pay("contacts_differ"), chain, http, upstreams) == {"email"}
    assert at_btsss(without_email())["email"] is None


def test_contact_details_can_be_changed(chain: Chain, control: Control) -> None:
    ada = Traveler(chain, ADA)
    before = data(ada.call("GET", "v2/contacts"))
    control.call("PATCH", "travel_pay", f"contacts/{ADA.icn}", json={"email": None})
    assert data(ada.call("GET", "v2/contacts")) == before | {"email": None}
    with pytest.raises(Refused, match="can be changed"):
        control.call("PATCH", "travel_pay", f"contacts/{ADA.icn}", json={"fax": "1"})
    control.reset()
    assert data(Traveler(chain, ADA).call("GET", "v2/contacts")) == before
