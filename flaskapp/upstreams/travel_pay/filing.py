"""Client that files a mileage claim at the Travel Pay API, one method a step: appointment, claim, expense, submit.

None of the writes takes an idempotency key, so every answer that is not plainly a yes or a no is "unanswered": the
claim may be there, and a read shows what was done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeGuard, TypeVar
from urllib.parse import quote

from flaskapp.config import Config
from flaskapp.upstreams.errors import Unavailable
from flaskapp.upstreams.tokens.person import Traveler
from flaskapp.upstreams.transport.fields import an_object, text, time_or_none
from flaskapp.upstreams.transport.http import HTTP, Outgoing, failure
from flaskapp.upstreams.transport.ids import same_facility, station_of
from flaskapp.upstreams.travel_pay.answers import NO_SUCH_CLAIM, UPSTREAM, parse_answer, written
from flaskapp.upstreams.travel_pay.auth import TravelPayAuth
from flaskapp.upstreams.travel_pay.values import UpstreamAppointment, read_appointment

# What refuses the content of a step for good, and what says that it was done before (contract: travel 5.3). No step
# knows the words of another: of adding the mileage and of submitting no refusal is known.
DATE_REFUSED = ("invalid appointment date",)
APPOINTMENT_REFUSED = ("invalid appointment id",)
FOUND_BEFORE = ("appointment has already been", "appointment already exists")
SUBMITTED_BEFORE = ("already been submitted", "already submitted", "claim_already_submitted")
CREATED_BEFORE = ("already been created", "claim already exists", *SUBMITTED_BEFORE)
ADDED_BEFORE = ("already been added", "expense already exists", *SUBMITTED_BEFORE)

T = TypeVar("T")


class TravelPayFilingClient:
    """`before_write` runs right before every request that writes; what it raises passes through.

    Writes raise any of the six: Unanswered when it may have been done, Duplicate when it was done before, by us or by
    somebody else, Rejected only in words of the contract.
    """

    def __init__(self, config: Config, http: HTTP, auth: TravelPayAuth) -> None:
        self._base_url = config.travel_pay_base_url
        self._total_seconds = config.travel_pay_total_seconds
        self._http = http
        self._auth = auth

    def find_or_add_appointment(
        self,
        traveler: Traveler,
        starts_at: str,
        station: str,
        appointment_type: str | None = None,
        name: str | None = None,
        is_complete: bool | None = None,
    ) -> UpstreamAppointment:
        """The appointment at that time. A repeated call finds it again, so it is never Unanswered.

        Raises Duplicate when it is only said that there is one: then the person's list of appointments has it.

        An answer with other appointments only is Unavailable: a claim must never be begun on another day's or place's.
        `starts_at` is `YYYY-MM-DDTHH:MM:SS`, wall-clock time of the facility; `station` is its station number.
        """
        optional = {"appointmentType": appointment_type, "appointmentName": name or None, "isComplete": is_complete}
        # The API wants a `Z` although the time is not UTC.
        body: dict[str, Any] = {"appointmentDateTime": f"{starts_at}Z", "facilityStationNumber": station}
        body |= {key: value for key, value in optional.items() if value is not None}

        def send_find_or_add(headers: dict[str, str]) -> UpstreamAppointment:
            path = "appointments/find-or-add"
            request = self._request("find_or_add_appointment", "POST", path, headers, body, write=False)
            request = replace(request, unquoted=(name,) if is_free_text(name) else ())
            answer = self._http.call(request)
            found = parse_answer(
                answer,
                lambda payload: appointment_at(payload["data"], starts_at, station),
                DATE_REFUSED,
                FOUND_BEFORE,
            )
            if found is None:
                raise failure(Unavailable, UPSTREAM, answer, detail="no appointment at the requested time and place")
            return found

        return self._auth.with_headers(traveler, send_find_or_add)

    def create_claim(
        self, traveler: Traveler, appointment_id: str, claim_name: str, before_write: Callable[[], None]
    ) -> str:
        """Begin a claim for that appointment; returns its id."""
        body = {"appointmentId": appointment_id, "claimName": claim_name, "claimantType": "Veteran"}

        def created(data: dict[str, Any]) -> str:
            return text(data.get("claimId"))

        return self._write(
            traveler, "create_claim", "claims", body, before_write, created, CREATED_BEFORE, APPOINTMENT_REFUSED
        )

    def add_mileage(
        self, traveler: Traveler, claim_id: str, date_incurred: str, before_write: Callable[[], None]
    ) -> str:
        """Add the round trip to that claim; returns the expense's id. Done twice, the expense is there twice."""
        body = {
            "claimId": claim_id,
            "dateIncurred": date_incurred,
            "description": "mileage",
            "tripType": "RoundTrip",
        }

        def added(data: dict[str, Any]) -> str:
            return text(data.get("expenseId"))

        return self._write(traveler, "add_mileage", "expenses/mileage", body, before_write, added, ADDED_BEFORE)

    def submit_begun_claim(self, traveler: Traveler, claim_id: str, before_write: Callable[[], None]) -> str | None:
        """Submit that claim; returns its new status in upstream's spelling, None where the answer names none."""

        def submitted(data: dict[str, Any]) -> str | None:
            if text(data.get("claimId")).lower() != claim_id.lower():
                raise ValueError("another claim than was submitted")
            return text(data["status"]) if data.get("status") else None

        path = f"claims/{quote(claim_id, safe='')}/submit"
        return self._write(
            traveler, "submit_begun_claim", path, None, before_write, submitted, SUBMITTED_BEFORE, missing=NO_SUCH_CLAIM
        )

    def _write(
        self,
        traveler: Traveler,
        operation: str,
        path: str,
        body: dict[str, Any] | None,
        before_write: Callable[[], None],
        form: Callable[[dict[str, Any]], T],
        duplicates: tuple[str, ...],
        refusals: tuple[str, ...] = (),
        missing: tuple[str, ...] = (),
    ) -> T:
        """Send one write: POST with a body creates, PATCH without a body changes."""

        def send_write(headers: dict[str, str]) -> T:
            method = "PATCH" if body is None else "POST"
            request = self._request(operation, method, path, headers, body, write=True)
            before_write()
            return written(self._http.call(request), form, refusals, duplicates, missing)

        return self._auth.with_headers(traveler, send_write)

    def _request(
        self, operation: str, method: str, path: str, headers: dict[str, str], body: Any, *, write: bool
    ) -> Outgoing:
        return Outgoing(
            UPSTREAM,
            operation,
            method,
            f"{self._base_url}/api/v3/{path}",
            write=write,
            total_seconds=self._total_seconds,
            headers=headers,
            json=body,
        )


def appointment_at(data: object, starts_at: str, station: str) -> UpstreamAppointment | None:
    """The appointment at that wall clock and station among those of an answer, which may hold several, also of other
    days, or be one object (contract: travel 5.3). Two at one time are one visit: the one with a claim counts, whatever
    their order. A facility's key that is no station number (docs/assumptions.md) cannot be compared, and counts."""
    elements = [data] if isinstance(data, dict) else data
    if not isinstance(elements, list):
        raise TypeError("expected a list of appointments")
    requested = datetime.fromisoformat(starts_at)
    return at_station([read_appointment(each) for each in elements if wall_clock_of(each) == requested], station)


def listed_at(listed: Iterable[UpstreamAppointment], starts_at: str, station: str) -> UpstreamAppointment | None:
    """The same among those of the person's list."""
    requested = datetime.fromisoformat(starts_at)
    times = ((each, each.appointment_date_time) for each in listed)
    at_that_time = [each for each, at in times if at and datetime.fromisoformat(at).replace(tzinfo=None) == requested]
    return at_station(at_that_time, station)


def at_station(found: list[UpstreamAppointment], station: str) -> UpstreamAppointment | None:
    there = [each for each in found if same_facility(station_of(each.facility_id) or station, station)]
    with_claim = (each for each in there if each.associated_claim_id is not None)
    return next(with_claim, there[0] if there else None)


def wall_clock_of(element: object) -> datetime | None:
    """When the appointment begins at its facility: the `Z` of its time says nothing. None when that cannot be read."""
    try:
        at = time_or_none(an_object(element).get("appointmentDateTime"))
    except (TypeError, ValueError):
        return None
    return datetime.fromisoformat(at).replace(tzinfo=None) if at is not None else None


def is_free_text(name: str | None) -> TypeGuard[str]:
    """Whether a refusal that quotes it may name a person. A single word may stay: it could be a key of the answer."""
    return name is not None and " " in name.strip()
