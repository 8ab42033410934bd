"""The fake LoROTA, the check-in identity service (contract: travel 1.9).

It checks our key, the signature and all claims, and compares what a person typed. It counts no tries. What its gateway
says to a caller that it does not know is an assumption (docs/assumptions.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import jwt
from flask import Blueprint, Response, request

from sandbox.upstreams.cast import HABITS, Cast, Veteran, appointment_json, veteran_from
from sandbox.upstreams.fake import BadRequest, Fake, answer, json_body
from sandbox.upstreams.keys import public_key
from sandbox.upstreams.settings import FakeSettings
from sandbox.upstreams.tokens import Tokens

AUDIENCE, SCOPE = "lorota", "read.full"

NO_SUCH_ID = "id not found"


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

    def error_body(self, status: int, text: str) -> dict[str, Any]:
        return {"error": NO_SUCH_ID if status == 404 else text}

    def token(self) -> Response:
        if not self._knows_caller():
            return answer({"message": "Forbidden"}, 403)
        uuid = self._claimed(request.headers.get("x-lorota-claims", ""))
        if uuid is None:
            return answer({"message": "Unauthorized"}, 401)
        body = json_body()
        if not all(isinstance(body.get(name), str) for name in ("dob", "lastName")):
            return answer({"error": "lastName and dob are required"}, 400)
        veteran = self.cast.by_uuid(uuid)
        if veteran is None:
            return answer({"error": "uuid not found"}, 401)
        return self._judged(veteran, body)

    def _knows_caller(self) -> bool:
        known = {"x-api-key": self.settings.lorota_api_key, "x-apigw-api-id": self.settings.lorota_api_id}
        return all(request.headers.get(name) == value for name, value in known.items())

    def _claimed(self, claims: str) -> str | None:
        """The check-in that our signed claims name; None when they are not ours, have ended or do not allow it."""
        required = ["aud", "iss", "sub", "scopes", "iat", "exp"]
        try:
            checked: dict[str, Any] = jwt.decode(
                claims,
                public_key(self.settings.lorota_client_key),
                algorithms=["RS256"],
                audience=AUDIENCE,
                issuer=self.settings.lorota_issuer,
                options={"require": required},
            )
        except jwt.InvalidTokenError:
            return None
        scopes = checked["scopes"]
        return str(checked["sub"]) if isinstance(scopes, list) and SCOPE in scopes else None

    def _judged(self, veteran: Veteran, body: dict[str, Any]) -> Response:
        same_name = body["lastName"].strip().casefold() == veteran.last_name.casefold()
        checked = {"lastName": same_name, "dob": body["dob"] == veteran.dob}
        wrong = [name for name, same in checked.items() if not same]
        if wrong:
            return answer({"error": f"{' or '.join(wrong)} does not match with current record"}, 401)
        return answer({"token": self.tokens.issue(self.knobs.token_seconds, veteran.uuid)})

    def data(self, uuid: str) -> Response:
        if not self._knows_caller():
            return answer({"message": "Forbidden"}, 403)
        holder = self.bearer(self.tokens)
        if holder is None:
            return answer({"error": "Unauthorized"}, 401)
        veteran = self.cast.by_uuid(uuid)
        if veteran is None:
            return answer({"error": NO_SUCH_ID}, 404)
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
