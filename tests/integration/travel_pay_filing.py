"""One filed travel pay claim: where it stands here, what its person was sent, what BTSSS has of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flaskapp.db import transaction
from flaskapp.travel_pay.models import TravelPayClaim
from flaskapp.travel_pay.service import STEP_WORKS
from sandbox.upstreams.cast import DEFAULT_CAST, Veteran
from tests.integration import travel_pay_steps as steps
from tests.integration.travel_pay_steps import STARTS_AT, traveling
from tests.product import ADA, Product

BEN, CARLA, DOV, ELENA, FRANK = DEFAULT_CAST[1:6]
# BTSSS refuses to begin a claim for this person.
JONAS = next(veteran for veteran in DEFAULT_CAST if veteran.habit == "refused")


@dataclass
class Filing:
    """One claim that somebody filed at the pages' own endpoint; `requested` is what else its form said."""

    product: Product
    veteran: Veteran
    starts_at: str
    requested: dict[str, Any]
    id: str

    @property
    def row(self) -> dict[str, Any]:
        (found,) = [row for row in steps.rows(self.product) if str(row["id"]) == self.id]
        return found

    @property
    def stands(self) -> tuple[str, str]:
        return self.row["state"], self.row["step"]

    @property
    def message(self) -> dict[str, Any]:
        """The message of the step that the claim stands at."""
        (found,) = [each for each in self.product.messages() if each["subject_id"] == self.id]
        return found

    @property
    def cases(self) -> list[str]:
        query = "SELECT kind FROM cases WHERE subject_id = :id AND closed_at IS NULL ORDER BY kind"
        return [found.kind for found in self.product.rows(query, id=self.id)]

    @property
    def notifications(self) -> list[str]:
        """What its person was sent, in the order of the cycles."""
        query = "SELECT kind FROM notifications WHERE subject_id = :id AND state <> 'pending' ORDER BY cycle"
        return [found.kind for found in self.product.rows(query, id=self.id)]

    def again(self) -> tuple[int, str, str]:
        """Post the same form again; returns the HTTP status, the claim's status or the error's code, and the text."""
        response = traveling(self.product, self.veteran).post(self.starts_at, **self.requested)
        body = response.get_json()
        if "errors" not in body:
            return response.status_code, body["status"], body["recordMessage"]
        (entry,) = body["errors"]
        assert entry["status"] == str(response.status_code)
        return response.status_code, entry["code"], entry["detail"]

    def tries(self) -> list[tuple[str, str, str]]:
        """Every attempt at it: job, purpose and status, oldest first."""
        query = "SELECT job, purpose, status FROM outbox_attempts WHERE subject_id = :id ORDER BY id"
        return [(row.job.rpartition(".")[2], row.purpose, row.status) for row in self.product.rows(query, id=self.id)]


def file(product: Product, veteran: Veteran = ADA, starts_at: str = STARTS_AT, **requested: Any) -> Filing:
    """File a claim that nobody works on yet."""
    response = traveling(product, veteran).post(starts_at, **requested)
    assert response.status_code == 202, response.text
    return Filing(product, veteran, starts_at, requested, response.get_json()["id"])


def come_to(product: Product, step: str, *filings: Filing) -> None:
    """Work until that step is the next one for each of these."""
    job = STEP_WORKS[step].path
    product.work(until=lambda: all(each.message["job"] == job for each in filings))


def tried(filing: Filing, times: int) -> Callable[[], bool]:
    """Whether so many attempts at it have ended."""
    return lambda: len([status for _, _, status in filing.tries() if status != "try"]) >= times


def plant(product: Product, veteran: Veteran = ADA, starts_at: str = STARTS_AT, **more: Any) -> dict[str, Any]:
    """Add a claim for that appointment that was made elsewhere."""
    body = {"icn": veteran.icn, "appointmentDateTime": starts_at, "station": steps.STATION, **more}
    found: dict[str, Any] = product.control.call("POST", "travel_pay", "claims", json=body)
    return found


def assert_filed_once(filing: Filing, how: str) -> None:
    """It is submitted as one claim with one mileage expense, and known to be that one."""
    row, (claim,) = filing.row, steps.on_file(filing.product, filing.veteran)
    assert (row["state"], claim["claimStatus"], len(claim["expenses"])) == ("submitted", "ClaimSubmitted", 1)
    expense = claim["expenses"][0]["id"]
    assert (row["claim_id"], row["expense_id"]) == (claim["id"], expense)
    assert filing.again()[:2] == (201, "Claim submitted")
    assert filed(filing) == (claim["id"], claim["claimNumber"], how)
    assert filing.cases == []


def filed(filing: Filing) -> tuple[str, str | None, str]:
    """What we know BTSSS to hold: the claim's id and number, and how we know."""
    with transaction() as session:
        found = session.get_one(TravelPayClaim, uuid.UUID(filing.id)).filed
    assert found is not None
    return found["claim_id"], found["claim_number"], found["how"]
