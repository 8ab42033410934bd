"""Shapes of the travel pay answers, for the description of the API: what `shapes` and the routes write."""

from __future__ import annotations

from flaskapp.travel_pay.models import CONTACT_FIELDS
from flaskapp.travel_pay.states import TRAVEL_PAY_CLAIM
from flaskapp.web.shapes import (
    FLAG,
    NUMBER,
    TEXT,
    TIMESTAMP,
    WHOLE,
    Shape,
    any_of,
    data_of,
    listed,
    or_null,
    resource,
    said,
    thing,
    word,
)

MAYBE_TEXT, MAYBE_NUMBER = or_null(TEXT), or_null(NUMBER)
# The clock of the facility: no offset.
CLOCK = said(MAYBE_TEXT, "The facility's wall clock, without an offset.")
RECORD: dict[str, Shape] = {
    "record_state": word(*TRAVEL_PAY_CLAIM.states),
    "record_message": said(TEXT, "The sentence to show."),
}
AGE: dict[str, Shape] = {"age_seconds": WHOLE, "stale": FLAG}
READING: dict[str, Shape] = {"status": WHOLE, "success": FLAG, "message": TEXT}

LISTED = thing(
    "TravelPayClaim",
    {
        "id": TEXT,
        "claim_number": MAYBE_TEXT,
        "claim_status": MAYBE_TEXT,
        "appointment_date_time": CLOCK,
        "facility_id": MAYBE_TEXT,
        "facility_name": MAYBE_TEXT,
        "total_cost_requested": MAYBE_NUMBER,
        "reimbursement_amount": MAYBE_NUMBER,
        "created_on": MAYBE_TEXT,
        "modified_on": MAYBE_TEXT,
    },
    RECORD,
)
DISCREPANCY = thing(
    "ContactDiscrepancy",
    {
        "field": word(*CONTACT_FIELDS),
        "va_profile": said(MAYBE_TEXT, "Masked."),
        "btsss": said(MAYBE_TEXT, "Masked."),
        "found_at": TIMESTAMP,
    },
)
CLAIMS = data_of(
    "TravelPayClaims",
    listed(LISTED),
    {
        "metadata": thing(
            "TravelPayClaimsMetadata",
            {
                **READING,
                "total_record_count": or_null(WHOLE),
                "page_number": or_null(WHOLE),
                "pending": said(listed(LISTED), "Those still with us."),
                "contact_discrepancies": listed(DISCREPANCY),
            },
            AGE,
        )
    },
)
REASON = thing(
    "RejectionReason",
    dict.fromkeys(
        (
            "rejection_reason_id",
            "rejection_reason_name",
            "rejection_reason_title",
            "rejection_reason_description",
        ),
        MAYBE_TEXT,
    ),
)
EXPENSE = thing(
    "TravelPayExpense",
    {
        "id": TEXT,
        "expense_type": MAYBE_TEXT,
        "name": MAYBE_TEXT,
        "date_incurred": CLOCK,
        "description": MAYBE_TEXT,
        "cost_requested": MAYBE_NUMBER,
        "cost_submitted": MAYBE_NUMBER,
    },
)
DOCUMENT = thing(
    "TravelPayDocument",
    {"document_id": TEXT, "filename": MAYBE_TEXT, "mimetype": MAYBE_TEXT, "expense_id": MAYBE_TEXT},
)
CLAIM = thing(
    "TravelPayClaimDetails",
    {
        "claim_id": TEXT,
        "claim_number": MAYBE_TEXT,
        "claim_status": MAYBE_TEXT,
        "appointment_date": CLOCK,
        "facility_name": MAYBE_TEXT,
        "total_cost_requested": MAYBE_NUMBER,
        "reimbursement_amount": MAYBE_NUMBER,
        "created_on": MAYBE_TEXT,
        "modified_on": MAYBE_TEXT,
        "claim_source": MAYBE_TEXT,
        "expenses": listed(EXPENSE),
        "documents": listed(DOCUMENT),
    },
    {
        "claim_name": MAYBE_TEXT,
        "decision_letter_reason": MAYBE_TEXT,
        "rejection_reason": or_null(REASON),
        "documents_message": said(TEXT, "That documents are missing which could not be read."),
        **RECORD,
        **AGE,
    },
)
FILED = thing(
    "FiledTravelPayClaim",
    {"claim_id": said(MAYBE_TEXT, "Travel Pay's own id."), "status": TEXT, "id": said(TEXT, "Ours."), **RECORD},
)
DISCREPANCIES = data_of(
    "ContactDiscrepancies",
    resource(
        "ContactDiscrepanciesData",
        "contact_discrepancies",
        thing(
            "ContactDiscrepanciesAttributes",
            {"contact_discrepancies": listed(DISCREPANCY), "source_of_truth": word("va_profile"), "message": TEXT},
        ),
    ),
)
PLACE = resource(
    "AppointmentPlace",
    "appointments",
    thing(
        "AppointmentPlaceAttributes",
        {"name": MAYBE_TEXT, "timezone": thing("AppointmentZone", {"time_zone_id": MAYBE_TEXT})},
    ),
    MAYBE_TEXT,
)
# What upstream names of it where the claim itself could not be read.
NAMED = thing("NamedTravelPayClaim", {"id": TEXT, "claim_number": MAYBE_TEXT})
APPOINTMENT = resource(
    "TravelPayAppointment",
    "appointments",
    thing(
        "TravelPayAppointmentAttributes",
        {
            "id": TEXT,
            "kind": word("clinic"),
            "status": MAYBE_TEXT,
            "start": said(or_null(TEXT), "The instant, in UTC."),
            "local_start_time": MAYBE_TEXT,
            "appointment_name": MAYBE_TEXT,
            "appointment_type": MAYBE_TEXT,
            "service_category": listed(thing("ServiceCategory", {"text": TEXT})),
            "location_id": MAYBE_TEXT,
            "location": PLACE,
        },
        {
            "travel_pay_claim": thing(
                "AppointmentClaim",
                {"metadata": thing("Reading", READING)},
                {"claim": any_of(LISTED, NAMED)},
            )
        },
    ),
)
ONE_APPOINTMENT = data_of("OneAppointment", APPOINTMENT)
APPOINTMENTS = data_of("Appointments", listed(APPOINTMENT), {"metadata": thing("Reading", READING)})
