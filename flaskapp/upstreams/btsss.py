"""Client of BTSSS ClaimIngest: files one travel claim for a day's appointment, and finds the claims of that day.

Filing has no idempotency key, so every answer that is not plainly a yes or a no is "unanswered", to be resolved by
the look-up. The look-up never guesses: an answer that it cannot read completely does not count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from flaskapp.config import Config
from flaskapp.upstreams.errors import (
    Duplicate,
    Rejected,
    Unanswered,
    Unauthorized,
    Unavailable,
    Unexplained,
    UpstreamError,
)
from flaskapp.upstreams.tokens.cache import Tokens, with_token
from flaskapp.upstreams.transport.fields import text
from flaskapp.upstreams.transport.http import HTTP, Answer, Outgoing, failure, messages
from flaskapp.upstreams.transport.refusals import refused
from flaskapp.upstreams.transport.timestamps import parse_timestamp

UPSTREAM = "btsss"

CLAIM_APPROVED = frozenset(
    {
        "ApprovedForPayment",
        "ClaimPaid",
        "ClaimSubmitted",
        "InManualReview",
        "In-Process",
        "InProcess",
        "PreApprovedForPayment",
        "Saved",
        "SubmittedForPayment",
    }
)
CLAIM_NOT_APPROVED = frozenset(
    {
        "Appeal",
        "ClosedWithNoPayment",
        "Denied",
        "FiscalRescinded",
        "Incomplete",
        "OnHold",
        "PartialPayment",
        "PaymentCanceled",
    }
)

# What a refusal's message means, first match wins; the order is the upstream's own.
_MEANINGS: tuple[tuple[str, type[UpstreamError], str], ...] = (
    ("multiple appointments", Rejected, "CLM_001_MULTIPLE_APPTS"),
    ("already has a claim", Duplicate, "CLM_002_CLAIM_EXISTS"),
    ("already been created", Duplicate, "CLM_002_CLAIM_EXISTS"),
    ("appointment not found", Rejected, "CLM_003_APPOINTMENT_NOT_FOUND"),
    ("unauthorized", Unauthorized, "CLM_020_INVALID_AUTH"),
    ("timeout", Unanswered, "CLM_011_CLAIM_TIMEOUT_ERROR"),
)
_BY_STATUS = {
    401: "CLM_020_INVALID_AUTH",
    403: "CLM_020_INVALID_AUTH",
    408: "CLM_011_CLAIM_TIMEOUT_ERROR",
}
_UNKNOWN = "CLM_030_UNKNOWN_SERVER_ERROR"
_OF_ERRORS = frozenset({"message", "error", "errors", "fault", "title", "detail"})
_A_DAY = timedelta(days=1)


@dataclass(frozen=True)
class SubmittedClaim:
    """A claim that BTSSS accepted; `claim_number` is None when its answer has none."""

    claim_number: str | None


@dataclass(frozen=True)
class FiledClaim:
    """A claim that BTSSS holds. `claim_status` is in BTSSS's spelling, empty when it gave none; times are aware UTC."""

    claim_number: str
    claim_status: str
    station: str
    last_modified_at: datetime
    appointment_at: datetime | None


class BTSSSClient:
    def __init__(self, config: Config, http: HTTP, tokens: Tokens) -> None:
        self._config = config
        self._http = http
        self._tokens = tokens
        self._keys = subscription_headers(config.btsss_subscription_keys)

    def submit_claim(
        self, icn: str, appointment_date: date, facility_type: str, before_write: Callable[[], None]
    ) -> SubmittedClaim:
        """File the claim for that day or, where it is known, the facility's own time of that day (naive).

        `before_write` runs right before every request is written; what it raises passes through.

        Raises any of the six. Unanswered means the claim may exist; Duplicate that one exists, perhaps ours.
        """
        body = {
            "ClientNumber": self._client_number(facility_type),
            "ClaimantID": icn,
            "ClaimantIDType": "icn",
            "MileageExpense": {"TripType": "RoundTrip"},
            "Appointment": {"AppointmentDateTime": appointment_date.isoformat()},
        }

        def submit(token: str) -> SubmittedClaim:
            request = self._request("submit_claim", "submitclaim", body, token, write=True)
            before_write()
            return _submitted(self._http.call(request))

        return with_token(self._tokens, submit)

    def claims_on(self, icn: str, appointment_date: date, facility_type: str) -> list[FiledClaim]:
        """Every claim filed for that person's appointments of that day, at any station.

        BTSSS's times may be UTC, so one of the day before or after may be listed too. Raises Unavailable for any answer
        that is not a list of those days with everything we decide by, Throttled, and Unauthorized.
        """
        body = {
            "clientNumber": self._client_number(facility_type),
            "vetIdType": "icn",
            "vetId": icn,
            "startRangeDate": appointment_date.isoformat(),
            "endRangeDate": appointment_date.isoformat(),
        }

        def look_up(token: str) -> list[FiledClaim]:
            request = self._request("claims_on", "V1/GetClaimsStatus", body, token, write=False)
            return _found(self._http.call(request), appointment_date)

        return with_token(self._tokens, look_up)

    def _client_number(self, facility_type: str) -> str:
        oracle_health = facility_type.lower() == "oh"
        return self._config.btsss_client_number_oh if oracle_health else self._config.btsss_client_number

    def _request(self, operation: str, path: str, body: dict[str, Any], token: str, *, write: bool) -> Outgoing:
        return Outgoing(
            UPSTREAM,
            operation,
            "POST",
            f"{self._config.btsss_base_url}/api/ClaimIngest/{path}",
            write=write,
            total_seconds=self._config.btsss_total_seconds,
            headers={"Authorization": f"Bearer {token}", **self._keys},
            json=body,
        )


def subscription_headers(keys: tuple[str, ...]) -> dict[str, str]:
    """One key outside production; E and S, in this order, in production. The settings hold no other number of them."""
    if len(keys) == 1:
        return {"Ocp-Apim-Subscription-Key": keys[0]}
    e, s = keys
    return {"Ocp-Apim-Subscription-Key-E": e, "Ocp-Apim-Subscription-Key-S": s}


def _submitted(answer: Answer) -> SubmittedClaim:
    payload = answer.json()
    if answer.status == 200 and _accepts(payload):
        return SubmittedClaim(_number_in(payload) or _number_in(payload.get("value")))
    named, code = _named(answer.status, payload)
    raise refused(UPSTREAM, answer, named, write=True, code=code)


def _accepts(payload: Any) -> bool:
    """Whether the body of a 200 is BTSSS's own yes, with a claim number or without one (contract: travel 4.1).

    The older form repeats the status inside. What contradicts itself there, or carries an error, is no yes: a look-up
    shows what became of the claim.
    """
    if not isinstance(payload, dict) or payload.get("statusCode") not in (None, 200):
        return False
    inner = payload.get("value")
    said = payload.keys() | (inner.keys() if isinstance(inner, dict) else set())
    return not said & _OF_ERRORS and payload.get("success") is not False


def _number_in(holder: Any) -> str | None:
    number = holder.get("claimNumber") if isinstance(holder, dict) else None
    return number.strip() or None if isinstance(number, str) else None


def _named(status: int, payload: Any) -> tuple[type[UpstreamError] | None, str]:
    """What BTSSS itself says, by its words, and its code of ours. A 400 in its own shape in words that no contract has
    may be about our settings, such as the client number, so it refuses no claim (docs/assumptions.md); any other answer
    is not BTSSS's, or not about this claim (contract: travel 4.1)."""
    said = " ".join(messages(payload)).lower()
    if status in (400, 401, 404, 408):
        for words, kind, code in _MEANINGS:
            if words in said:
                return kind, code
    if status == 400 and isinstance(payload, dict) and {"currentDate", "message"} <= payload.keys():
        return Unexplained, "CLM_010_CLAIM_SUBMISSION_ERROR"
    return None, _BY_STATUS.get(status, _UNKNOWN)


def _found(answer: Answer, day: date) -> list[FiledClaim]:
    if answer.status in (401, 403):
        raise failure(Unauthorized, UPSTREAM, answer)
    payload = answer.json()
    if answer.status != 200 or not isinstance(payload, list):
        raise failure(Unavailable, UPSTREAM, answer)
    try:
        # What is listed twice is one claim.
        claims = list(dict.fromkeys(_filed_claim(element) for element in payload))
    except (KeyError, TypeError, ValueError) as error:
        detail = f"an element of the claims list cannot be read: {type(error).__name__}"
    else:
        if all(each.appointment_at is None or abs(each.appointment_at.date() - day) <= _A_DAY for each in claims):
            return claims
        detail = "the list is not that of the requested day"
    raise failure(Unavailable, UPSTREAM, answer, detail=detail)


def _filed_claim(element: object) -> FiledClaim:
    if not isinstance(element, dict):
        raise TypeError("expected an object")
    appointment = element.get("aptDateTime")
    return FiledClaim(
        claim_number=text(element["claimNum"]),
        claim_status=str(element.get("claimStatus") or ""),
        station=text(element["facilityStationNum"]),
        last_modified_at=parse_timestamp(element["claimLastModDateTime"]),
        appointment_at=None if appointment is None else parse_timestamp(appointment),
    )
