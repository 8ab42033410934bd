"""What the fake Benefits Documents holds: uploads by request id, without their bytes.

Of each file it keeps the size, the digest and the first bytes: enough to see that it came whole, and small enough for a
night of uploads.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sandbox.upstreams.upload_plans import PLANS, Standing, standing


@dataclass(frozen=True)
class Upload:
    """One accepted file. `started_at` is aware UTC by the API's clock; `step_seconds` is how long a step takes.
    `steps_done` fixes it after so many steps; with None, time moves it."""

    id: int
    started_at: datetime
    step_seconds: float
    plan: str = "ok"
    steps_done: float | None = None
    claim_id: int = 0
    doc_type: str = "L023"
    file_name: str = "planted.pdf"
    content_type: str = "application/pdf"
    participant_id: str | None = None
    file_number: str | None = None
    size: int = 0
    sha256: str = ""
    first_bytes: str = ""

    def __post_init__(self) -> None:
        if self.plan not in PLANS:
            raise ValueError(f"plan must be one of {', '.join(PLANS)}")

    def standing(self, now: datetime) -> Standing:
        return standing(PLANS[self.plan], self.started_at, self.step_seconds, self._steps_behind(now))

    def described(self, now: datetime) -> dict[str, Any]:
        """Everything known about it, and where it stands."""
        where = self.standing(now)
        return asdict(self) | {
            "started_at": self.started_at.isoformat(timespec="milliseconds"),
            "state": where.state,
            "steps_behind": where.done,
        }

    def _steps_behind(self, now: datetime) -> float:
        if self.steps_done is not None:
            return self.steps_done
        age = (now - self.started_at).total_seconds()
        return age / self.step_seconds if self.step_seconds > 0 else float("inf")


class Uploads:
    """The book of uploads by request id, safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Starting from the clock keeps numbers different after a restart of the sandbox.
        self._numbers = itertools.count(int(time.time()) * 100)
        self._by_id: dict[int, Upload] = {}

    def reset(self) -> None:
        with self._lock:
            self._by_id.clear()

    def add(self, **values: Any) -> Upload:
        """Keep an upload under a new number, or under the `id` given; ValueError for an unknown plan."""
        with self._lock:
            upload = Upload(**{"id": next(self._numbers), **values})
            self._by_id[upload.id] = upload
            return upload

    def change(self, request_id: int, **values: Any) -> Upload | None:
        with self._lock:
            if request_id not in self._by_id:
                return None
            self._by_id[request_id] = replace(self._by_id[request_id], **values)
            return self._by_id[request_id]

    def remove(self, request_id: int) -> Upload | None:
        """Forget it, as if Lighthouse had deleted its record."""
        with self._lock:
            return self._by_id.pop(request_id, None)

    def found(self, request_ids: Iterable[int]) -> list[Upload]:
        """The known ones among these, in the order of their numbers, each once."""
        with self._lock:
            return [self._by_id[each] for each in sorted(set(request_ids)) if each in self._by_id]

    def listed(self) -> list[Upload]:
        """Oldest first."""
        with self._lock:
            return list(self._by_id.values())
