"""What the fake Travel Pay has on file: appointments, claims with their expenses and documents, by veteran.

Times of appointments are naive: the wall clock of the facility. BTSSS writes them with a `Z` all the same (contract:
travel 5.3).
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

# What a mileage expense costs by its trip. For an unspecified one BTSSS waits until a person has looked at it.
MILEAGE = {"RoundTrip": 20.75, "OneWay": 10.38, "Unspecified": 0.0}
PAID = ("ApprovedForPayment", "SubmittedForPayment", "ClaimPaid")


def fresh_id() -> str:
    return str(uuid.uuid4())


@dataclass
class BookedAppointment:
    """An appointment as BTSSS has it. `claim_id` is set once a claim exists, whatever becomes of the claim."""

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

    def as_json(self) -> dict[str, Any]:
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
    """A file of a claim. One without a `mimetype` is BTSSS's own, and its bytes have no stated type."""

    filename: str
    mimetype: str | None
    content: bytes
    created_at: datetime
    id: str = field(default_factory=fresh_id)
    expense_id: str | None = None

    def as_json(self) -> dict[str, Any]:
        proof = {"expenseId": self.expense_id} if self.expense_id else {}
        return {
            "documentId": self.id,
            "filename": self.filename,
            "mimetype": self.mimetype,
            "createdon": utc_text(self.created_at),
            **proof,
        }


@dataclass
class Claim:
    """One claim. Times are aware UTC. Without `appointment`, its appointment is no longer known. `source` is how it
    came here: `created` through the API, or in a way that only the sandbox has."""

    icn: str
    number: str
    name: str
    appointment: BookedAppointment | None
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
    """Everything on file. Hold `lock` to read or write more than one thing consistently."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        # Starting from the clock keeps numbers different after a restart of the sandbox.
        self._numbers = itertools.count(int(time.time() * 10))
        self.reset()

    def reset(self) -> None:
        with self.lock:
            self.appointments: dict[str, BookedAppointment] = {}
            self.claims: dict[str, Claim] = {}
            self.settled: set[str] = set()
            self._by_key: dict[tuple[str, datetime, str], BookedAppointment] = {}

    def next_number(self) -> str:
        """`TC` and eleven digits."""
        return f"TC{next(self._numbers) % 10**11:011d}"

    def find_or_add(self, appointment: BookedAppointment) -> tuple[BookedAppointment, bool]:
        """The appointment of that person, time and station, and whether it is the one given here."""
        with self.lock:
            kept = self._by_key.setdefault((appointment.icn, appointment.at, appointment.station), appointment)
            self.appointments[kept.id] = kept
            return kept, kept is appointment

    def create(self, claim: Claim) -> bool:
        """Keep the claim unless its appointment has one; says whether it was kept."""
        with self.lock:
            if claim.appointment:
                if claim.appointment.claim_id:
                    return False
                claim.appointment.claim_id = claim.id
            self.claims[claim.id] = claim
            return True

    def appointments_of(self, icn: str) -> list[BookedAppointment]:
        with self.lock:
            return [appointment for appointment in self.appointments.values() if appointment.icn == icn]

    def claims_of(self, icn: str | None) -> list[Claim]:
        """The claims of one person, or of everybody, in the order in which they came."""
        with self.lock:
            return [claim for claim in self.claims.values() if icn in (None, claim.icn)]

    def claim(self, icn: str, claim_id: str) -> Claim | None:
        """The claim, if it is that person's."""
        found = self.claims.get(claim_id.lower())
        return found if found and found.icn == icn else None

    def appointment(self, icn: str, appointment_id: str) -> BookedAppointment | None:
        found = self.appointments.get(appointment_id.lower())
        return found if found and found.icn == icn else None

    def number_of(self, appointment: BookedAppointment) -> str | None:
        return self.claims[appointment.claim_id].number if appointment.claim_id else None


def wall_text(at: datetime) -> str:
    """A wall clock in BTSSS's form, e.g. `2031-03-04T09:30:00.000Z`, which is not UTC."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def facility_name(station: str) -> str:
    return FACILITIES.get(station, f"Station {station}")
