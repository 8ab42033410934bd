"""Check-in on the day of the visit, as the link in a text opens it: who you are, details, travel pay, and the claim.

The order is the pages' own (contract: frontend 2.7): details, then the check-in, then the claim. At an Oracle Health
facility there is only the claim.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue

from sandbox.site.current import back, keep, missing, note_of, onward, visitor, words
from sandbox.site.people import person_with
from sandbox.site.product import Trouble
from sandbox.site.progress import progress_of
from sandbox.upstreams.cast import Veteran

pages = Blueprint("check_in", __name__, url_prefix="/check-in")

QUESTIONS = ("demographicsUpToDate", "nextOfKinUpToDate", "emergencyContactUpToDate")
IDENTITY = ("last_name", "month", "day", "year")
YES, NO = "yes", "no"


def form_of(uuid: str) -> str:
    return f"check_in {uuid}"


def holder_of(uuid: str) -> Veteran:
    """Whose link this is: a page knows from it only which kind of facility it is for."""
    found = person_with(uuid)
    if found is None:
        abort(404)
    return found


# -- who you are -----------------------------------------------------------------


@pages.get("/<uuid>")
def identity(uuid: str) -> str:
    """The answers of the person whom the visitor plays stand there already, as a browser would fill them in."""
    draft, played = visitor().draft(form_of(uuid)), visitor().person
    if played is not None and played.uuid == uuid and "last_name" not in draft:
        year, month, day = played.dob.split("-")
        draft |= {"last_name": played.last_name, "year": year, "month": str(int(month)), "day": str(int(day))}
    return render_template("check_in_identity.html", draft=draft, note=note_of(form_of(uuid)), uuid=uuid)


@pages.post("/<uuid>")
def prove(uuid: str) -> ResponseReturnValue:
    draft = keep(form_of(uuid), *IDENTITY)
    errors = missing(draft, *IDENTITY)
    dob = birth_date(draft)
    if not errors and dob is None:
        errors = {"day": words()("check_in.not_a_date")}
    if errors or dob is None:
        return back(form_of(uuid), "check_in.identity", errors, uuid=uuid)
    try:
        open_session(uuid, draft["last_name"], dob)
        draft["payload"] = load(uuid)
    except Trouble as trouble:
        return back(form_of(uuid), "check_in.identity", trouble=trouble, uuid=uuid)
    return onward("check_in.travel" if holder_of(uuid).is_oracle_health else "check_in.details", uuid=uuid)


def birth_date(draft: dict[str, str]) -> str | None:
    try:
        return date(int(draft["year"]), int(draft["month"]), int(draft["day"])).isoformat()
    except ValueError:
        return None


def open_session(uuid: str, last_name: str, dob: str) -> None:
    kind = "oh" if holder_of(uuid).is_oracle_health else ""
    known = {"uuid": uuid, "dob": dob, "lastName": last_name, "checkInType": "", "facilityType": kind}
    visitor().product.call("POST", "/check_in/v2/sessions/", json={"session": known})


def load(uuid: str) -> dict[str, Any]:
    """The check-in's data, which the product has to have read before it takes a claim; raises Trouble."""
    query = {"facilityType": "oh"} if holder_of(uuid).is_oracle_health else {}
    payload: dict[str, Any] = visitor().product.get(f"/check_in/v2/patient_check_ins/{uuid}", **query).body["payload"]
    return payload


def appointments_of(draft: dict[str, Any]) -> list[dict[str, Any]]:
    return list(draft.get("payload", {}).get("appointments", ()))


def chosen_of(draft: dict[str, Any]) -> dict[str, Any] | None:
    """The appointment that was chosen; the only one where there is one."""
    listed = appointments_of(draft)
    if len(listed) == 1:
        return listed[0]
    return next((each for each in listed if each["appointmentIen"] == draft.get("appointment")), None)


# -- details ---------------------------------------------------------------------


@pages.get("/<uuid>/details")
def details(uuid: str) -> ResponseReturnValue:
    draft = visitor().draft(form_of(uuid))
    if not appointments_of(draft):
        return onward("check_in.identity", uuid=uuid)
    note, listed = note_of(form_of(uuid)), appointments_of(draft)
    return render_template(
        "check_in_details.html", draft=draft, note=note, uuid=uuid, appointments=listed, questions=QUESTIONS
    )


@pages.post("/<uuid>/details")
def answer_details(uuid: str) -> ResponseReturnValue:
    draft = keep(form_of(uuid), *QUESTIONS, "appointment")
    errors = missing(draft, *QUESTIONS) | ({} if chosen_of(draft) else missing({}, "appointment"))
    if errors:
        return back(form_of(uuid), "check_in.details", errors, uuid=uuid)
    return onward("check_in.travel", uuid=uuid)


# -- travel pay --------------------------------------------------------------------


@pages.get("/<uuid>/travel")
def travel(uuid: str) -> ResponseReturnValue:
    draft = visitor().draft(form_of(uuid))
    listed = appointments_of(draft)
    if not listed:
        return onward("check_in.identity", uuid=uuid)
    note, only = note_of(form_of(uuid)), holder_of(uuid).is_oracle_health
    return render_template(
        "check_in_travel.html",
        draft=draft,
        note=note,
        uuid=uuid,
        travel_only=only,
        appointments=listed,
        appointment=chosen_of(draft),
    )


@pages.post("/<uuid>/travel")
def finish(uuid: str) -> ResponseReturnValue:
    """Check in and, if the person wants it, request travel pay. What has succeeded is not sent again."""
    only = holder_of(uuid).is_oracle_health
    draft = keep(form_of(uuid), "wants_travel", "travelled", *(("appointment",) if only else ()))
    appointment = chosen_of(draft)
    errors = missing(draft, "wants_travel") | ({} if appointment else missing({}, "appointment"))
    if draft["wants_travel"] == YES and not draft["travelled"]:
        errors |= missing(draft, "travelled")
    if errors or appointment is None:
        return back(form_of(uuid), "check_in.travel", errors, uuid=uuid)
    try:
        if not only:
            check_in(uuid, draft, appointment)
        if draft["wants_travel"] != YES:
            return onward("check_in.done", uuid=uuid)
        claim_id = request_claim(uuid, appointment, "oh" if only else "cie")
    except Trouble as trouble:
        return back(form_of(uuid), "check_in.travel", trouble=trouble, uuid=uuid)
    return onward("check_in.claim", claim_id=claim_id)


def check_in(uuid: str, draft: dict[str, Any], appointment: dict[str, Any]) -> None:
    """Both calls must succeed before a claim is requested; raises Trouble."""
    product = visitor().product
    if not draft.get("confirmed"):
        answers = {name: draft.get(name) == YES for name in QUESTIONS}
        confirmations = {"demographicConfirmations": {"uuid": uuid, **answers}}
        product.call("PATCH", f"/check_in/v2/demographics/{uuid}", json={"demographics": confirmations})
        draft["confirmed"] = True
    if not draft.get("checked_in"):
        asked = {
            "uuid": uuid,
            "appointmentIen": appointment["appointmentIen"],
            "setECheckinStartedCalled": draft["payload"].get("setECheckinStartedCalled"),
            "isTravelEnabled": True,
            "travelSubmitted": draft["wants_travel"] == YES,
        }
        reply = product.call("POST", "/check_in/v2/patient_check_ins/", json={"patientCheckIns": asked})
        if reply.body.get("permissions"):
            raise Trouble("signed_out", "CHECK_IN")
        if reply.body.get("status") != 200:
            raise Trouble("away", "CHECK_IN_FAILED")
        draft["checked_in"] = True


def request_claim(uuid: str, appointment: dict[str, Any], facility_type: str) -> str:
    """Request travel pay for the appointment's own time, as it was served; the claim's id. Raises Trouble."""
    wanted = {"uuid": uuid, "appointmentDate": appointment["startTime"], "facilityType": facility_type}
    reply = visitor().product.call("POST", "/check_in/v0/travel_claims/", json={"travelClaims": wanted})
    claim_id: str = reply.body["data"]["id"]
    kept = {"facility": appointment["facility"], "day": reply.body["data"]["appointmentDate"], "uuid": uuid}
    visitor().shelf.claims[claim_id] = kept
    return claim_id


@pages.get("/<uuid>/done")
def done(uuid: str) -> str:
    return render_template("check_in_done.html", uuid=uuid)


# -- the claim -----------------------------------------------------------------------


@pages.get("/claims/<uuid:claim_id>")
def claim(claim_id: Any) -> str:
    """Where it stands. Without a check-in session the product does not say: the link opens one again."""
    found = visitor().product.get(f"/check_in/v0/travel_claims/{claim_id}").body["data"]
    shown = progress_of(words(), "claim", found["message"], found["state"])
    return render_template("claim.html", claim=found, progress=shown, here=request.path, kept=kept_of(str(claim_id)))


def kept_of(claim_id: str) -> dict[str, Any]:
    return visitor().shelf.claims.get(claim_id, {})
