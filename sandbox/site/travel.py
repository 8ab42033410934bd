"""Travel pay of a signed-in person: claims, appointments to file for, the details of both, and filing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Blueprint, Response, render_template, request
from flask.typing import ResponseReturnValue

from sandbox.site.current import back, note_of, onward, person, tried, visitor, words
from sandbox.site.product import Reply, Trouble
from sandbox.site.progress import Progress, progress_of
from sandbox.site.words import ZONE, now, timestamp

pages = Blueprint("travel", __name__, url_prefix="/travel-pay")

MONTHS_SHOWN = timedelta(days=92)
# Appointments of a month, for which a claim can still be filed, and of the day on which they are shown anywhere.
DAYS_TO_FILE = timedelta(days=30)
EXAMINATION, OTHER = "CompensationAndPensionExamination", "Other"
FORM = "travel"


def progress_of_claim(item: dict[str, Any]) -> Progress | None:
    """How a claim that is still with us stands; None for one that Travel Pay has, in whose own word it stands."""
    if "recordState" not in item:
        return None
    return progress_of(words(), "pay", item["recordMessage"], item["recordState"])


def read_claims() -> Reply:
    """The claims of three months, those still with us first; raises Trouble."""
    today = now().astimezone(ZONE).date()
    days = {"start_date": (today - MONTHS_SHOWN).isoformat(), "end_date": (today + timedelta(days=1)).isoformat()}
    return visitor().product.get("/travel_pay/v0/claims", **days)


@pages.get("")
def overview() -> str:
    """Each half is shown even where the other cannot be read."""
    person()
    appointments, claims = tried(read_appointments), tried(read_claims)
    listed = [] if isinstance(claims, Trouble) else claims.body["data"]
    return render_template(
        "travel.html",
        appointments=[] if isinstance(appointments, Trouble) else appointments,
        appointments_trouble=appointments if isinstance(appointments, Trouble) else None,
        claims=[(item, progress_of_claim(item)) for item in listed],
        claims_trouble=claims if isinstance(claims, Trouble) else None,
        whole=isinstance(claims, Trouble) or claims.whole,
        differing=not isinstance(claims, Trouble) and claims.body["metadata"]["contactDiscrepancies"],
        note=note_of(FORM),
        here=request.path,
    )


@pages.get("/contact-details")
def contacts() -> str:
    person()
    found = visitor().product.get("/travel_pay/v0/contact_discrepancies").body["data"]["attributes"]
    said = words().said(found["message"])
    return render_template("contacts.html", said=said, differing=found["contactDiscrepancies"], here=request.path)


# -- appointments ------------------------------------------------------------------


def read_appointments() -> list[dict[str, Any]]:
    """Those of the last month, newest first; raises Trouble."""
    start, end = now() - DAYS_TO_FILE, now() + timedelta(days=2)
    query = {"_include": "facilities,travel_pay_claims", "start": start.isoformat(), "end": end.isoformat()}
    listed = visitor().product.get("/vaos/v2/appointments", **query).body["data"]
    return sorted((each["attributes"] for each in listed), key=lambda each: str(each["localStartTime"]), reverse=True)


def read_appointment(appointment_id: str) -> dict[str, Any]:
    query = {"_include": "facilities,travel_pay_claims"}
    found: dict[str, Any] = visitor().product.get(f"/vaos/v2/appointments/{appointment_id}", **query).body["data"]
    attributes: dict[str, Any] = found["attributes"]
    return attributes


@pages.get("/appointments/<appointment_id>")
def appointment(appointment_id: str) -> str:
    person()
    found, trouble = as_last_read(appointment_id)
    begun = found["start"] is not None and timestamp(found["start"].replace("Z", "+00:00")) < now()
    filed = found["travelPayClaim"].get("claim")
    return render_template(
        "travel_appointment.html",
        appointment=found,
        claim=filed,
        progress=progress_of_claim(filed) if filed else None,
        known=found["travelPayClaim"]["metadata"]["success"],
        begun=begun,
        trouble=trouble,
        note=note_of(FORM),
        here=request.path,
    )


def as_last_read(appointment_id: str) -> tuple[dict[str, Any], Trouble | None]:
    """The appointment; while it cannot be read, as it was shown before, and why. Raises Trouble if it never was."""
    seen = visitor().draft(FORM)
    try:
        seen[appointment_id] = read_appointment(appointment_id)
    except Trouble as trouble:
        if appointment_id not in seen:
            raise
        return seen[appointment_id], trouble
    return seen[appointment_id], None


@pages.post("/appointments/<appointment_id>")
def file(appointment_id: str) -> ResponseReturnValue:
    """File for this appointment as the page showed it: Travel Pay itself need not be there. It ends on the claim's
    page, wherever the claim has come by then."""
    person()
    place = "travel.appointment"
    if not request.form.get("agree"):
        return back(FORM, place, {"agree": words()("missing.agree")}, appointment_id=appointment_id)
    try:
        shown, _ = as_last_read(appointment_id)
        reply = visitor().product.call("POST", "/travel_pay/v0/claims", json=claim_for(shown))
    except Trouble as trouble:
        return back(FORM, place, trouble=trouble, appointment_id=appointment_id)
    return onward("travel.claim", claim_id=reply.body["id"])


def claim_for(found: dict[str, Any]) -> dict[str, Any]:
    """What the signed-in pages send (contract: frontend 5.3)."""
    examination = any(each.get("text") == "COMPENSATION & PENSION" for each in found.get("serviceCategory") or ())
    return {
        "appointmentDateTime": found["localStartTime"][:19],
        "facilityStationNumber": found["location"]["id"],
        "facilityName": found["location"]["attributes"]["name"],
        "appointmentType": EXAMINATION if examination else OTHER,
        "isComplete": False,
    }


# -- claims --------------------------------------------------------------------------


@pages.get("/claims/<claim_id>")
def claim(claim_id: str) -> str:
    person()
    reply = visitor().product.get(f"/travel_pay/v0/claims/{claim_id}")
    found, progress = reply.body, progress_of_claim(reply.body)
    return render_template("travel_claim.html", claim=found, progress=progress, claim_id=claim_id, here=request.path)


@pages.get("/claims/<claim_id>/documents/<document_id>")
def document(claim_id: str, document_id: str) -> Response:
    """The file, to be saved under the name that the claim gives it."""
    person()
    path = f"/travel_pay/v0/claims/{claim_id}"
    named = {each["documentId"]: each["filename"] for each in visitor().product.get(path).body["documents"]}
    reply = visitor().product.get(f"{path}/documents/{document_id}")
    saved = Response(reply.body, content_type=reply.headers.get("Content-Type", "application/octet-stream"))
    saved.headers.set("Content-Disposition", "attachment", filename=named.get(document_id) or "document")
    return saved
