"""What the fake Lighthouse has on file: intents to file by veteran and type, under its rules (contract: benefits
2.1)."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("America/Chicago")
# An ITF ends about a year after it began; these are the differences from exactly a year in the contract's samples.
SHORT_OF_A_YEAR = (timedelta(), timedelta(seconds=1), timedelta(hours=2))


@dataclass(frozen=True)
class ITF:
    """One intent to file. Times are aware UTC, by Lighthouse's own clock. `icn` is the person it is filed for."""

    id: str
    icn: str
    type: str
    status: str
    created_at: datetime
    expires_at: datetime

    def active(self, now: datetime) -> bool:
        return self.status == "active" and self.expires_at > now

    def described(self) -> dict[str, Any]:
        values = asdict(self)
        return {name: _utc(value) if isinstance(value, datetime) else value for name, value in values.items()}

    def resource(self) -> dict[str, Any]:
        """The JSON:API form. Every other ITF writes its dates without milliseconds, and always does so."""
        attributes = {
            "creationDate": self._written(self.created_at),
            "expirationDate": self._written(self.expires_at),
            "type": self.type,
            "status": self.status,
        }
        return {"data": {"id": self.id, "type": "intent_to_file", "attributes": attributes}}

    def _written(self, timestamp: datetime) -> str:
        exact = bool(timestamp.microsecond) or int(self.id) % 2 == 1
        return timestamp.astimezone(ZONE).isoformat(timespec="milliseconds" if exact else "seconds")


class ITFs:
    """The book of intents to file, safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Starting from the clock keeps numbers different after a restart of the sandbox.
        self._numbers = itertools.count(int(time.time()) * 100)
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self._by_id: dict[str, ITF] = {}
            self._ids: dict[tuple[str, str], list[str]] = {}

    def active(self, icn: str, itf_type: str, now: datetime) -> ITF | None:
        """The first on file that is active and not over."""
        with self._lock:
            return self._active(icn, itf_type, now)

    def create(self, icn: str, itf_type: str, now: datetime, status: str, keep_duplicate: bool) -> ITF:
        """The answer to a create, decided and kept in one step: a new ITF; or, with an active one on file, a new one
        called `duplicate`; or (`keep_duplicate` off) the old one under that name."""
        with self._lock:
            standing = self._active(icn, itf_type, now)
            if standing and not keep_duplicate:
                return replace(standing, status="duplicate")
            return self._add(icn, itf_type, "duplicate" if standing else status, _rounded(now))

    def plant(self, icn: str, itf_type: str, status: str, created_at: datetime, expires_at: datetime | None) -> ITF:
        with self._lock:
            return self._add(icn, itf_type, status, _rounded(created_at), expires_at and _rounded(expires_at))

    def change(self, itf_id: str, **values: Any) -> ITF | None:
        """Give an ITF another status or other dates; None when there is no such ITF."""
        with self._lock:
            if itf_id not in self._by_id:
                return None
            changed = replace(self._by_id[itf_id], **values)
            created_at, expires_at = _rounded(changed.created_at), _rounded(changed.expires_at)
            self._by_id[itf_id] = replace(changed, created_at=created_at, expires_at=expires_at)
            return self._by_id[itf_id]

    def remove(self, itf_id: str) -> ITF | None:
        with self._lock:
            found = self._by_id.pop(itf_id, None)
            if found:
                self._ids[(found.icn, found.type)].remove(itf_id)
            return found

    def listed(self, icn: str | None = None) -> list[ITF]:
        """Everybody's or one person's, oldest record first."""
        with self._lock:
            return [itf for itf in self._by_id.values() if icn in (None, itf.icn)]

    def _of(self, icn: str, itf_type: str) -> Iterable[ITF]:
        return (self._by_id[itf_id] for itf_id in self._ids.get((icn, itf_type), ()))

    def _active(self, icn: str, itf_type: str, now: datetime) -> ITF | None:
        return next((itf for itf in self._of(icn, itf_type) if itf.active(now)), None)

    def _add(
        self, icn: str, itf_type: str, status: str, created_at: datetime, expires_at: datetime | None = None
    ) -> ITF:
        number = next(self._numbers)
        ends = expires_at or year_after(created_at) - SHORT_OF_A_YEAR[number % len(SHORT_OF_A_YEAR)]
        itf = ITF(str(number), icn, itf_type, status, created_at, ends)
        self._by_id[itf.id] = itf
        self._ids.setdefault((icn, itf_type), []).append(itf.id)
        return itf


def year_after(timestamp: datetime) -> datetime:
    """The same time a year later; for 29 February, on 28 February."""
    try:
        return timestamp.replace(year=timestamp.year + 1)
    except ValueError:
        return timestamp.replace(year=timestamp.year + 1, day=28)


def _rounded(timestamp: datetime) -> datetime:
    """Rounded down to whole milliseconds, the finest that answers can show."""
    return timestamp.astimezone(UTC).replace(microsecond=timestamp.microsecond // 1000 * 1000)


def _utc(timestamp: datetime) -> str:
    return timestamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")
