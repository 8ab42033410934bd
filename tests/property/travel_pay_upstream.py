"""A Travel Pay API in memory: every call ends as the test chooses, and it forgives no mistake (contract: travel 5.3).

It keeps the rules of the real one: no idempotency key, one claim for an appointment if it checks, and a mileage expense
that is added twice is there twice. A request whose reply was lost may still take effect for a while, and then checks
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any, TypeVar

from flaskapp import clock
from flaskapp.upstreams.errors import Duplicate, Rejected, Throttled, Unanswered, Unavailable, UpstreamError
from flaskapp.upstreams.tokens.person import Traveler
from flaskapp.upstreams.travel_pay.values import ClaimDetail, Expense, UpstreamAppointment

# How long after it was sent a write may still take effect; the product waits longer before it trusts that it did not.
TAKES_EFFECT_WITHIN_SECONDS = 200.0


class Killed(BaseException):
    """The process that made this call is dead."""


UPSTREAM = "travel_pay"
BEGUN, SUBMITTED = "Incomplete", "ClaimSubmitted"

# How a call may end. Those that let others work meanwhile come last: within them no other call is so late.
READS = ("answered", "killed", "unavailable", "timed out", "throttled", "refused", "filed elsewhere", "late")
WRITES = (
    "answered",
    "killed before",
    "killed after",
    "lost",
    "took effect and lost",
    "takes effect later",
    "unavailable",
    "throttled",
    "refused",
    "filed elsewhere",
    "begun elsewhere",
    "stalls before",
    "late",
    "refused late",
)
SLOW = ("late", "stalls before", "refused late")
FAILURES: dict[str, Callable[[], BaseException]] = {
    "killed": Killed,
    "unavailable": lambda: Unavailable(UPSTREAM, http_status=503),
    "timed out": lambda: Unavailable(UPSTREAM, timed_out=True),
    "throttled": lambda: Throttled(UPSTREAM, retry_after=40.0),
    "refused": lambda: Rejected(UPSTREAM, http_status=400),
    "lost": lambda: Unanswered(UPSTREAM, http_status=500),
}

T = TypeVar("T")


@dataclass
class Claim:
    id: str
    icn: str
    ours: bool
    created_at: datetime = field(default_factory=clock.now)
    status: str = BEGUN
    expenses: list[str] = field(default_factory=list)


class ScriptedTravelPay:
    """`choose` says how a call ends; `meanwhile` lets the rest of the world go on while a call is under way."""

    def __init__(self, choose: Callable[[str, str, tuple[str, ...]], str], meanwhile: Callable[[], None]) -> None:
        self.choose = choose
        self.meanwhile = meanwhile
        self.claims: list[Claim] = []
        self.effects: list[tuple[float, str, Callable[[], Any]]] = []
        self.now = 0.0
        self.ids = count(1)

    # -- as the product's clients --------------------------------------------------------------------

    def find_or_add_appointment(self, traveler: Traveler, *_: Any) -> UpstreamAppointment:
        return self.read(traveler.icn, "find_or_add_appointment", lambda: self.appointment(traveler.icn))

    def claim(self, traveler: Traveler, claim_id: str, *, total_seconds: float) -> ClaimDetail | None:
        return self.read(traveler.icn, "claim", lambda: described(self.named(claim_id)))

    def create_claim(self, traveler: Traveler, appointment_id: str, name: str, before: Callable[[], None]) -> str:
        icn = traveler.icn
        return self.write(icn, "create_claim", before, lambda: self.create(icn), lambda: self.keep(icn, ours=True))

    def add_mileage(self, traveler: Traveler, claim_id: str, incurred: str, before: Callable[[], None]) -> str:
        claim = self.named(claim_id)
        return self.write(traveler.icn, "add_mileage", before, lambda: self.add(claim), lambda: self.add(claim))

    def submit_begun_claim(self, traveler: Traveler, claim_id: str, before: Callable[[], None]) -> str:
        claim = self.named(claim_id)
        return self.write(
            traveler.icn, "submit_begun_claim", before, lambda: self.submit(claim), lambda: self.submit(claim)
        )

    # -- how calls end -------------------------------------------------------------------------------

    def read(self, icn: str, operation: str, answer: Callable[[], T]) -> T:
        how = self.choose(icn, operation, READS)
        if how == "filed elsewhere":
            self.file_elsewhere(icn, SUBMITTED)
        if how in FAILURES:
            raise FAILURES[how]()
        found = answer()
        if how == "late":
            self.meanwhile()
        return found

    def write(
        self,
        icn: str,
        operation: str,
        before: Callable[[], None],
        effect: Callable[[], str],
        in_doubt: Callable[[], str],
    ) -> str:
        """Make a write. `in_doubt` is what it does when it takes effect after its reply was lost, without a check of
        what is there."""
        how = self.choose(icn, operation, WRITES)
        if how == "killed before":
            raise Killed
        if how == "stalls before":
            self.meanwhile()
        if how.endswith("elsewhere"):
            self.file_elsewhere(icn, BEGUN if how.startswith("begun") else SUBMITTED)
        before()
        return self.end(icn, how, effect, in_doubt)

    def end(self, icn: str, how: str, effect: Callable[[], str], in_doubt: Callable[[], str]) -> str:
        if how == "takes effect later":
            self.effects.append((self.now + TAKES_EFFECT_WITHIN_SECONDS / 2, icn, in_doubt))
            how = "lost"
        if how in FAILURES:
            raise FAILURES[how]()
        if how == "refused late":
            self.meanwhile()
            raise Rejected(UPSTREAM)
        if how in ("killed after", "took effect and lost"):
            attempted(effect)
            raise Killed if how == "killed after" else Unanswered(UPSTREAM, timed_out=True)
        done = effect()
        if how == "late":
            self.meanwhile()
        return done

    def advance(self, seconds: float) -> None:
        """Writes that were still on their way take effect when they are due."""
        self.now += seconds
        due = [effect for at, _, effect in self.effects if at <= self.now]
        self.effects = [item for item in self.effects if item[0] > self.now]
        for effect in due:
            attempted(effect)

    # -- what it holds -------------------------------------------------------------------------------

    def of(self, icn: str) -> list[Claim]:
        return [claim for claim in self.claims if claim.icn == icn]

    def named(self, claim_id: str) -> Claim:
        return next(claim for claim in self.claims if claim.id == claim_id)

    def keep(self, icn: str, ours: bool) -> str:
        self.claims.append(Claim(f"claim-{next(self.ids)}", icn, ours))
        return self.claims[-1].id

    def create(self, icn: str) -> str:
        if self.of(icn):
            raise Duplicate(UPSTREAM, http_status=400)
        return self.keep(icn, ours=True)

    def add(self, claim: Claim) -> str:
        if claim.status != BEGUN:
            raise Rejected(UPSTREAM, http_status=400)
        claim.expenses.append(f"expense-{next(self.ids)}")
        return claim.expenses[-1]

    def submit(self, claim: Claim) -> str:
        if claim.status != BEGUN:
            raise Duplicate(UPSTREAM, http_status=400)
        if not claim.expenses:
            raise Rejected(UPSTREAM, http_status=400)
        claim.status = SUBMITTED
        return claim.status

    def file_elsewhere(self, icn: str, status: str) -> None:
        """The person files at a kiosk: a claim of their own, or the last press on the button for ours."""
        if not self.of(icn) and icn not in [owner for _, owner, _ in self.effects]:
            claim = self.named(self.keep(icn, ours=False))
            claim.expenses = ["at the kiosk"] if status == SUBMITTED else []
        for claim in self.of(icn):
            claim.status = SUBMITTED if claim.expenses else BEGUN

    def appointment(self, icn: str) -> UpstreamAppointment:
        claim = next(iter(self.of(icn)), None)
        unknown = dict.fromkeys(UpstreamAppointment.__dataclass_fields__)
        known = {"id": f"appointment of {icn}", "associated_claim_id": claim.id if claim else None}
        return UpstreamAppointment(**{**unknown, **known})  # type: ignore[arg-type]


def attempted(effect: Callable[[], Any]) -> None:
    """Run a request whose answer nobody receives."""
    try:
        effect()
    except UpstreamError:
        return


def described(claim: Claim) -> ClaimDetail:
    unknown: dict[str, Any] = dict.fromkeys(ClaimDetail.__dataclass_fields__)
    known = {
        "claim_id": claim.id,
        "claim_number": f"TC-{claim.id}",
        "claim_status": claim.status,
        "created_on": f"{claim.created_at:%Y-%m-%dT%H:%M:%S.%fZ}",
        "expenses": tuple(listed(expense) for expense in claim.expenses),
    }
    return ClaimDetail(**{**unknown, **known})


def listed(expense: str) -> Expense:
    return Expense(expense, "Mileage", None, None, None, None, None)
