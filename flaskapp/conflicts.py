"""An answer that cannot be true beside another: whoever notices says so, and nobody is told more than we know."""

from __future__ import annotations

from typing import Any


class Conflict(Exception):
    """Raised by a flow's `check` before anything is changed: the upstream id it was given is another submission's.

    The upstream may hold this submission or not: it is given up as unconfirmed, with `details`, ids only, on its case.
    """

    def __init__(self, what: str, **details: Any) -> None:
        super().__init__(what)
        self.details = details
