"""What the fake Travel Pay has on file: appointments, claims with their expenses and documents, by veteran.

Times of appointments are naive: the wall clock of the facility. BTSSS writes them with a `Z` all the same.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sandbox.upstreams.cast import FACILITIES, utc_text

_FACILITY_IDS = uuid.UUID("0b7d6c55-52c9-4d0e-8d5e-3a2b1c0d9e8f")
# What a mileage expense costs by its trip; for an unspecified one BTSSS waits for a person to look.
MILEAGE = {"RoundTrip": 20.75, "OneWay": 10.38, "Unspecified": 0.0}
PAID = ("ApprovedForPayment", "SubmittedForPayment", "ClaimPaid")


def fresh_id() -> str:
    return str(uuid.uuid4())


@dataclass
class Journey:
    """An appointment as BTSSS has it; `claim_id` once a claim exists, whatever became of it."""

    icn: str
    at: datetime
    station: str
    name: str = "Primary care"
    type: str = "Other"
    completed: bool = True
    source: str = "VISTA"
    id: str = field(default_factory=fresh_id)
    claim_id: str | None = None


@dataclass
class Expense:
    """`incurred` is the text that was sent."""

    incurred: str
    description: str
    trip: str
    cost: float
    id: str = field(default_factory=fresh_id)

    def reported(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "expenseType": "Mileage",
            "name": "Mileage",
            "dateIncurred": self.incurred,
            "description": self.description,
            "costRequested": self.cost,
            "costSubmitted": self.cost,
        }


@dataclass(frozen=True)
class Document:
    """A file of a claim; one without a `mimetype` is BTSSS's own and has bytes of no told type."""

    filename: str
    mimetype: str | None
    content: bytes
    created_at: datetime
    id: str = field(default_factory=fresh_id)

    def reported(self) -> dict[str, Any]:
        return {
            "documentId": self.id,
            "filename": self.filename,
            "mimetype": self.mimetype,
            "createdon": utc_text(self.created_at),
        }


@dataclass
class Claim:
    """One claim; times are aware UTC. Without a `visit` its appointment is no longer known."""

    icn: str
    number: str
    name: str
    journey: Journey | None
    status: str = "Incomplete"
    station: str = "983"
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    modified_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    expenses: list[Expense] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    rejection: str | None = None
    source: str = "created"
    id: str = field(default_factory=fresh_id)

    @property
    def requested(self) -> float:
        return round(sum(expense.cost for expense in self.expenses), 2)

    @property
    def reimbursed(self) -> float:
        shares = dict.fromkeys(PAID, 1.0) | {"PartialPayment": 0.5}
        return round(self.requested * shares.get(self.status, 0.0), 2)

    def moved(self, status: str) -> None:
        self.status, self.modified_at = status, datetime.now(UTC)


class Book:
    """Everything on file. Whoever reads or writes more than once in a row holds `lock`."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        # Starting from the clock keeps numbers apart across restarts of the sandbox.
        self._numbers = itertools.count(int(time.time() * 10))
        self.reset()

    def reset(self) -> None:
        with self.lock:
            self.journeys: dict[str, Journey] = {}
            self.claims: dict[str, Claim] = {}
            self.settled: set[str] = set()
            self._places: dict[tuple[str, datetime, str], Journey] = {}

    def next_number(self) -> str:
        """`TC` and eleven digits."""
        return f"TC{next(self._numbers) % 10**11:011d}"

    def find_or_add(self, journey: Journey) -> tuple[Journey, bool]:
        """The appointment of that person, moment and station, and whether it is the one given here."""
        with self.lock:
            kept = self._places.setdefault((journey.icn, journey.at, journey.station), journey)
            self.journeys[kept.id] = kept
            return kept, kept is journey

    def create(self, claim: Claim) -> bool:
        """Keep the claim unless its appointment has one; says whether it was kept."""
        with self.lock:
            if claim.journey:
                if claim.journey.claim_id:
                    return False
                claim.journey.claim_id = claim.id
            self.claims[claim.id] = claim
            return True

    def journeys_of(self, icn: str) -> list[Journey]:
        with self.lock:
            return [journey for journey in self.journeys.values() if journey.icn == icn]

    def claims_of(self, icn: str | None) -> list[Claim]:
        """One person's, or everybody's, in the order in which they came."""
        with self.lock:
            return [claim for claim in self.claims.values() if icn in (None, claim.icn)]

    def claim(self, icn: str, claim_id: str) -> Claim | None:
        """The claim if it is that person's."""
        found = self.claims.get(claim_id.lower())
        return found if found and found.icn == icn else None

    def journey(self, icn: str, journey_id: str) -> Journey | None:
        found = self.journeys.get(journey_id.lower())
        return found if found and found.icn == icn else None

    def number_of(self, journey: Journey) -> str | None:
        return self.claims[journey.claim_id].number if journey.claim_id else None


def wall_text(at: datetime) -> str:
    """A wall clock in BTSSS's form, e.g. `2031-03-04T09:30:00.000Z`, which is no UTC."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def facility_id(station: str) -> str:
    return str(uuid.uuid5(_FACILITY_IDS, station))


def facility_name(station: str) -> str:
    return FACILITIES.get(station, f"Station {station}")
