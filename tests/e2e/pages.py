"""The pages as state machines: what each sends next, and which screen it shows (contract: frontend 2, 3, 4, 5).

Each method returns the name of the screen. A body in which a page would trip raises here too: KeyError, TypeError,
ValueError and AssertionError are crashes of the page.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from tests.e2e import dates
from tests.e2e.browser import Answer, Browser, Rejected

JSON = dict[str, Any]
READY = "ready"

# -- check-in -------------------------------------------------------------------

PROCESSING, CLAIM_FAILED = "TravelPayAlert: being processed", "TravelPayAlert: something failed"
TRAVEL_ONLY_SENT, TRAVEL_ONLY_FAILED = "travel-only: claim submitted", "completing-travel-submission"


@dataclass
class CheckInPage:
    """Check-in on the day of the visit, or the travel-only page (`facility_type` `oh`). `accepted` is the answer to
    the claim, which no page reads."""

    browser: Browser
    uuid: str
    last_name: str
    dob: str
    facility_type: str = ""
    payload: JSON = field(default_factory=dict)
    accepted: Any = None

    def walk(self) -> str:
        """From the link in the text message to the last screen."""
        screen = self.walk_to_claim()
        return self.claim() if screen == READY else screen

    def walk_to_claim(self) -> str:
        """Through the pages before the claim, to the first one that fails."""
        steps = (self.open, self.load) if self.facility_type else (self.open, self.load, self.confirm, self.check_in)
        return next((screen for step in steps if (screen := step()) != READY), READY)

    def open(self) -> str:
        try:
            session = self.browser.api(f"/check_in/v2/sessions/{self.uuid}")
        except Rejected as rejected:
            return "uuid-not-found" if rejected.first_status() == "404" else "landing-error"
        if session.get("error") or session.get("errors"):
            return "session-error"
        if session["permissions"] == "read.full":
            return READY
        return self._prove()

    def _prove(self) -> str:
        known = {"uuid": self.uuid, "dob": self.dob, "lastName": self.last_name.strip(), "checkInType": ""}
        body = {"session": {**known, "facilityType": self.facility_type}}
        try:
            session = self.browser.api("/check_in/v2/sessions/", "POST", body)
        except Rejected as rejected:
            named = {None: "no-match", "401": "no-match", "410": "max-validation", "404": "uuid-not-found"}
            return named.get(rejected.first_status() if rejected.errors else None, "lorota-fail")
        if session.get("error") or session.get("errors"):
            return "session-error"
        # Another permission would lead back to the landing page, and round and round.
        assert session["permissions"] == "read.full"
        return READY

    def load(self) -> str:
        query = "?facilityType=oh" if self.facility_type else ""
        try:
            self.payload = self.browser.api(f"/check_in/v2/patient_check_ins/{self.uuid}{query}")["payload"]
        except Rejected as rejected:
            return "uuid-not-found" if rejected.first_status() == "404" else "data-error"
        except KeyError:
            return "data-error"
        return READY

    @property
    def appointment(self) -> JSON:
        found: JSON = self.payload["appointments"][0]
        return found

    def confirm(self) -> str:
        answers = {"demographicsUpToDate": True, "nextOfKinUpToDate": True, "emergencyContactUpToDate": False}
        body = {"demographics": {"demographicConfirmations": {"uuid": self.uuid, **answers}}}
        try:
            data = self.browser.api(f"/check_in/v2/demographics/{self.uuid}", "PATCH", body)["data"]
        except Rejected:
            return "check-in-demographics-patch-error"
        # `data.error` of null or of an absent `data` throws.
        assert isinstance(data, dict)
        return "check-in-demographics-patch-error" if data.get("error") or data.get("errors") else READY

    def check_in(self) -> str:
        assert self.appointment["eligibility"] == "ELIGIBLE"
        body = {
            "patientCheckIns": {
                "uuid": self.uuid,
                "appointmentIen": self.appointment["appointmentIen"],
                "setECheckinStartedCalled": self.payload["setECheckinStartedCalled"],
                "isTravelEnabled": True,
                "travelSubmitted": False,
            }
        }
        try:
            answer = self.browser.api("/check_in/v2/patient_check_ins/", "POST", body)
        except Rejected:
            return "error-completing-check-in"
        status = answer.get("status") if isinstance(answer, dict) else None
        return READY if type(status) is int and status == 200 else "check-in-post-error"

    def appointment_date(self) -> str:
        start: str = self.appointment["startTime"]
        return dates.in_zone_of_facility(start, self.appointment["timezone"]) if self.facility_type else start

    def claim(self) -> str:
        """Resolved or rejected, nothing else counts."""
        sent: JSON = {"uuid": self.uuid, "appointmentDate": self.appointment_date(), "facilityType": "cie"}
        if self.facility_type:
            sent |= {"facilityType": self.facility_type, "timeToComplete": "NaN"}
        travel_only, day_of = (TRAVEL_ONLY_SENT, TRAVEL_ONLY_FAILED), (PROCESSING, CLAIM_FAILED)
        good, bad = travel_only if self.facility_type else day_of
        try:
            self.accepted = self.browser.api("/check_in/v0/travel_claims/", "POST", {"travelClaims": sent})
        except Rejected:
            return bad
        return good


# -- intents to file --------------------------------------------------------------


@dataclass
class ITFPage:
    """One page load. `expires` is the end that it shows; `message` is our own sentence, which newer pages show."""

    browser: Browser
    generation: str
    type: str = "compensation"
    zone: str = "America/Chicago"
    expires: str | None = None
    message: str | None = None

    def load(self) -> str:
        return {"R1": self._r1, "R2": self._r2, "R3": self._r3}[self.generation]()

    def _get(self) -> list[JSON] | None:
        """The items; None when the fetch failed."""
        try:
            answer = self.browser.api("/v0/intent_to_file" + (f"/{self.type}" if self.generation == "R3" else ""))
        except Rejected:
            return None
        found = answer["data"]["attributes"]["intentToFile"]
        assert isinstance(found, list)
        return found

    def _post(self) -> JSON | None:
        try:
            answer = self.browser.api(f"/v0/intent_to_file/{self.type}", "POST")
        except Rejected:
            return None
        made: Any = answer["data"]["attributes"]["intentToFile"]
        if isinstance(made, list) and self.generation == "R3":
            made = made[0]
        assert isinstance(made, dict)
        return made

    def _active(self, items: list[JSON]) -> JSON | None:
        return next((each for each in items if each["type"] == self.type and each["status"] == "active"), None)

    def _is_live(self, item: JSON) -> bool:
        return dates.is_live_itf(item["expirationDate"], datetime.now(UTC), self.zone)

    def _shows(self, screen: str, item: JSON) -> str:
        dates.instant(item["creationDate"])
        dates.day_shown_by_r2(item["expirationDate"], self.zone)
        self.expires, self.message = item["expirationDate"], item.get("recordMessage")
        return screen

    def _r1(self) -> str:
        found = self._get()
        if found is None:
            return "error, no form"
        if item := self._active(found):
            return self._shows("already have one", item)
        made = self._post()
        if made is None or made["status"] != "active":
            return "error, no form"
        return self._shows("success" if found else "already have one", made)

    def _r2(self) -> str:
        found = self._get()
        item = self._active(found or [])
        if item is not None and self._is_live(item):
            return self._shows("itf-found", item)
        made = self._post()
        if made is None or made["status"] != "active":
            return "itf-error"
        return self._shows("itf-created", made)

    def _r3(self) -> str:
        item = self._active(self._get() or [])
        if item is not None and self._is_live(item):
            return self._shows("found", item)
        made = self._post()
        return self._shows("created", made) if made is not None else "failed"


def itf_list(browser: Browser) -> tuple[str, list[JSON]]:
    """The page "Your intents to file": `data` is a plain array, sorted by creation date."""
    try:
        items: list[JSON] = browser.api("/v0/intents_to_file")["data"]
    except Rejected:
        return "error", []
    assert isinstance(items, list)
    for each in items:
        assert each["id"] and each["type"] and each["status"]
        dates.instant(each["expirationDate"])
    return "list", sorted(items, key=lambda each: dates.instant(each["creationDate"]))


# -- form 526 ---------------------------------------------------------------------

SAVED_FORM = "/v0/disability_compensation_in_progress_forms/21-526EZ"
TOLERATED_SECONDS = 6


@dataclass
class Form526Page:
    """`files` holds the entries of the form's upload fields, by their key."""

    browser: Browser
    files: dict[str, list[JSON]] = field(default_factory=dict)
    accepted: Any = None
    claim_id: Any = None

    def attach(
        self,
        name: str,
        content: bytes,
        code: str = "L015",
        key: str = "additionalDocuments",
        password: str | None = None,
    ) -> str:
        """Send a file as soon as it is chosen. A refused one stays until it is chosen, or its password given, again."""
        entry = self.browser.upload(name, content, code, password)
        kept = [each for each in self.files.get(key, []) if each["name"] != name]
        self.files[key] = [*kept, entry]
        return entry.get("errorMessage") or ("uploaded" if entry.get("confirmationCode") else "no text")

    def save(self) -> str:
        """Save the form at the neighbour, as the page does between its other calls."""
        body = {"formData": {"files": self.files}, "metadata": {"version": 1, "returnUrl": "/", "savedAt": 1}}
        try:
            self.browser.api(SAVED_FORM, "PUT", body)
        except Rejected as rejected:
            return f"not saved: {rejected.first_status()}"
        return "saved"

    def submit(self, **form: Any) -> str:
        gathered = [
            {name: each.get(name) for name in ("name", "confirmationCode", "attachmentId")}
            for entries in self.files.values()
            for each in entries
        ]
        screen, data = self.browser.submit_526({**form, **({"attachments": gathered} if gathered else {})})
        self.accepted = data
        return screen

    def poll(self, seconds: float, pause: float = 0.2) -> str:
        """The confirmation page, with short pauses in place of 5 and 10 s; `waiting` if nothing ended it in time."""
        job_id, began = self.accepted["attributes"]["jobId"], time.monotonic()
        while (waited := time.monotonic() - began) < seconds:
            path = f"/v0/disability_compensation_form/submission_status/{job_id}"
            try:
                attributes = self.browser.api(path)["data"]["attributes"]
            except Rejected:
                if waited > TOLERATED_SECONDS:
                    return "submitted, status unknown"
            else:
                self.claim_id = attributes["claimId"]
                named = {"success": "success", "retryable_error": "delayed", "exhausted": "delayed"}
                named["non_retryable_error"] = "something went wrong"
                if screen := named.get(attributes["status"]):
                    return screen
            time.sleep(pause)
        return "waiting"


# -- travel pay ---------------------------------------------------------------------


@dataclass
class TravelPayPage:
    browser: Browser
    zone: str = "America/Chicago"
    appointment: JSON = field(default_factory=dict)
    accepted: Any = None

    def claims(self, today: datetime | None = None) -> tuple[str, list[JSON]]:
        """The list of the past three months."""
        start, end = dates.past_three_months(today or datetime.now(UTC), self.zone)
        query = urlencode({"start_date": start, "end_date": end})
        try:
            items: list[JSON] = self.browser.api(f"/travel_pay/v0/claims?{query}")["data"]
        except Rejected as rejected:
            not_allowed = rejected.status_read_without_a_guard().startswith("4")
            return ("not allowed" if not_allowed else "general error"), []
        for each in items:
            assert each["id"] and each["claimStatus"] and "claimNumber" in each
            for name in ("createdOn", "modifiedOn"):
                datetime.fromisoformat(each[name])
        return "list", items

    def details(self, claim_id: str) -> tuple[str, JSON]:
        try:
            claim: JSON = self.browser.api(f"/travel_pay/v0/claims/{claim_id}")
        except Rejected:
            return "error", {}
        assert claim["claimId"] and claim["claimStatus"]
        for each in claim["documents"]:
            assert not each["mimetype"] or isinstance(each["filename"], str)
        datetime.fromisoformat(claim["appointmentDate"].removesuffix("Z"))
        return "details", claim

    def document(self, claim_id: str, document_id: str) -> tuple[str, bytes]:
        """A document with a JSON content type would be parsed, and its download fail."""
        try:
            answer = self.browser.api(f"/travel_pay/v0/claims/{claim_id}/documents/{document_id}")
        except Rejected:
            return "download failed", b""
        assert isinstance(answer, Answer)
        return "downloaded", answer.body

    def contact_details(self) -> str:
        """Whether the person's details are the same everywhere, as our own service tells (docs/front-end.md)."""
        try:
            found = self.browser.api("/travel_pay/v0/contact_discrepancies")["data"]["attributes"]
        except Rejected as rejected:
            assert rejected.first_status()
            return "details could not be compared"
        assert found["message"]
        return "details differ" if found["contactDiscrepancies"] else "details agree"

    def open_appointment(self, appointment_id: str) -> str:
        """Whether a claim can be started from this appointment."""
        path = f"/vaos/v2/appointments/{appointment_id}?_include=facilities,travel_pay_claims"
        try:
            self.appointment = found = self.browser.api(path)["data"]["attributes"]
        except Rejected:
            return "appointment error"
        if not found["travelPayClaim"]["metadata"]["success"]:
            return "claims could not be read"
        if found["travelPayClaim"].get("claim"):
            return "already filed"
        if found["kind"] == "cc":
            return "no claim here"
        now = datetime.now(UTC)
        if not dates.is_past(found.get("start"), found.get("locationId") or "", found["kind"], now, self.zone):
            return "wait until the visit is over"
        out = dates.is_out_of_bounds(found["localStartTime"], now, self.zone)
        return "more than 30 days ago" if out else READY

    def list_appointments(self) -> list[str]:
        """The ids of the last month's appointments; the appointments pages ask with days and with `statuses[]`."""
        now = datetime.now(UTC)
        period = [("start", (now - timedelta(days=30)).date()), ("end", (now + timedelta(days=1)).date())]
        query = urlencode([*period, ("statuses[]", "booked"), ("statuses[]", "fulfilled")])
        found = self.browser.api(f"/vaos/v2/appointments?_include=facilities,travel_pay_claims&{query}")["data"]
        return [each["attributes"]["id"] for each in found]

    def file(self) -> str:
        """Any 2xx is the confirmation page, any rejection the error page."""
        found = self.appointment
        compensation = (found.get("serviceCategory") or [{}])[0].get("text") == "COMPENSATION & PENSION"
        body = {
            "appointmentDateTime": found["localStartTime"][:19],
            "facilityStationNumber": found["location"]["id"],
            "facilityName": found["location"]["attributes"]["name"],
            "appointmentType": "CompensationAndPensionExamination" if compensation else "Other",
            "isComplete": False,
        }
        try:
            self.accepted = self.browser.api("/travel_pay/v0/claims", "POST", body)
        except Rejected:
            return "error page"
        dates.instant(found["localStartTime"])
        return "confirmation"
