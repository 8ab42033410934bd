"""What a call came to, as the settle hears it: from a worker, or from whoever gives up in its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flaskapp.upstreams.errors import UpstreamError

ANSWERED_KINDS = frozenset({"accepted", "refused", "duplicate", "not_found", "unclear"})


@dataclass(frozen=True)
class Outcome:
    """How a call ended. `kind` is one of accepted, refused, duplicate, later, unknown, not_found, unclear,
    handed_back (nothing sent), broken (our own fault, nothing sent), obsolete (nothing left to do).

    `heard` is False for an answer out of our own book: the upstream itself said nothing just now.
    """

    kind: str
    answer: Any = None
    error: Exception | None = None
    reason: str | None = None
    from_upstream: bool = True

    @property
    def answered(self) -> bool:
        """Whether the upstream answered this very call, refusals included."""
        unsent = isinstance(self.error, UpstreamError) and not self.error.from_upstream
        return self.from_upstream and not unsent and self.kind in ANSWERED_KINDS
