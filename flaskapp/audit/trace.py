"""Was what happened to a submission, or a notice, legal step by step? Reads history, attempts and what is still owed.

The audit says whether a submission is accounted for now; the trace says whether it got there by the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import text

from flaskapp.current import flows
from flaskapp.db import DbSession
from flaskapp.flows import States
from flaskapp.notifications.states import PENDING, SENT, UNDELIVERABLE, WITHDRAWN
from flaskapp.statemachine import StateMachine
from flaskapp.subjects import states_of

FAILED = "failed"
# Read through a cursor, a part at a time.
STREAMED: dict[str, Any] = {"execution_options": {"yield_per": 1000}}
# Whoever takes a failed one up again is a person with a name.
NOBODY = ("system", "worker", "person")
# The repair of a notice whose row was lost begins its history anew.
RESTORED = "notification.restored"
# How a look-up ends that nobody saw answered: it was given back, and says nothing either way.
NO_ANSWER_CLASSES = (None, "WorkerLost", "HandedBack")

# All in one order, so that they can be read side by side however many there are.
MOVES = """
    SELECT subject_id, id, at, what, moved_from, moved_to, actor FROM outbox_history
     WHERE subject_type = :subject AND moved_to IS NOT NULL AND what <> 'attempt.answered_late'
       AND (CAST(:only AS text) IS NULL OR subject_id = :only)
     ORDER BY subject_id COLLATE "C", id
"""
ATTEMPTS = """
    SELECT subject_id, id, message_id, purpose, status, started_at, finished_at, end_number, late, answered,
           error_class, error_detail
      FROM outbox_attempts
     WHERE subject_type = :subject AND (CAST(:only AS text) IS NULL OR subject_id = :only)
     ORDER BY subject_id COLLATE "C", id
"""
MESSAGES = """
    SELECT subject_id, id, state FROM outbox_messages
     WHERE subject_type = :subject AND (CAST(:only AS text) IS NULL OR subject_id = :only)
       AND job <> ALL(CAST(:unpromised AS text[]))
     ORDER BY subject_id COLLATE "C", id
"""
PRESENT = 'SELECT id AS subject_id, state, watched FROM ({states}) s ORDER BY id COLLATE "C"'


@dataclass(frozen=True)
class Reading:
    """How a kind of subject is read: `first` is the state its history need not mention, `heard` are those that some
    upstream must have said, and in those that are `over` nobody works on it any more."""

    states: States
    first: str | None
    answered: frozenset[str]
    over: frozenset[str]


def readings() -> dict[str, Reading]:
    """Every type of subject with states. What becomes of a notification that was sent, callbacks say as they come."""
    found = {}
    for name, subject in flows().promises.items():
        states = states_of(subject)
        good = states.machine.final - {FAILED} if subject.is_submission else frozenset({SENT})
        over = states.machine.final if subject.is_submission else frozenset({WITHDRAWN})
        found[name] = Reading(states, subject.first_state, good, over)
    return found


@dataclass(frozen=True)
class Step:
    """The first step of a submission or a notice that no rule allows."""

    subject_type: str
    subject_id: str
    at: datetime | None
    why: str


@dataclass(frozen=True)
class Trace:
    """How many histories were read, and of each that was not legal the first such step."""

    read: int
    illegal: list[Step]


def trace(
    session: DbSession,
    subject_type: str | None = None,
    subject_id: str | None = None,
    seen: Callable[[], None] = lambda: None,
) -> Trace:
    """Every submission's and notice's history, or those of one kind, or one's; `seen` is called after each."""
    read, illegal = 0, list[Step]()
    for subject, reading in readings().items():
        if subject_type not in (None, subject):
            continue
        for found_id, found in histories(session, subject, reading.states.query, subject_id):
            read += 1
            seen()
            step = first_illegal(reading, found)
            illegal += [Step(subject, found_id, *step)] if step is not None else []
    return Trace(read, illegal)


@dataclass
class History:
    """What there is of one subject. `present` is its row, of which there is one."""

    present: list[Any] = field(default_factory=list)
    moves: list[Any] = field(default_factory=list)
    attempts: list[Any] = field(default_factory=list)
    messages: list[Any] = field(default_factory=list)


def histories(session: DbSession, subject: str, states: str, only: str | None) -> Iterator[tuple[str, History]]:
    """Each subject with all that is known of it; rows without a history and histories without a row too."""
    queries = {"present": PRESENT.format(states=states), "moves": MOVES, "attempts": ATTEMPTS, "messages": MESSAGES}
    unpromised = list(flows().unpromised_jobs)
    values = {"subject": subject, "only": only, "since": None, "until": None, "unpromised": unpromised}
    read = [tagged(name, session.execute(text(query), values, **STREAMED)) for name, query in queries.items()]
    for subject_id, rows in groupby(merge(*read, key=itemgetter(0)), key=itemgetter(0)):
        found = History()
        for _, name, row in rows:
            getattr(found, name).append(row)
        if found.present or found.moves:
            yield subject_id, found


def tagged(name: str, rows: Iterable[Any]) -> Iterator[tuple[str, str, Any]]:
    return ((row.subject_id, name, row) for row in rows)


Illegal = tuple[datetime | None, str]


def first_illegal(reading: Reading, found: History) -> Illegal | None:
    """The earliest of what moves, attempts, open messages and the present state break; None for a legal history."""
    steps = [
        *illegal_moves(reading, found),
        *illegal_attempts(found.attempts),
        *unfounded(reading, found.moves, found.attempts),
        *illegal_work(reading, found),
    ]
    return min(steps, key=lambda step: (step[0] is None, step[0])) if steps else None


def illegal_moves(reading: Reading, found: History) -> Iterator[Illegal]:
    current = reading.first
    for move in found.moves:
        why = wrong_with(reading.states.machine, current, move) if move.what != RESTORED else None
        if why is not None:
            yield move.at, why
        current = move.moved_to
    if found.present and found.present[0].state != current:
        yield None, f"it is {found.present[0].state}, and its history ends with {current or 'nothing'}"
    elif not found.present and reading.first is None:
        yield None, f"its row is gone, its history ends with {current}"


def wrong_with(machine: StateMachine, current: str | None, move: Any) -> str | None:
    """Why this move is not legal from here."""
    if current is None:
        return f"moved from {move.moved_from} before it was asked for" if move.moved_from is not None else None
    if move.moved_from != current:
        return f"moved from {move.moved_from} while it was {current}"
    if not machine.allows(current, move.moved_to):
        return f"moved from {current} to {move.moved_to}, which its states do not allow"
    taken_up = current == FAILED or (current, move.moved_to) == (UNDELIVERABLE, PENDING)
    return f"taken up again by {move.actor} instead of an operator" if taken_up and move.actor in NOBODY else None


def illegal_work(reading: Reading, found: History) -> Iterator[Illegal]:
    """What is pending is owed or watched; what came to an end is not worked on."""
    if not found.present:
        return
    state, watched = found.present[0].state, found.present[0].watched
    going_on = [message for message in found.messages if message.state != "parked"]
    if state == PENDING and not found.messages and not watched:
        yield None, f"it is {state}, and nobody owes the next step"
    if state in reading.over and going_on:
        yield None, f"it is {state}, and message {going_on[0].id} still works on it"


def illegal_attempts(attempts: list[Any]) -> Iterator[Illegal]:
    """Nothing may be sent again while it is open whether it was done, and no two may be at it at once."""
    for _, found in groupby(sorted(attempts, key=lambda row: (row.message_id, row.id)), key=lambda row: row.message_id):
        before, open_since, denials = None, None, 0
        for row in found:
            if before is not None and not before.late and overlap(before, row):
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
    if not row.answered and row.error_class in NO_ANSWER_CLASSES:
        return open_since, denials
    denied = row.answered and row.error_class is None and row.error_detail is None and row.status == "error"
    return open_since, denials + 1 if denied else 0


def overlap(before: Any, row: Any) -> bool:
    """Told by numbers, which no clock puts back. Who ended before ends were numbered is taken to have ended in time."""
    return before.finished_at is None or (before.end_number is not None and row.id < before.end_number)


def unfounded(reading: Reading, moves: list[Any], attempts: list[Any]) -> Iterator[Illegal]:
    """A worker says that upstream holds it: an attempt that heard so ended in that very transaction.

    Whatever a transaction writes bears one and the same moment; which time of day that was does not matter.
    """
    answered_at = {row.finished_at for row in attempts if row.status == "success" and row.purpose != "give_up"}
    for move in moves:
        good = move.moved_to in reading.answered
        if good and move.actor == "worker" and move.at not in answered_at:
            yield move.at, f"moved to {move.moved_to} though no attempt had succeeded"
