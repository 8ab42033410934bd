"""The objects that Travel Pay's reads return, and lists cut into pages (contract: travel 5.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sandbox.upstreams.cast import Veteran, utc_text
from sandbox.upstreams.travel_pay_book import Book, BookedAppointment, Claim, facility_name, wall_text

DIRECTIONS = {"": False, "asc": False, "ascending": False, "desc": True, "descending": True}


class Unreadable(ValueError):
    """A query that makes no sense to BTSSS. The text says why."""


def appointment_listed(book: Book, appointment: BookedAppointment) -> dict[str, Any]:
    return {
        "id": appointment.id,
        "appointmentSource": appointment.source,
        "appointmentDateTime": wall_text(appointment.at),
        "appointmentName": appointment.name,
        "appointmentType": appointment.type,
        "facilityId": appointment.station,
        "facilityName": facility_name(appointment.station),
        "serviceConnectedDisability": 0,
        "currentStatus": "Completed" if appointment.completed else "Pending",
        "appointmentStatus": "Completed" if appointment.completed else "Pending",
        "externalAppointmentId": None,
        "associatedClaimId": appointment.claim_id,
        "associatedClaimNumber": book.number_of(appointment),
        "isCompleted": appointment.completed,
    }


def claim_listed(claim: Claim) -> dict[str, Any]:
    return {
        "id": claim.id,
        "claimNumber": claim.number,
        "claimStatus": claim.status,
        "appointmentDateTime": wall_text(claim.appointment.at) if claim.appointment else None,
        "facilityId": claim.station,
        "facilityName": facility_name(claim.station),
        "totalCostRequested": claim.requested,
        "reimbursementAmount": claim.reimbursed,
        "createdOn": utc_text(claim.created_at),
        "modifiedOn": utc_text(claim.modified_at),
    }


def claim_detail(book: Book, claim: Claim, veteran: Veteran | None) -> dict[str, Any]:
    return {
        "claimId": claim.id,
        "claimNumber": claim.number,
        "claimName": claim.name,
        "claimantFirstName": veteran.first_name if veteran else "Test",
        "claimantMiddleName": None,
        "claimantLastName": veteran.last_name if veteran else "Veteran",
        "claimStatus": claim.status,
        "appointmentDate": wall_text(claim.appointment.at) if claim.appointment else None,
        "facilityName": facility_name(claim.station),
        "totalCostRequested": claim.requested,
        "reimbursementAmount": claim.reimbursed,
        "rejectionReason": rejection(claim),
        "createdOn": utc_text(claim.created_at),
        "modifiedOn": utc_text(claim.modified_at),
        "claimSource": "VaGov" if claim.source == "created" else None,
        "appointment": appointment_listed(book, claim.appointment) if claim.appointment else None,
        "expenses": [expense.as_json() for expense in claim.expenses],
    }


def rejection(claim: Claim) -> dict[str, Any] | None:
    """Why it was not paid, in the form of the API."""
    if claim.rejection is None:
        return None
    return {
        "rejectionReasonId": "7c1f0b52-0000-4000-8000-000000000001",
        "rejectionReasonName": claim.status,
        "rejectionReasonTitle": f"{claim.status} claim",
        "rejectionReasonDescription": claim.rejection,
    }


def wall_clock(text: Any) -> datetime:
    """A date-time without an offset or with `Z`, as a naive wall clock; raises Unreadable."""
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise Unreadable(f"'{text}' is not a valid date.") from None
    if at.tzinfo not in (None, UTC):
        raise Unreadable(f"'{text}' must be the local time of the facility, without an offset.")
    return at.replace(tzinfo=None)


def page_of(
    items: Sequence[dict[str, Any]], requested: Mapping[str, str], largest: int
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """One page and the paging information beside it. A page is never larger than `largest`. Raises Unreadable."""
    number, size = _count(requested, "pageNumber", 1), min(_count(requested, "pageSize", largest), largest)
    ordered = _sorted(items, requested.get("sortField", ""), requested.get("sortDirection", ""))
    first = (number - 1) * size
    paging = {"totalRecordCount": len(items), "pageNumber": number, "pageSize": size}
    return ordered[first : first + size], paging


def _count(requested: Mapping[str, str], name: str, usual: int) -> int:
    text = requested.get(name) or str(usual)
    if not text.isdecimal() or int(text) < 1:
        raise Unreadable(f"{name} must be 1 or more.")
    return int(text)


def _sorted(items: Sequence[dict[str, Any]], name: str, direction: str) -> list[dict[str, Any]]:
    """Sorted by the wall clock of the appointment, oldest first, unless the query says otherwise. Empty values come
    last."""
    name = name or "appointmentDateTime"
    if direction.lower() not in DIRECTIONS:
        raise Unreadable(f"'{direction}' is not a direction.")
    if items and name not in items[0]:
        raise Unreadable(f"'{name}' is not a field to sort by.")
    valued = [item for item in items if item[name] is not None]
    ordered = sorted(valued, key=lambda item: item[name], reverse=DIRECTIONS[direction.lower()])
    return [*ordered, *(item for item in items if item[name] is None)]
