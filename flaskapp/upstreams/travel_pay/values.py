"""Values of the Travel Pay API: appointments, claims and documents, in the fields of its contract.

Dates and times are its own texts, in wall-clock time of the facility although they end in `Z`; amounts are US dollars.
What it leaves out is None.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flaskapp.upstreams.contact import Contact, one_line
from flaskapp.upstreams.transport.fields import (
    an_object,
    number_or_none,
    object_or_empty,
    text,
    text_or_none,
    time_or_none,
    yes_or_no_or_none,
)


@dataclass(frozen=True)
class UpstreamAppointment:
    """`associated_claim_id` set says that a claim was begun for it."""

    id: str
    appointment_source: str | None
    appointment_date_time: str | None
    appointment_name: str | None
    appointment_type: str | None
    facility_id: str | None
    facility_name: str | None
    service_connected_disability: Any
    current_status: str | None
    appointment_status: str | None
    external_appointment_id: str | None
    associated_claim_id: str | None
    associated_claim_number: str | None
    is_completed: bool | None


@dataclass(frozen=True)
class ClaimSummary:
    id: str
    claim_number: str | None
    claim_status: str
    appointment_date_time: str | None
    facility_id: str | None
    facility_name: str | None
    total_cost_requested: float | None
    reimbursement_amount: float | None
    created_on: str | None
    modified_on: str | None


@dataclass(frozen=True)
class Expense:
    id: str
    expense_type: str | None
    name: str | None
    date_incurred: str | None
    description: str | None
    cost_requested: float | None
    cost_submitted: float | None


@dataclass(frozen=True)
class RejectionReason:
    """Why a claim was not paid, as far as upstream says it (contract: travel 5.3)."""

    rejection_reason_id: str | None
    rejection_reason_name: str | None
    rejection_reason_title: str | None
    rejection_reason_description: str | None

    @property
    def words(self) -> str | None:
        """What a person may read; the name, a short code, only where there is nothing else."""
        return self.rejection_reason_description or self.rejection_reason_title or self.rejection_reason_name


@dataclass(frozen=True)
class ClaimDetail:
    """`claim_source` is `VaGov` for a claim begun on VA.gov (contract: travel 5.3), and only taken as a text."""

    claim_id: str
    claim_number: str | None
    claim_name: str | None
    claimant_first_name: str | None = field(repr=False)
    claimant_middle_name: str | None = field(repr=False)
    claimant_last_name: str | None = field(repr=False)
    claim_status: str
    appointment_date: str | None
    facility_name: str | None
    total_cost_requested: float | None
    reimbursement_amount: float | None
    rejection_reason: RejectionReason | None
    created_on: str | None
    modified_on: str | None
    claim_source: str | None
    appointment: UpstreamAppointment | None
    expenses: tuple[Expense, ...]


@dataclass(frozen=True)
class Document:
    """A claim's document without its bytes; one without a `mimetype` is shown to nobody. The proof of an expense has an
    `expense_id`."""

    document_id: str
    filename: str | None
    mimetype: str | None
    created_on: str | None
    expense_id: str | None


def read_appointment(value: object) -> UpstreamAppointment:
    given = an_object(value)
    return UpstreamAppointment(
        # A single one has been seen with other names for its id and facility (contract: travel 5.3).
        id=text(given.get("id") or given.get("appointmentId")),
        appointment_source=text_or_none(given.get("appointmentSource")),
        appointment_date_time=time_or_none(given.get("appointmentDateTime")),
        appointment_name=text_or_none(given.get("appointmentName")),
        appointment_type=text_or_none(given.get("appointmentType")),
        facility_id=text_or_none(given.get("facilityId") or given.get("facilityStationNumber")),
        facility_name=text_or_none(given.get("facilityName")),
        # Passed on as it is: no contract states its type, and nothing is decided by it.
        service_connected_disability=given.get("serviceConnectedDisability"),
        current_status=text_or_none(given.get("currentStatus")),
        appointment_status=text_or_none(given.get("appointmentStatus")),
        external_appointment_id=text_or_none(given.get("externalAppointmentId")),
        associated_claim_id=text_or_none(given.get("associatedClaimId")),
        associated_claim_number=text_or_none(given.get("associatedClaimNumber")),
        is_completed=yes_or_no_or_none(given.get("isCompleted")),
    )


def read_summary(value: object) -> ClaimSummary:
    given = an_object(value)
    return ClaimSummary(
        id=text(given.get("id")),
        claim_number=text_or_none(given.get("claimNumber")),
        claim_status=text(given.get("claimStatus")),
        appointment_date_time=time_or_none(given.get("appointmentDateTime")),
        facility_id=text_or_none(given.get("facilityId")),
        facility_name=text_or_none(given.get("facilityName")),
        total_cost_requested=number_or_none(given.get("totalCostRequested")),
        reimbursement_amount=number_or_none(given.get("reimbursementAmount")),
        created_on=time_or_none(given.get("createdOn")),
        modified_on=time_or_none(given.get("modifiedOn")),
    )


def read_claim(value: object) -> ClaimDetail:
    given = an_object(value)
    appointment, source = given.get("appointment"), given.get("claimSource")
    return ClaimDetail(
        claim_id=text(given.get("claimId")),
        claim_number=text_or_none(given.get("claimNumber")),
        claim_name=text_or_none(given.get("claimName")),
        claimant_first_name=text_or_none(given.get("claimantFirstName")),
        claimant_middle_name=text_or_none(given.get("claimantMiddleName")),
        claimant_last_name=text_or_none(given.get("claimantLastName")),
        claim_status=text(given.get("claimStatus")),
        appointment_date=time_or_none(given.get("appointmentDate")),
        facility_name=text_or_none(given.get("facilityName")),
        total_cost_requested=number_or_none(given.get("totalCostRequested")),
        reimbursement_amount=number_or_none(given.get("reimbursementAmount")),
        rejection_reason=_reason(given.get("rejectionReason")),
        created_on=time_or_none(given.get("createdOn")),
        modified_on=time_or_none(given.get("modifiedOn")),
        claim_source=text_or_none(source if isinstance(source, str) else None),
        appointment=None if appointment is None else read_appointment(appointment),
        expenses=tuple(_expense(item) for item in given.get("expenses") or ()),
    )


def _reason(value: object) -> RejectionReason | None:
    """The reason, an object or a plain text. It decides nothing, so one that cannot be read is left out."""
    given = {"rejectionReasonDescription": value} if isinstance(value, str) else value
    if not isinstance(given, dict):
        return None
    names = ("rejectionReasonId", "rejectionReasonName", "rejectionReasonTitle", "rejectionReasonDescription")
    texts = [found.strip() or None if isinstance(found := given.get(name), str) else None for name in names]
    return RejectionReason(*texts) if any(texts) else None


def _expense(value: object) -> Expense:
    given = an_object(value)
    return Expense(
        id=text(given.get("id")),
        expense_type=text_or_none(given.get("expenseType")),
        name=text_or_none(given.get("name")),
        date_incurred=time_or_none(given.get("dateIncurred")),
        description=text_or_none(given.get("description")),
        cost_requested=number_or_none(given.get("costRequested")),
        cost_submitted=number_or_none(given.get("costSubmitted")),
    )


def read_document(value: object) -> Document:
    given = an_object(value)
    return Document(
        document_id=text(given.get("documentId")),
        filename=text_or_none(given.get("filename")),
        mimetype=text_or_none(given.get("mimetype")),
        created_on=time_or_none(given.get("createdon")),
        expense_id=text_or_none(given.get("expenseId")),
    )


def read_contact(value: object) -> Contact:
    given = an_object(value)
    address = object_or_empty(given.get("address"))
    return Contact(
        street=one_line(address.get("addressLine1"), address.get("addressLine2")),
        city=text_or_none(address.get("city")),
        state=text_or_none(address.get("state")),
        zip=text_or_none(address.get("zipCode")),
        country=text_or_none(address.get("country")),
        phone=text_or_none(given.get("phoneNumber")),
        email=text_or_none(given.get("email")),
    )
