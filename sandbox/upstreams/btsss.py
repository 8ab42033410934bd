"""The fake BTSSS ClaimIngest: submit (contract: travel 4.1) and status (contract: travel 4.2), with their traps.

A submit names no station: it is filed against the one appointment known for that veteran and day. A duplicate and a
refused request are both a 400 that only the message distinguishes, and no answer says which claim was already there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from flask import Blueprint, Response, request

from sandbox.upstreams.cast import Appointment, Cast, utc_text
from sandbox.upstreams.claims import Claim, Claims
from sandbox.upstreams.fake import BadRequest, Fake, answer, json_body
from sandbox.upstreams.settings import FakeSettings
from sandbox.upstreams.tokens import Tokens

SUBMIT_FIELDS = (
    "ClientNumber",
    "ClaimantID",
    "ClaimantIDType",
    "Appointment.AppointmentDateTime",
    "MileageExpense.TripType",
)
STATUS_FIELDS = ("clientNumber", "vetIdType", "vetId", "startRangeDate", "endRangeDate")
DUPLICATE = "The appointment already has a claim."
MULTIPLE = "There were multiple appointments for that date."
NOT_FOUND = "Appointment not found."
NUMBER_IN = ("top", "value", "nowhere")
OUTCOMES = ("duplicate", "multiple", "not_found", "refused", "unauthorized", "error", "timeout")


@dataclass(frozen=True)
class BTSSSKnobs:
    """`skew_seconds` moves BTSSS's own clock, which writes `claimLastModDateTime`, against the true one.

    `habit` is how everybody in the cast without a habit of their own is treated. `number_in` is where a submit's 200
    has the claim number: at the `top`, under `value` as the older service had it, or `nowhere`.
    """

    skew_seconds: float = 0.0
    claim_status: str = "ClaimSubmitted"
    habit: str = "ok"
    number_in: str = "top"

    def __post_init__(self) -> None:
        if self.number_in not in NUMBER_IN:
            raise ValueError(f"number_in must be one of {', '.join(NUMBER_IN)}")


class BTSSS(Fake):
    name = "btsss"

    def __init__(self, settings: FakeSettings, cast: Cast, veis_tokens: Tokens) -> None:
        self.tokens = veis_tokens
        self.claims = Claims()
        self.opened_at = datetime.now(UTC)
        super().__init__(settings, cast)

    def first_knobs(self) -> BTSSSKnobs:
        return BTSSSKnobs()

    def routes(self) -> None:
        base = f"/{self.settings.btsss_base_path}/api/ClaimIngest"
        self.app.add_url_rule(f"{base}/submitclaim", view_func=self.submit, methods=["POST"])
        self.app.add_url_rule(f"{base}/V1/GetClaimsStatus", view_func=self.status, methods=["POST"])

    def admin_routes(self, admin: Blueprint) -> None:
        admin.add_url_rule("/claims", view_func=self.list_claims)
        admin.add_url_rule("/claims", view_func=self.plant_claim, methods=["POST"])
        admin.add_url_rule("/claims/<number>", view_func=self.move_claim, methods=["PATCH"])
        admin.add_url_rule("/outcomes", view_func=self.plan_outcome, methods=["POST"])

    def reset(self) -> None:
        super().reset()
        self.claims.reset()
        self.opened_at = datetime.now(UTC)

    def error_body(self, status: int, text: str) -> dict[str, Any]:
        return {"statusCode": status, "message": text} if status in (401, 429) else {"message": text}

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.knobs.skew_seconds)

    def submit(self) -> Response:
        refusal = self._unauthorized() or self._malformed_submit()
        if refusal:
            return refusal
        body = json_body()
        icn, day = body["ClaimantID"], _day(body["Appointment"]["AppointmentDateTime"])
        planned = self.claims.planned(icn, day.isoformat()) or self._habit(icn, day)
        if planned:
            return self._played(planned, day)
        return self._filed(icn, day)

    def _filed(self, icn: str, day: date) -> Response:
        appointments = self._appointments(icn, day)
        if len(appointments) != 1:
            return self._played("multiple" if appointments else "not_found", day)
        claim = self._claim(icn, day, appointments[0])
        if not self.claims.file(claim):
            return self._played("duplicate", day)
        return answer(_accepted(claim.number, self.knobs.number_in))

    def status(self) -> Response:
        refusal = self._unauthorized() or self._malformed_status()
        if refusal:
            return refusal
        body = json_body()
        first, last = _day(body["startRangeDate"]), _day(body["endRangeDate"])
        if first == last:
            self._habit(body["vetId"], first)
        return answer([_status_element(claim) for claim in self.claims.between(body["vetId"], first, last)])

    def list_claims(self) -> Response:
        claims = self.claims.everything()
        icn = request.args.get("icn")
        return answer([claim.described() for claim in claims if icn in (None, claim.icn)])

    def plant_claim(self) -> Response:
        """Add a claim that was filed elsewhere. JSON: `icn`, `date`; optional `station`, `claimStatus`, `claimNumber`,
        and `age_seconds`, how long before BTSSS's now it was last modified (negative: later)."""
        body = json_body()
        try:
            icn, day = body["icn"], _day(body["date"])
            modified = self.now() - timedelta(seconds=float(body.get("age_seconds", 0)))
        except (KeyError, ValueError) as error:
            raise BadRequest(f"icn and date (YYYY-MM-DD) are needed, age_seconds is a number: {error}") from None
        appointments = self._appointments(icn, day) or [Appointment()]
        appointment = next((each for each in appointments if each.station == body.get("station")), appointments[0])
        claim = Claim(
            number=body.get("claimNumber") or self.claims.next_number(),
            icn=icn,
            day=day,
            station=body.get("station") or appointment.station,
            status=body.get("claimStatus") or self.knobs.claim_status,
            modified_at=modified,
            accepted_at=datetime.now(UTC),
            appointment_at=appointment.starts_at(day),
            source="planted",
        )
        self.claims.plant(claim)
        return answer(claim.described(), 201)

    def move_claim(self, number: str) -> Response:
        claim = self.claims.move(number, str(json_body().get("claimStatus", "")), self.now())
        if claim is None:
            raise BadRequest(f"no claim {number}")
        return answer(claim.described())

    def plan_outcome(self) -> Response:
        """Plan what submits get: `icn` and `outcome`, optional `date` (without it, any day) and `times`."""
        body = json_body()
        if body.get("outcome") not in OUTCOMES or not body.get("icn"):
            raise BadRequest(f"icn is needed, and outcome must be one of {', '.join(OUTCOMES)}")
        self.claims.plan(body["icn"], body.get("date"), body["outcome"], body.get("times"))
        return answer({"planned": body["outcome"]}, 201)

    def _appointments(self, icn: str, day: date) -> list[Appointment]:
        veteran = self.cast.by_icn(icn)
        return [appointment for appointment in veteran.appointments if appointment.on(day)] if veteran else []

    def _claim(self, icn: str, day: date, appointment: Appointment) -> Claim:
        return Claim(
            number=self.claims.next_number(),
            icn=icn,
            day=day,
            station=appointment.station,
            status=self.knobs.claim_status,
            modified_at=self.now(),
            accepted_at=datetime.now(UTC),
            appointment_at=appointment.starts_at(day),
        )

    def _habit(self, icn: str, day: date) -> str | None:
        """What always happens to this veteran: a refusal, or a claim that was filed at the kiosk before."""
        veteran = self.cast.by_icn(icn)
        habit = veteran.habit if veteran and veteran.habit != "ok" else self.knobs.habit
        if habit == "filed":
            for appointment in self._appointments(icn, day):
                earlier = self._claim(icn, day, appointment)
                timestamp = self.opened_at - timedelta(hours=1)
                self.claims.file(_at(earlier, timestamp))
        return habit if habit in OUTCOMES else None

    def _played(self, outcome: str, day: date) -> Response:
        if outcome == "unauthorized":
            return answer({"statusCode": 401, "message": "Unauthorized. Access token is missing or invalid."}, 401)
        if outcome == "error":
            return answer({"message": "Internal server error"}, 500)
        if outcome == "not_found":
            return answer({"currentDate": self._stamp(), "message": NOT_FOUND}, 404)
        texts = {"duplicate": DUPLICATE, "multiple": MULTIPLE, "refused": NOT_FOUND, "timeout": "Request timeout."}
        return self._refused(f"{day:%m/%d/%Y} : {texts[outcome]}", 408 if outcome == "timeout" else 400)

    def _refused(self, message: str, status: int = 400) -> Response:
        return answer({"currentDate": self._stamp(), "message": message}, status)

    def _stamp(self) -> str:
        return f"[{self.now():%m/%d/%Y %I:%M:%S %p}]"

    def _unauthorized(self) -> Response | None:
        problem = None
        if self._wrong_subscription():
            problem = "Access denied due to missing or invalid subscription key."
        elif self.bearer(self.tokens) is None:
            problem = "Access token is missing or invalid."
        return answer({"statusCode": 401, "message": f"Unauthorized. {problem}"}, 401) if problem else None

    def _wrong_subscription(self) -> bool:
        keys = self.settings.btsss_subscription_keys
        names = ["Ocp-Apim-Subscription-Key"] if len(keys) == 1 else [f"Ocp-Apim-Subscription-Key-{x}" for x in "ES"]
        return any(request.headers.get(name) != key for name, key in zip(names, keys, strict=True))

    def _malformed_submit(self) -> Response | None:
        body = json_body()
        for path in SUBMIT_FIELDS:
            if not isinstance(_dig(body, path), str):
                return self._refused(f"{path} is required.")
        if body["ClaimantIDType"] != "icn":
            return self._refused("ClaimantIDType is not supported.")
        if body["MileageExpense"]["TripType"] not in ("RoundTrip", "OneWay"):
            return self._refused("TripType is not supported.")
        return self._wrong_client(body["ClientNumber"]) or self._bad_day(body["Appointment"]["AppointmentDateTime"])

    def _malformed_status(self) -> Response | None:
        body = json_body()
        for name in STATUS_FIELDS:
            if not isinstance(body.get(name), str):
                return self._refused(f"{name} is required.")
        if body["vetIdType"] != "icn":
            return self._refused("vetIdType is not supported.")
        dates = (self._bad_day(body[name]) for name in ("startRangeDate", "endRangeDate"))
        return self._wrong_client(body["clientNumber"]) or next(filter(None, dates), None)

    def _wrong_client(self, number: str) -> Response | None:
        known = (self.settings.btsss_client_number, self.settings.btsss_client_number_oh)
        return None if number in known else self._refused("ClientNumber is not known.")

    def _bad_day(self, text: str) -> Response | None:
        try:
            _day(text)
        except ValueError:
            return self._refused("The date is not valid.")
        return None


def _day(text: str) -> date:
    """The calendar day of a date or date-time; raises ValueError."""
    return datetime.fromisoformat(text).date()


def _dig(body: Any, path: str) -> Any:
    for name in path.split("."):
        body = body.get(name) if isinstance(body, dict) else None
    return body


def _at(claim: Claim, timestamp: datetime) -> Claim:
    return Claim(**{**vars(claim), "modified_at": timestamp, "accepted_at": timestamp, "source": "kiosk"})


def _accepted(number: str, number_in: str) -> dict[str, Any]:
    """The body of a submit's 200, in the recorded form or the older one, or with no number at all."""
    told = {} if number_in == "nowhere" else {"claimNumber": number}
    if number_in != "value":
        return told
    return {"value": told, "formatters": [], "contentTypes": [], "declaredType": None, "statusCode": 200}


def _status_element(claim: Claim) -> dict[str, str]:
    return {
        "aptDateTime": utc_text(claim.appointment_at),
        "aptId": f"{claim.station}-{claim.day:%Y%m%d}",
        "aptSourceSystem": "VISTA",
        "aptSourceSystemId": f"A;{claim.day:%Y%m%d}.{claim.appointment_at:%H%M};{claim.station}",
        "claimLastModDateTime": utc_text(claim.modified_at),
        "claimNum": claim.number,
        "claimStatus": claim.status,
        "facilityStationNum": claim.station,
    }
