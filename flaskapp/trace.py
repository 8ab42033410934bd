"""Was what happened to a submission legal, step by step? Reads its history, its attempts and what is still owed.

The audit says whether a submission is accounted for now; the trace says whether it got there by the rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import text

from flaskapp.db import DbSession
from flaskapp.flows import FLOWS
from flaskapp.statemachine import StateMachine

FAILED = "failed"
# Whoever takes a failed one up again is a person with a name.
NOBODY = ("system", "worker", "person")

MOVES = text("""
    SELECT id, at, subject_id, moved_from, moved_to, actor FROM outbox_history
     WHERE subject_type = :subject AND moved_to IS NOT NULL AND what <> 'attempt.answered_late'
       AND (CAST(:only AS text) IS NULL OR subject_id = :only)
     ORDER BY subject_id, id
""")
ATTEMPTS = text("""
    SELECT id, subject_id, message_id, purpose, status, started_at, finished_at, late, answered, error_class,
           error_detail
      FROM outbox_attempts
     WHERE subject_type = :subject AND (CAST(:only AS text) IS NULL OR subject_id = :only)
     ORDER BY subject_id, id
""")


@dataclass(frozen=True)
class Step:
    """The first step of a submission that no rule allows."""

    subject_type: str
    subject_id: str
    at: datetime | None
    why: str


@dataclass(frozen=True)
class Trace:
    """How many histories were read, and of each that was not legal the first such step."""

    read: int
    illegal: list[Step]


def trace(session: DbSession, subject_type: str | None = None, subject_id: str | None = None) -> Trace:
    """Every submission's history, or one flow's, or one's."""
    read, illegal = 0, list[Step]()
    for subject, flow in FLOWS.items():
        if flow.states is None or subject_type not in (None, subject):
            continue
        for found in histories(session, subject, flow.states.query, subject_id):
            read += 1
            step = first_illegal(subject, flow.states.machine, *found)
            illegal += [step] if step is not None else []
    return Trace(read, illegal)


History = tuple[str, str | None, list[Any], list[Any]]


def histories(session: DbSession, subject: str, states: str, only: str | None) -> Iterator[History]:
    """Id, present state, moves and attempts of each subject; rows without a history and histories without a row too."""
    values = {"subject": subject, "only": only}
    moves = by_subject(session.execute(MOVES, values))
    attempts = by_subject(session.execute(ATTEMPTS, values))
    present = {row.id: row.state for row in session.execute(text(states), {"only": only})}
    for subject_id in sorted({*present, *moves}):
        yield subject_id, present.get(subject_id), moves.get(subject_id, []), attempts.get(subject_id, [])


def by_subject(rows: Iterable[Any]) -> Mapping[str, list[Any]]:
    return {subject_id: list(found) for subject_id, found in groupby(rows, key=lambda row: row.subject_id)}


def first_illegal(
    subject: str, machine: StateMachine, subject_id: str, state: str | None, moves: list[Any], attempts: list[Any]
) -> Step | None:
    """The earliest of what the moves, the attempts and the present state break; None for a legal history."""
    found = [*illegal_moves(machine, state, moves), *illegal_attempts(attempts), *unfounded(machine, moves, attempts)]
    if not found:
        return None
    at, why = min(found, key=lambda item: (item[0] is None, item[0]))
    return Step(subject, subject_id, at, why)


def illegal_moves(machine: StateMachine, state: str | None, moves: list[Any]) -> Iterator[tuple[datetime | None, str]]:
    current: str | None = None
    for move in moves:
        if current is None and move.moved_from is not None:
            yield move.at, f"moved from {move.moved_from} before it was asked for"
        elif current is not None and move.moved_from != current:
            yield move.at, f"moved from {move.moved_from} while it was {current}"
        elif current is not None and not machine.allows(current, move.moved_to):
            yield move.at, f"moved from {current} to {move.moved_to}, which its states do not allow"
        elif current == FAILED and move.actor in NOBODY:
            yield move.at, f"taken up again by {move.actor} instead of an operator"
        current = move.moved_to
    if state is None:
        yield None, f"its row is gone, its history ends with {current}"
    elif state != current:
        yield None, f"it is {state}, and its history ends with {current or 'nothing'}"


def illegal_attempts(attempts: list[Any]) -> Iterator[tuple[datetime | None, str]]:
    """Nothing may be sent again while it is open whether it was done, and no two may be at it at once."""
    for _, found in groupby(sorted(attempts, key=lambda row: (row.message_id, row.id)), key=lambda row: row.message_id):
        before, open_since, denials = None, None, 0
        for row in found:
            if before is not None and not before.late and is_before(row.started_at, before.finished_at):
                yield row.started_at, f"attempt {row.id} began before attempt {before.id} had ended"
            if row.purpose == "write" and open_since is not None and denials < 2:
                yield row.started_at, f"attempt {row.id} sent again what attempt {open_since} may have done"
            open_since, denials = after(row, open_since, denials)
            before = row


def after(row: Any, open_since: int | None, denials: int) -> tuple[int | None, int]:
    """Which write is open to question after this attempt, and how many look-ups running said that it is not there."""
    if row.purpose == "write":
        is_open = row.status == "unknown" or row.error_class == "Duplicate"
        return (row.id if is_open else None), 0
    if row.purpose != "look_up" or open_since is None:
        return open_since, denials
    denied = row.answered and row.error_class is None and row.error_detail is None and row.status == "error"
    return open_since, denials + 1 if denied else 0


def is_before(moment: datetime, ended: datetime | None) -> bool:
    return ended is None or moment < ended


def unfounded(machine: StateMachine, moves: list[Any], attempts: list[Any]) -> Iterator[tuple[datetime | None, str]]:
    """A worker says that upstream holds it: some attempt must have heard so."""
    heard = [row.finished_at for row in attempts if row.status == "success" and row.purpose != "give_up"]
    for move in moves:
        good = move.moved_to in machine.final and move.moved_to != FAILED
        if good and move.actor == "worker" and not any(at is not None and at <= move.at for at in heard):
            yield move.at, f"moved to {move.moved_to} though no attempt had succeeded"
