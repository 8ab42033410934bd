"""What the fake BTSSS has on file: claims by veteran, day and station, and the outcomes planned for a veteran."""

from __future__ import annotations

import itertools
import threading
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from typing import Any


@dataclass(frozen=True)
class Claim:
    """One claim; times are aware UTC, `accepted_at` by the true clock and `modified_at` by BTSSS's own."""

    number: str
    icn: str
    day: date
    station: str
    status: str
    modified_at: datetime
    accepted_at: datetime
    appointment_at: datetime
    source: str = "submitted"

    def described(self) -> dict[str, Any]:
        values = asdict(self)
        return {name: value.isoformat() if isinstance(value, date) else value for name, value in values.items()}


class Claims:
    """The book of claims, safe to use from many threads. `file` applies the rule of one claim."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Starting from the clock keeps numbers different after a restart of the sandbox.
        now = datetime.now(UTC)
        seconds = (now.day - 1) * 86_400 + now.hour * 3600 + now.minute * 60 + now.second
        self._numbers = itertools.count(seconds * 100 + 1)
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self._by_icn: dict[str, dict[tuple[date, str], Claim]] = {}
            self._outcomes: dict[tuple[str, str | None], tuple[str, int | None]] = {}

    def next_number(self) -> str:
        """`TC`, year, month, and nine digits: fifteen in all."""
        return f"TC{datetime.now(UTC):%Y%m}{next(self._numbers):09d}"

    def file(self, claim: Claim) -> bool:
        """Keep the claim unless that veteran, day and station has one; says whether it was kept."""
        with self._lock:
            return self._of(claim.icn).setdefault((claim.day, claim.station), claim) is claim

    def plant(self, claim: Claim) -> None:
        with self._lock:
            self._of(claim.icn)[(claim.day, claim.station)] = claim

    def between(self, icn: str, first: date, last: date) -> list[Claim]:
        with self._lock:
            return [claim for claim in self._of(icn).values() if first <= claim.day <= last]

    def everything(self) -> list[Claim]:
        with self._lock:
            return [claim for claims in self._by_icn.values() for claim in claims.values()]

    def move(self, number: str, status: str, modified_at: datetime) -> Claim | None:
        """Give a claim another status, as BTSSS's processing does; None when there is no such claim."""
        claim = next((claim for claim in self.everything() if claim.number == number), None)
        if claim is None:
            return None
        moved = replace(claim, status=status, modified_at=modified_at)
        self.plant(moved)
        return moved

    def plan(self, icn: str, day: str | None, outcome: str, times: int | None) -> None:
        with self._lock:
            self._outcomes[(icn, day)] = (outcome, times)

    def planned(self, icn: str, day: str) -> str | None:
        """The outcome planned for this submit, counted down. A plan for this day goes before a plan for any day."""
        with self._lock:
            for key in ((icn, day), (icn, None)):
                if key in self._outcomes:
                    outcome, times = self._outcomes[key]
                    self._keep(key, outcome, times)
                    return outcome
        return None

    def _of(self, icn: str) -> dict[tuple[date, str], Claim]:
        return self._by_icn.setdefault(icn, {})

    def _keep(self, key: tuple[str, str | None], outcome: str, times: int | None) -> None:
        if times == 1:
            del self._outcomes[key]
        elif times is not None:
            self._outcomes[key] = (outcome, times - 1)
