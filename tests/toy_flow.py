"""A toy flow, whole in one file: a person requests a library card, and the library issues it in the background.

`docs/adding-a-flow.md` tells it step by step. A real flow spreads the same parts over its folder and its job file.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Blueprint, Response
from sqlalchemy import Integer, MetaData, Text, Uuid, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from flaskapp import subjects
from flaskapp.cases.service import close_ended
from flaskapp.db import DbSession, durably
from flaskapp.flows import Content, Flow, Repair, Rule, States, Subject, Work
from flaskapp.statemachine import StateMachine
from flaskapp.upstreams.errors import Rejected, Unanswered
from flaskapp.web import access
from flaskapp.web.inflection import answer
from flaskapp.web.openapi import Answer, describe
from flaskapp.web.shapes import UUID, data_of, thing, word
from jobs.engine.retry import Schedule
from jobs.engine.runner import Job
from jobs.engine.spec import Call, EarlierWrites, Finding, Found, JobSpec, NotFound
from outbox.columns import NOW, Timestamp
from outbox.values import QueueSpec

HOUR = 3600.0

# -- states -------------------------------------------------------------------

PENDING, ISSUED, FAILED = "pending", "issued", "failed"
CARD_STATES = StateMachine(
    subject="library_card",
    moves={
        PENDING: frozenset({ISSUED, FAILED}),
        ISSUED: frozenset(),
        FAILED: frozenset({PENDING}),
    },
    final=frozenset({ISSUED, FAILED}),
)


# -- models -------------------------------------------------------------------


class Base(DeclarativeBase):
    """Metadata of its own: the product's migrations know no toys."""

    metadata = MetaData()


class LibraryCard(Base):
    __tablename__ = "library_cards"

    id: Mapped[uuid.UUID] = mapped_column(Uuid, primary_key=True, default=uuid.uuid4)
    icn: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, server_default=text("'pending'"))
    card_number: Mapped[str | None] = mapped_column(Text)
    notification: Mapped[str | None] = mapped_column(Text)
    cycle: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    requested_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)


# -- service ------------------------------------------------------------------

LIBRARY = QueueSpec("library", upstream="library", threads=4, depth=50, concurrency=10)
ISSUE_WORK = Work("tests.toy_flow.issue_card", LIBRARY, "library_card", 24 * HOUR, 5 * 24 * HOUR)


def request_card(session: DbSession, icn: str) -> LibraryCard:
    """A new card with the message that gets it issued, in the caller's transaction."""
    card = LibraryCard(icn=icn)
    session.add(card)
    session.flush()
    subjects.begin(session, CARD, card)
    enqueue_issue(session, card)
    return card


def enqueue_issue(session: DbSession, card: LibraryCard) -> None:
    ISSUE_WORK.enqueue(session, str(card.id))


def compose_about_card(session: DbSession, card: LibraryCard) -> Content:
    """The text that says what became of the card; its row names the kind."""
    return Content(
        "library",
        {"icn": card.icn, "phone": ""},
        {"claim_number": card.card_number or "none", "appt_date": "today"},
        channel="sms",
    )


NUMBER_RULE = Rule(
    "number_missing",
    "it is issued, and its number is missing",
    "s.state = 'issued' AND EXISTS ( SELECT FROM library_cards c WHERE c.id::text = s.id AND c.card_number IS NULL)",
    Repair.LEAVE_TO_HUMAN,
)
CARD = Subject(
    "library_card",
    case_owner=lambda config: config.case_owner_travel_claim,
    states=States(CARD_STATES, LibraryCard),
    event="library_card",
    enqueue=enqueue_issue,
    compose=compose_about_card,
    rules=(NUMBER_RULE,),
)


def record_issued(session: DbSession, card_id: str, card_number: str) -> None:
    card: LibraryCard = subjects.lock(session, CARD, card_id)
    if card.state == PENDING:
        card.card_number = card_number
        subjects.end(session, CARD, card, ISSUED, "issued")
        close_ended(session, CARD.name, card_id, "issued after all")


def record_card_failed(session: DbSession, card_id: str, kind: str, details: dict[str, Any]) -> None:
    card: LibraryCard = subjects.lock(session, CARD, card_id)
    if card.state == PENDING:
        notification = "unconfirmed" if kind == "may_exist_upstream" else "failed"
        subjects.fail(session, CARD, card, notification, kind, details)


# -- routes -------------------------------------------------------------------

blueprint = Blueprint("library", __name__, url_prefix="/library/v0/cards")
access.declare(blueprint, "anybody: it is a toy")
NEW_CARD = thing("NewCard", {"id": UUID, "state": word(*CARD_STATES.states)})


@blueprint.post("/<icn>")
@describe(
    "Request a library card",
    answers={202: Answer("It will be issued, or you will hear why not.", data_of("AcceptedCard", NEW_CARD))},
)
def post_card(icn: str) -> Response:
    card_id = durably(lambda session: str(request_card(session, icn).id))
    return answer({"data": {"id": card_id, "state": PENDING}}, 202)


# -- the job ------------------------------------------------------------------


class Library:
    """The upstream. `faults` are raised by the next calls, in order; a lost reply still issues the card."""

    def __init__(self) -> None:
        self.issued: dict[str, str] = {}
        self.faults: list[Exception] = []

    def issue(self, reference: str) -> str:
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None and not isinstance(fault, Unanswered):
            raise fault
        number = self.issued.setdefault(reference, f"L{len(self.issued) + 1:04}")
        if fault is not None:
            raise fault
        return number


library = Library()


@dataclass(frozen=True)
class CardWork:
    """What issuing a card needs, copied out of its row."""

    id: str
    icn: str


def load(session: DbSession, card_id: str) -> CardWork | None:
    card = session.execute(select(LibraryCard).filter_by(id=uuid.UUID(card_id))).scalar_one()
    return CardWork(card_id, card.icn) if card.state == PENDING else None


def issue(call: Call, work: CardWork) -> str:
    """Raises the six upstream errors."""
    call.before_write()
    if not work.icn:
        raise Rejected("library", "nobody to issue it to", code="NO_ICN", from_upstream=False)
    return library.issue(work.id)


def look_up_card(call: Call, work: CardWork, earlier: EarlierWrites) -> Finding:
    number = library.issued.get(work.id)
    return Found(number) if number is not None else NotFound()


ISSUE = JobSpec(
    work=ISSUE_WORK,
    writes=True,
    schedule=Schedule(delays=(10.0, 60.0, 300.0), budget_seconds=24 * HOUR),
    lease_seconds=lambda config: 60.0,
    call_seconds=lambda config: 10.0,
    load=load,
    act=issue,
    look_up=look_up_card,
    record=record_issued,
    give_up=record_card_failed,
    ids=lambda number: {"number": number, "digest": number},
    from_ids=lambda kept: kept["number"],
)
issue_card = Job(ISSUE)

# -- the registration ---------------------------------------------------------

TOY = Flow(
    "library",
    subjects=(CARD,),
    works=(ISSUE_WORK,),
    blueprints=(blueprint,),
    notification_kinds={"library": ("issued", "failed", "unconfirmed")},
    sms_senders={"library": lambda config: config.vanotify_sms_sender_id},
)
