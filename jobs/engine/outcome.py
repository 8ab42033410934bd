"""Outcome of a call, as the settle receives it from a worker, or from the sweep that gives up in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flaskapp.upstreams.errors import UpstreamError

ANSWERED_KINDS = frozenset({"accepted", "refused", "duplicate", "not_found", "unclear"})


@dataclass(frozen=True)
class Outcome:
    """How a call ended. `kind` is one of accepted, refused, duplicate, later, unknown, not_found, unclear,
    handed_back (nothing sent), broken (our own fault, nothing sent), unreadable (our keys do not open what is stored,
    nothing sent), obsolete (nothing left to do), unsearchable (it may have happened, and nothing could tell).

    `found` is what a look-up found, where the own `answer` of an earlier write arrived meanwhile and counts instead.
    `from_upstream` is False for an answer out of our own records: the upstream itself did not answer just now.
    """

    kind: str
    answer: Any = None
    found: Any = None
    error: Exception | None = None
    reason: str | None = None
    from_upstream: bool = True

    @property
    def answered(self) -> bool:
        """Whether the upstream answered this very call, refusals included."""
        unsent = isinstance(self.error, UpstreamError) and not self.error.from_upstream
        return self.from_upstream and not unsent and self.kind in ANSWERED_KINDS
