"""State machines: allowed moves as data. A flow's states are a table, and a move that is not in it raises an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class IllegalMove(Exception):
    """A move that the state table does not allow."""


@dataclass(frozen=True)
class StateMachine:
    """`moves` lists, for each state, where it may go; `final` are the states that a person is informed of."""

    subject: str
    moves: Mapping[str, frozenset[str]]
    final: frozenset[str]

    @property
    def states(self) -> tuple[str, ...]:
        return tuple(self.moves)

    def allows(self, current: str, target: str) -> bool:
        return target in self.moves[current]

    def check(self, current: str, target: str) -> None:
        """Raises IllegalMove unless the table has this move."""
        if not self.allows(current, target):
            raise IllegalMove(f"{self.subject}: {current} → {target}")


class Conflict(Exception):
    """Raised by a flow's `check` before anything is changed: the upstream id belongs to another submission already.

    Whether the upstream holds this submission is unknown, so it is given up as unconfirmed. `details` (ids only) go
    on its case.
    """

    def __init__(self, what: str, **details: Any) -> None:
        super().__init__(what)
        self.details = details
