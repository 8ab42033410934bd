"""Steps for tests of signed-in travel pay: file, read, look at what BTSSS holds, break it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sandbox.upstreams.cast import Veteran
from tests.integration.itf_steps import Signed, sign_in
from tests.product import ADA, Product

CLAIMS_URL = "/travel_pay/v0/claims"
STARTS_AT, STATION = "2031-03-04T09:30:00", "983"
FIND, BEGIN, MILEAGE, SUBMIT = (
    "POST /api/v3/appointments/find-or-add",
    "POST /api/v3/claims",
    "POST /api/v3/expenses/mileage",
    "PATCH /api/v3/claims",
)
READ = "GET /api/v3/claims"


def refuse_in(product: Product, message: str, operation: str, times: int | None = None) -> None:
    """Have Travel Pay refuse that operation with a 400 in its own form and in these words."""
    body = json.dumps({"statusCode": 400, "message": message, "success": False, "data": None})
    answer = {"status": 400, "body": body, "headers": {"Content-Type": "application/json"}}
    product.control.set("travel_pay", "answer", operation=operation, times=times, **answer)


@dataclass
class Traveling:
    """Somebody who is signed in and files and reads travel pay claims with the calls of the real pages."""

    product: Product
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
        return self.product.app.test_client().post(CLAIMS_URL, json=body, headers=sent)

    def file(self, starts_at: str = STARTS_AT) -> str:
        """File a claim that nobody works on yet; returns its id here."""
        response = self.post(starts_at)
        assert response.status_code == 202, response.text
        return str(response.get_json()["id"])

    def get(self, path: str, **query: Any) -> Any:
        headers = sign_in(self.product, self.signed.veteran).headers
        return self.product.app.test_client().get(path, query_string=query, headers=headers)

    def read(self, path: str, **query: Any) -> Any:
        response = self.get(path, **query)
        assert response.status_code == 200, response.text
        return response.get_json()


def traveling(product: Product, veteran: Veteran = ADA) -> Traveling:
    return Traveling(product, sign_in(product, veteran))


def rows(product: Product) -> list[dict[str, Any]]:
    """Every claim that we hold, in the order of the requests."""
    return [dict(row._mapping) for row in product.rows("SELECT * FROM travel_pay_claims ORDER BY requested_at, id")]


def row(product: Product) -> dict[str, Any]:
    (found,) = rows(product)
    return found


def on_file(product: Product, veteran: Veteran = ADA) -> list[dict[str, Any]]:
    """Every claim that BTSSS holds for one person."""
    found: list[dict[str, Any]] = product.control.call("GET", "travel_pay", "claims", params={"icn": veteran.icn})
    return found


def received(product: Product, operation: str) -> int:
    return len(product.control.received("travel_pay", operation))


def attempts(product: Product) -> list[tuple[str, str, str]]:
    """Every attempt at the steps, by job, purpose and status, oldest first."""
    query = "SELECT job, purpose, status FROM outbox_attempts WHERE upstream = 'travel_pay' ORDER BY id"
    return [(found.job.rpartition(".")[2], found.purpose, found.status) for found in product.rows(query)]


def e_mails(product: Product, number: int = 1) -> list[str]:
    """The templates of the e-mails that reached somebody, oldest first."""
    return [mail["template"] for mail in reversed(product.phone(number))]


def everywhere(product: Product) -> str:
    """Everything about the attempts that a log or a queue could have seen."""
    found = product.rows("SELECT to_jsonb(a)::text FROM outbox_attempts a")
    return json.dumps([text for (text,) in found])
