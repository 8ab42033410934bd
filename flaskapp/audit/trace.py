"""Trace: checks that each step of a submission or notification was legal, from history, attempts and open messages.

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
from outbox import timeline

FAILED = "failed"
# Read through a cursor, part by part.
STREAMED: dict[str, Any] = {"execution_options": {"yield_per": 1000}}
# Not one of these, but only a person with a name may take a failed one up again.
NOBODY = ("system", "worker", "person")
# The repair of a notification whose row was lost begins its history anew.
RESTORED = "notification.restored"
# Error classes of look-ups without an answer: they were handed back, and say nothing either way.
NO_ANSWER_CLASSES = (None, "WorkerLost", "HandedBack")

# In the order of the ledger's streams, so that all of them can be read side by side.
PRESENT = 'SELECT id AS subject_id, state, watched, whole, kept FROM ({states}) s ORDER BY id COLLATE "C"'


@dataclass(frozen=True)
class Reading:
    """How a type of subject is read: its history need not mention the state `first`, an upstream must have answered
    before it is in one of `answered`, and nobody works on it any more in one of `over`."""

    states: States
    first: str | None
    answered: frozenset[str]
    over: frozenset[str]


def readings() -> dict[str, Reading]:
    """Every type of subject with states. Callbacks report, in any order, what becomes of a sent notification."""
    found = {}
    for name, subject in flows().promises.items():
        states = states_of(subject)
        good = states.machine.final - {FAILED} if subject.is_submission else frozenset({SENT})
        over = states.machine.final if subject.is_submission else frozenset({WITHDRAWN})
        found[name] = Reading(states, subject.first_state, good, over)
    return found


@dataclass(frozen=True)
class Step:
    """The first step of a submission or a notification that no rule allows."""

    subject_type: str
    subject_id: str
    at: datetime | None
    why: str


@dataclass(frozen=True)
class Trace:
    """How many histories were read, and the first illegal step of each that was not legal."""

    histories_read: int
    illegal: list[Step]


def trace(
    session: DbSession,
    subject_type: str | None = None,
    subject_id: str | None = None,
    seen: Callable[[], None] = lambda: None,
) -> Trace:
    """Check every submission's and notification's history, or those of one type or id; `seen` is called after each."""
    histories_read, illegal = 0, list[Step]()
    for subject, reading in readings().items():
        if subject_type not in (None, subject):
            continue
        for found_id, found in histories(session, subject, reading.states.query, subject_id):
            histories_read += 1
            seen()
            step = first_illegal(reading, found)
            illegal += [Step(subject, found_id, *step)] if step is not None else []
    return Trace(histories_read, illegal)


@dataclass
class History:
    """The records of one subject. `present` is its row, of which there is at most one."""

    present: list[Any] = field(default_factory=list)
    moves: list[Any] = field(default_factory=list)
    attempts: list[Any] = field(default_factory=list)
    messages: list[Any] = field(default_factory=list)


def histories(session: DbSession, subject: str, states: str, only: str | None) -> Iterator[tuple[str, History]]:
    """Each subject with all its records; also rows without a history, and histories without a row."""
    values = {"only": only, "since": None, "until": None}
    streams = {
        "present": session.execute(text(PRESENT.format(states=states)), values, **STREAMED),
        "moves": timeline.stream_moves(session, subject, only),
        "attempts": timeline.stream_attempts(session, subject, only),
        "messages": timeline.stream_messages(session, subject, only, but_jobs=flows().unpromised_jobs),
    }
    read = (tagged(name, rows) for name, rows in streams.items())
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
    """The earliest fault in moves, attempts, open messages and the present state; None for a legal history."""
    steps = [
        *illegal_moves(reading, found),
        *illegal_attempts(found.attempts),
        *unfounded(reading, found.moves, found.attempts),
        *illegal_work(reading, found),
    ]
    return min(steps, key=lambda step: (step[0] is None, step[0])) if steps else None


def illegal_moves(reading: Reading, found: History) -> Iterator[Illegal]:
    current = reading.first
    if found.present and not found.present[0].whole:
        # Its first moves may have been dropped; what is left is judged from there.
        present = found.present[0]
        current = found.moves[0].moved_from if found.moves else reading.first if present.kept else present.state
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
        return f"moved from {move.moved_from} before it was requested" if move.moved_from is not None else None
    if move.moved_from != current:
        return f"moved from {move.moved_from} while it was {current}"
    if not machine.allows(current, move.moved_to):
        return f"moved from {current} to {move.moved_to}, which its states do not allow"
    taken_up = current == FAILED or (current, move.moved_to) == (UNDELIVERABLE, PENDING)
    return f"taken up again by {move.actor} instead of an operator" if taken_up and move.actor in NOBODY else None


def illegal_work(reading: Reading, found: History) -> Iterator[Illegal]:
    """What is pending must have work or be watched; what has ended must have no work."""
    if not found.present:
        return
    state, watched = found.present[0].state, found.present[0].watched
    going_on = [message for message in found.messages if message.state != "parked"]
    if state == PENDING and not found.messages and not watched:
        yield None, f"it is {state}, but there is no work for its next step"
    if state in reading.over and going_on:
        yield None, f"it is {state}, and message {going_on[0].id} still works on it"


def illegal_attempts(attempts: list[Any]) -> Iterator[Illegal]:
    """Nothing may be sent again while its result is unknown, and no two attempts may run at the same time."""
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
    """The write whose result is unknown after this attempt, and how many look-ups in a row said that it is absent."""
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
    """Whether the two ran at the same time, by numbers, which no clock puts back. Without a number it ended in time."""
    return before.finished_at is None or (before.end_number is not None and row.id < before.end_number)


def unfounded(reading: Reading, moves: list[Any], attempts: list[Any]) -> Iterator[Illegal]:
    """If a worker says that upstream holds it, an attempt that succeeded must have ended in the same transaction.

    What upstream holds is corrected by a late refusal, too: then it is not ours. Everything that one transaction writes
    has the same timestamp; which time that was does not matter.
    """
    answered_at = {row.finished_at for row in attempts if row.status == "success" and row.purpose != "give_up"}
    corrected_at = {row.finished_at for row in attempts if row.late and row.answered}
    for move in moves:
        good = move.moved_to in reading.answered
        founded = answered_at | corrected_at if move.moved_from in reading.answered else answered_at
        if good and move.actor == "worker" and move.at not in founded:
            yield move.at, f"moved to {move.moved_to} though no attempt had succeeded"
