"""Steps that tests of signed-in travel pay take again and again: file, read, look at BTSSS, break it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sandbox.upstreams.cast import Veteran
from tests.house import ADA, House
from tests.integration.itf_steps import Signed, sign_in

CLAIMS_URL = "/travel_pay/v0/claims"
STARTS_AT, STATION = "2031-03-04T09:30:00", "983"
FIND, BEGIN, MILEAGE, SUBMIT = (
    "POST /api/v3/appointments/find-or-add",
    "POST /api/v3/claims",
    "POST /api/v3/expenses/mileage",
    "PATCH /api/v3/claims",
)
READ = "GET /api/v3/claims"


@dataclass
class Traveling:
    """Somebody signed in who files and reads travel pay claims, as the real pages call."""

    house: House
    signed: Signed

    def post(self, starts_at: str = STARTS_AT, headers: dict[str, str] | None = None, **changes: Any) -> Any:
        body = {
            "appointmentDateTime": starts_at,
            "facilityStationNumber": STATION,
            "facilityName": "Example VA",
            "appointmentType": "Other",
            "isComplete": False,
            **changes,
        }
        sent = {**self.signed.headers, **(headers or {})}
        return self.house.app.test_client().post(CLAIMS_URL, json=body, headers=sent)

    def file(self, starts_at: str = STARTS_AT) -> str:
        """File a claim without anybody working on it; its id here."""
        response = self.post(starts_at)
        assert response.status_code == 202, response.text
        return str(response.get_json()["id"])

    def get(self, path: str, **query: Any) -> Any:
        headers = sign_in(self.house, self.signed.veteran).headers
        return self.house.app.test_client().get(path, query_string=query, headers=headers)

    def read(self, path: str, **query: Any) -> Any:
        response = self.get(path, **query)
        assert response.status_code == 200, response.text
        return response.get_json()


def traveling(house: House, veteran: Veteran = ADA) -> Traveling:
    return Traveling(house, sign_in(house, veteran))


def rows(house: House) -> list[dict[str, Any]]:
    """Every claim we hold, in the order asked for."""
    return [dict(row._mapping) for row in house.rows("SELECT * FROM travel_pay_claims ORDER BY requested_at, id")]


def row(house: House) -> dict[str, Any]:
    (found,) = rows(house)
    return found


def on_file(house: House, veteran: Veteran = ADA) -> list[dict[str, Any]]:
    """Every claim BTSSS holds of one person."""
    found: list[dict[str, Any]] = house.control.call("GET", "travel_pay", "claims", params={"icn": veteran.icn})
    return found


def received(house: House, operation: str) -> int:
    return len(house.control.received("travel_pay", operation))


def attempts(house: House) -> list[tuple[str, str, str]]:
    """What was tried of the steps, by job, purpose and status, oldest first."""
    query = "SELECT job, purpose, status FROM outbox_attempts WHERE upstream = 'travel_pay' ORDER BY id"
    return [(found.job.rpartition(".")[2], found.purpose, found.status) for found in house.rows(query)]


def e_mails(house: House, number: int = 1) -> list[str]:
    """The templates of the e-mails that reached somebody, oldest first."""
    return [mail["template"] for mail in reversed(house.phone(number))]


def everywhere(house: House) -> str:
    """All that a log or a queue could have seen of the attempts and the history."""
    found = house.rows("SELECT to_jsonb(a)::text FROM outbox_attempts a")
    return json.dumps([text for (text,) in found])
