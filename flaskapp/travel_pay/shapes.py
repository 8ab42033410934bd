"""Shapes of Travel Pay's answers for the front end (contract: frontend 5.4): words for people, wall-clock times."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from flaskapp.travel_pay import places
from flaskapp.travel_pay.models import TravelPayClaim
from flaskapp.travel_pay.states import DUPLICATE, EXPENSE, FAILED, PENDING, words_of
from flaskapp.upstreams.transport.ids import station_of
from flaskapp.upstreams.travel_pay.values import ClaimDetail, ClaimSummary, Document, Expense, UpstreamAppointment

RECEIVED, NOT_FILED, NOT_CONFIRMED = "Received", "Not filed", "Not confirmed"
# Of a claim that BTSSS has and did not name.
ON_FILE = "On file"
# BTSSS's word for claims begun on VA.gov, which ours are (contract: travel 5.3).
VA_GOV = "VaGov"
# How VA's pages know an examination for a disability claim (contract: frontend 5.2).
EXAMINATIONS = {"compensationandpensionexamination": [{"text": "COMPENSATION & PENSION"}]}
_ZONE = re.compile(r"(Z|[+-]\d{2}:?\d{2})$")


def humanised(status: str | None) -> str | None:
    """`InManualReview` and `In-Process` as people read them: `In manual review`, `In process`."""
    if not status:
        return None
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[-_\s]+", " ", status).lower()
    return words[:1].upper() + words[1:]


def wall_clock(timestamp: str | None) -> str | None:
    """The time as the facility's clock shows it. Upstream's offset means nothing (contract: travel 5.3)."""
    return _ZONE.sub("", timestamp) if timestamp else None


def listed(claim: ClaimSummary) -> dict[str, Any]:
    return {
        "id": claim.id,
        "claim_number": claim.claim_number,
        "claim_status": humanised(claim.claim_status),
        "appointment_date_time": wall_clock(claim.appointment_date_time),
        "facility_id": claim.facility_id,
        "facility_name": claim.facility_name,
        "total_cost_requested": claim.total_cost_requested,
        "reimbursement_amount": claim.reimbursement_amount,
        "created_on": claim.created_on,
        "modified_on": claim.modified_on,
    }


def detailed(claim: ClaimDetail, documents: list[Document]) -> dict[str, Any]:
    return {
        "claim_id": claim.claim_id,
        "claim_number": claim.claim_number,
        "claim_name": claim.claim_name,
        "claim_status": humanised(claim.claim_status),
        "appointment_date": wall_clock(claim.appointment_date),
        "facility_name": claim.facility_name,
        "total_cost_requested": claim.total_cost_requested,
        "reimbursement_amount": claim.reimbursement_amount,
        "decision_letter_reason": claim.rejection_reason.words if claim.rejection_reason else None,
        "rejection_reason": vars(claim.rejection_reason) if claim.rejection_reason else None,
        "created_on": claim.created_on,
        "modified_on": claim.modified_on,
        "claim_source": claim.claim_source,
        "expenses": [spent(expense) for expense in claim.expenses],
        "documents": [attached(document) for document in documents],
    }


def spent(expense: Expense) -> dict[str, Any]:
    return {
        "id": expense.id,
        "expense_type": expense.expense_type,
        "name": expense.name,
        "date_incurred": wall_clock(expense.date_incurred),
        "description": expense.description,
        "cost_requested": expense.cost_requested,
        "cost_submitted": expense.cost_submitted,
    }


def attached(document: Document) -> dict[str, Any]:
    return {
        "document_id": document.document_id,
        "filename": document.filename,
        "mimetype": document.mimetype,
        "expense_id": document.expense_id,
    }


def appointment_item(appointment: UpstreamAppointment) -> dict[str, Any]:
    """One appointment as the pages read it (contract: frontend 5.2); its id is the one that they know, if upstream has
    it. Without a station there is nothing to file for, and without its zone no instant: then these are null.
    """
    shown_id = appointment.external_appointment_id or appointment.id
    station = station_of(appointment.facility_id)
    zone = places.zone_of(station)
    at = starts_at(appointment)
    place = {"name": appointment.facility_name, "timezone": {"time_zone_id": str(zone) if zone else None}}
    attributes = {
        "id": shown_id,
        "kind": "clinic",
        "status": appointment.appointment_status,
        "start": places.utc_text(at, zone) if at and zone else None,
        "local_start_time": at.replace(tzinfo=zone).isoformat(timespec="milliseconds") if at else None,
        "appointment_name": appointment.appointment_name,
        "appointment_type": appointment.appointment_type,
        "service_category": EXAMINATIONS.get((appointment.appointment_type or "").lower(), []),
        "location_id": station,
        "location": {"id": station, "type": "appointments", "attributes": place},
    }
    return {"id": shown_id, "type": "appointments", "attributes": attributes}


def starts_at(appointment: UpstreamAppointment) -> datetime | None:
    """The facility's wall clock, naive; None for an appointment without a time: a bare date has none."""
    text = wall_clock(appointment.appointment_date_time)
    return datetime.fromisoformat(text) if text and "T" in text else None


# -- claims that are still with us --------------------------------------------


def status_of(row: TravelPayClaim) -> str:
    """The status of a claim that BTSSS does not have completely, or did not name. The last two are vets-api's
    (contract: travel 5.4).
    """
    if row.state == PENDING:
        return RECEIVED
    if row.state == DUPLICATE:
        return ON_FILE
    if row.claim_id is None:
        return NOT_CONFIRMED if row.unconfirmed else NOT_FILED
    return "Incomplete" if row.step == EXPENSE else "Saved"


def ours(row: TravelPayClaim) -> dict[str, Any]:
    """A claim as far as we have come with it, in the shape of a complete one."""
    return {
        "claim_id": str(row.id),
        "claim_number": None,
        "claim_status": status_of(row),
        "appointment_date": row.starts_at.isoformat(timespec="seconds"),
        "facility_name": (row.requested or {}).get("facility_name"),
        "total_cost_requested": None,
        "reimbursement_amount": None,
        "created_on": row.requested_at.isoformat(timespec="seconds"),
        "modified_on": row.moved_at.isoformat(timespec="seconds"),
        "claim_source": VA_GOV,
        "expenses": [],
        "documents": [],
        **record_of(row),
    }


def record_of(row: TravelPayClaim) -> dict[str, Any]:
    """The real state, and the sentence to show."""
    return {"record_state": row.state, "record_message": words_of(row.state, row.step, row.unconfirmed)}


def waiting_here(row: TravelPayClaim) -> dict[str, Any]:
    """One item of the list of claims that upstream cannot show yet."""
    shown = ours(row)
    names = (
        "claim_number",
        "claim_status",
        "facility_name",
        "total_cost_requested",
        "reimbursement_amount",
        "created_on",
        "modified_on",
        "record_state",
        "record_message",
    )
    return {"id": str(row.id), "appointment_date_time": shown["appointment_date"], "facility_id": None} | {
        name: shown[name] for name in names
    }


def with_waiting(
    listed: list[dict[str, Any]], waiting: list[TravelPayClaim], known: list[TravelPayClaim]
) -> list[dict[str, Any]]:
    """The waiting claims and those that upstream lists. One that is in both is upstream's, with our words for it."""
    begun = {row.claim_id: record_of(row) for row in known if row.claim_id is not None}
    there = {item["id"] for item in listed}
    ours = [waiting_here(row) for row in waiting if row.claim_id not in there]
    return [*ours, *({**item, **begun.get(item["id"], {})} for item in listed)]


def failed_without_claim(row: TravelPayClaim) -> bool:
    return row.state == FAILED and row.claim_id is None and not row.unconfirmed
