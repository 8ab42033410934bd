"""The fake LoROTA, the check-in identity service (contract: travel 1.9).

How a check-in is named to it, and that a link takes three wrong answers, are assumptions (docs/assumptions.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from flask import Blueprint, Response, request

from sandbox.upstreams.cast import HABITS, Cast, Veteran, appointment_json, veteran_from
from sandbox.upstreams.fake import BadRequest, Fake, answer, json_body
from sandbox.upstreams.settings import FakeSettings
from sandbox.upstreams.tokens import Tokens

ATTEMPTS = 3


@dataclass(frozen=True)
class LoROTAKnobs:
    """`token_seconds` is how long a token lives. On each of `days` (`2031-03-04`) everybody has every appointment of
    theirs as well."""

    token_seconds: float = 43_200
    days: Sequence[str] = ()

    def __post_init__(self) -> None:
        for day in self.days:
            date.fromisoformat(day)


class LoROTA(Fake):
    name = "lorota"

    def __init__(self, settings: FakeSettings, cast: Cast) -> None:
        self.tokens = Tokens("lorota")
        self._mismatches: Counter[str] = Counter()
        super().__init__(settings, cast)

    def first_knobs(self) -> LoROTAKnobs:
        return LoROTAKnobs()

    def routes(self) -> None:
        self.app.add_url_rule("/token", view_func=self.token, methods=["POST"])
        self.app.add_url_rule("/data/<uuid>", view_func=self.data)

    def admin_routes(self, admin: Blueprint) -> None:
        admin.add_url_rule("/veterans", view_func=self.list_veterans)
        admin.add_url_rule("/veterans", view_func=self.add_veterans, methods=["POST"])

    def reset(self) -> None:
        super().reset()
        self.cast.reset()
        self.tokens.reset()
        self._mismatches.clear()

    def error_body(self, status: int, text: str) -> dict[str, Any]:
        return {"error": text}

    def token(self) -> Response:
        if request.headers.get("x-api-key") != self.settings.lorota_api_key:
            return answer({"error": "Forbidden"}, 403)
        body = json_body()
        if not all(isinstance(body.get(name), str) for name in ("uuid", "dob", "lastName")):
            return answer({"error": "uuid, dob and lastName are required"}, 400)
        veteran = self.cast.by_uuid(body["uuid"])
        if veteran is None:
            return answer({"error": "uuid not found"}, 401)
        return self._judged(veteran, body)

    def _judged(self, veteran: Veteran, body: dict[str, Any]) -> Response:
        with self.lock:
            if self._mismatches[veteran.uuid] >= ATTEMPTS:
                return answer({"error": "Too many attempts"}, 410)
            same_name = body["lastName"].strip().casefold() == veteran.last_name.casefold()
            checked = {"lastName": same_name, "dob": body["dob"] == veteran.dob}
            wrong = [name for name, same in checked.items() if not same]
            if wrong:
                self._mismatches[veteran.uuid] += 1
                return answer({"error": f"{' or '.join(wrong)} does not match with the current record"}, 401)
        return answer({"token": self.tokens.issue(self.knobs.token_seconds, veteran.uuid)})

    def data(self, uuid: str) -> Response:
        holder = self.bearer(self.tokens)
        if holder is None:
            return answer({"error": "Unauthorized"}, 401)
        veteran = self.cast.by_uuid(uuid)
        if veteran is None:
            return answer({"error": "Not found"}, 404)
        if holder != uuid:
            return answer({"error": "Unauthorized"}, 401)
        return answer(check_in_data(veteran, self.knobs.days))

    def list_veterans(self) -> Response:
        return answer([veteran.described() for veteran in self.cast.everybody()])

    def add_veterans(self) -> Response:
        """Add one veteran (a JSON object) or many (a list). Missing fields are made up."""
        body = request.get_json(force=True, silent=True)
        try:
            added = [veteran_from(item) for item in (body if isinstance(body, list) else [body or {}])]
        except (TypeError, ValueError, AttributeError) as error:
            raise BadRequest(str(error)) from None
        if any(veteran.habit not in HABITS for veteran in added):
            raise BadRequest(f"habit must be one of {', '.join(HABITS)}")
        for veteran in added:
            self.cast.add(veteran)
        described = [veteran.described() for veteran in added]
        return answer(described if isinstance(body, list) else described[0], 201)


def check_in_data(veteran: Veteran, days: Sequence[str] = ()) -> dict[str, Any]:
    """All that check-in knows about a veteran, today's appointments and those of other days."""
    due = [*veteran.appointments, *(replace(each, day=day) for day in days for each in veteran.appointments)]
    payload = {"appointments": [appointment_json(veteran, appointment) for appointment in due]}
    payload |= _oracle_health(veteran) if veteran.is_oracle_health else _vista(veteran)
    return {"id": veteran.uuid, "scope": "read.full", "payload": payload}


def _oracle_health(veteran: Veteran) -> dict[str, Any]:
    return {
        "address": "12 Sample Avenue\nSpringfield, IL 62701",
        "patientCellPhone": veteran.phone,
        "type": veteran.facility_type.upper(),
    }


def _vista(veteran: Veteran) -> dict[str, Any]:
    return {
        "demographics": {
            "icn": veteran.icn,
            "mailingAddress": {"street1": "12 Sample Avenue", "city": "Springfield", "state": "IL", "zip": "62701"},
            "mobilePhone": veteran.phone,
            "emailAddress": veteran.email,
            "nextOfKin1": {"name": "Sample Kin", "relationship": "SIBLING", "phone": "5555550160"},
        },
        "patientDemographicsStatus": {
            "demographicsNeedsUpdate": False,
            "nextOfKinNeedsUpdate": False,
            "emergencyContactNeedsUpdate": False,
        },
        "setECheckinStartedCalled": False,
    }
