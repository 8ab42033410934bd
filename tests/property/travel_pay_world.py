"""The chain of a signed-in claim, with every worker under the test's control: one step of the ledger after another.

Work runs in the thread of the test. A call that takes too long lets everything else go on before it is answered, so
workers overtake each other without threads of their own.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from flask import Flask
from sqlalchemy import text

from flaskapp import REGISTERED, clock
from flaskapp.accounts.service import Identity, remember_person
from flaskapp.audit.report import standing_of
from flaskapp.current import breaker_settings
from flaskapp.db import db, transaction
from flaskapp.requeue import requeue_message
from flaskapp.travel_pay.models import TravelPayClaim
from flaskapp.travel_pay.service import TRAVEL_PAY, TRAVEL_PAY_SUBJECT, RequestedAppointment, request_travel_pay_claim
from jobs import travel_pay
from jobs.engine.runner import Process
from jobs.processes import allow_our_jobs
from outbox import breakers, rescue
from outbox.audit import find_faults
from outbox.relay import Relay
from tests.property.travel_pay_upstream import SLOW, SUBMITTED, Killed, ScriptedTravelPay

STARTS_AT = datetime(2031, 3, 4, 9, 30)
SILENCE_SECONDS = 15.0
WAITS = (6.0, 20.0, 60.0, 240.0, 1000.0, 100_000.0)
# For how many rounds others may overtake a slow worker.
OVERTAKEN = (1, 2, 3)
ROUNDS_TO_DRAIN = 100
TABLES = (
    "travel_pay_claims",
    "accounts",
    "notifications",
    "cases",
    "outbox_messages",
    "outbox_attempts",
    "outbox_history",
    "outbox_breakers",
    "outbox_breaker_trips",
)
LOST = text(
    f"SELECT subject_id, state FROM ({standing_of(TRAVEL_PAY_SUBJECT)}) s WHERE standing = 'unaccounted'"
).bindparams(since=None, until=None, unpromised=[])
PARKED = text("SELECT id FROM outbox_messages WHERE state = 'parked' ORDER BY id")
OUTSTANDING = text("SELECT count(*) FROM outbox_messages WHERE subject_type = 'travel_pay_claim'")
HELD = text("SELECT count(*) FROM cases WHERE subject_id = :id AND closed_at IS NULL")
NOTIFIED = text("SELECT cycle, count(*) FROM notifications WHERE subject_id = :id GROUP BY cycle ORDER BY cycle")


class World:
    """Some people's claims, none of them begun. `draw` picks one of many; nothing is drawn once it is `calm`.

    `plans` holds, by person, how certain calls of theirs must end, in this order.
    """

    def __init__(
        self, app: Flask, monotonic: Callable[[float], None], draw: Callable[[tuple[Any, ...]], Any], people: int
    ) -> None:
        self.app = app
        self.draw = draw
        self.move_monotonic = monotonic
        self.now = 0.0
        self.calm = False
        self.plans: dict[str, list[tuple[str, str]]] = {}
        self.depth = 0
        self.lives = count(1)
        self.pointers: list[tuple[int, int, str]] = []
        self.empty()
        self.upstream = ScriptedTravelPay(self.choose, self.meanwhile)
        clients = app.extensions["upstreams"]
        fakes: dict[str, Any] = {"travel_pay": self.upstream, "travel_pay_filing": self.upstream}
        app.extensions["upstreams"] = replace(clients, **fakes)
        self.relay = Relay(
            db.engine, app.extensions["redis"], (TRAVEL_PAY,), breaker_settings(app.extensions["config"])
        )
        self.claims = {f"ICN{index}": self.ask(f"ICN{index}") for index in range(people)}

    def empty(self) -> None:
        allow_our_jobs(REGISTERED)
        self.app.extensions["redis"].flushall()
        with transaction() as session:
            session.execute(text("; ".join(f"DELETE FROM {table}" for table in TABLES)))
            breakers.ensure_breakers(session, REGISTERED.queues)
            clock.set_offset(session, timedelta())
        self.move_monotonic(0.0)

    def ask(self, icn: str) -> uuid.UUID:
        account_id = uuid.uuid4()
        with transaction() as session:
            remember_person(session, account_id, Identity(icn, email=f"{icn}@example.com"))
            return request_travel_pay_claim(session, account_id, RequestedAppointment(STARTS_AT, "983")).id

    # -- what happens --------------------------------------------------------------------------------

    def choose(self, icn: str, operation: str, endings: tuple[str, ...]) -> str:
        plan = self.plans.get(icn)
        if plan and plan[0][0] == operation:
            return plan.pop(0)[1]
        if self.calm:
            return "answered"
        possible = tuple(ending for ending in endings if not (self.depth and ending in SLOW))
        chosen: str = self.draw(("answered",) * (len(possible) // 2) + possible)
        return chosen

    def meanwhile(self) -> None:
        """A worker is taken for dead while its call is open, and others go on with its message."""
        self.depth += 1
        with self.app.app_context():
            self.advance(SILENCE_SECONDS)
            for _ in range(self.draw(OVERTAKEN)):
                self.round()
            db.session.remove()
        self.depth -= 1

    def advance(self, seconds: float) -> None:
        self.now += seconds
        with transaction() as session:
            clock.set_offset(session, timedelta(seconds=self.now))
        self.move_monotonic(self.now)
        self.upstream.advance(seconds)

    def round(self) -> None:
        """Time passes, dead workers are found, and everything due is worked on; now and then a pointer comes twice."""
        self.advance(1000.0 if self.calm else self.draw(WAITS))
        rescue.rescue_lost(db.engine)
        self.relay.promote()
        fence, claimed = self.relay.claim(TRAVEL_PAY)
        fresh = [(message_id, fence, job) for message_id, job in claimed]
        self.pointers += fresh
        for pointer in fresh:
            self.work(*pointer)
        if self.pointers and not self.calm and self.draw((False, True)):
            self.work(*self.draw(tuple(self.pointers)))
        self.check()

    def work(self, message_id: int, fence: int, job: str) -> None:
        """One attempt by a new worker. A worker that is killed in it does nothing more."""
        self.app.extensions["process"] = Process(f"chain-{next(self.lives)}")
        try:
            getattr(travel_pay, job.rpartition(".")[2])(message_id, fence)
        except Killed:
            return

    def requeue(self) -> None:
        with transaction() as session:
            found = session.execute(PARKED).scalars().all()
        for message_id in found:
            requeue_message(message_id, actor="operator")

    def drain(self) -> None:
        """The upstream is well and operators requeue what is parked: all work must come to its end."""
        self.calm = True
        for _ in range(ROUNDS_TO_DRAIN):
            if not self.has_work():
                return
            self.requeue()
            self.round()
        raise AssertionError("work does not end")

    # -- what must hold ------------------------------------------------------------------------------

    def has_work(self) -> bool:
        with transaction() as session:
            return bool(session.execute(OUTSTANDING).scalar_one())

    def check(self) -> None:
        with transaction() as session:
            assert session.execute(LOST).all() == [], "nobody accounts for a claim"
        for icn in self.claims:
            found = self.upstream.of(icn)
            assert len(found) <= 1, "two claims for one appointment"
            assert all(len(claim.expenses) <= 1 for claim in found), "the way was added twice"

    def check_end(self) -> None:
        """Each claim is on file once and whole, and its person was notified once each time."""
        with transaction() as session:
            # E-mails and alerts stay enqueued: nobody sends them here.
            assert {fault.rule for fault in find_faults(session)} <= {"ready_behind_closed_breaker"}
            for icn, claim_id in self.claims.items():
                row = session.get_one(TravelPayClaim, claim_id)
                (claim,) = self.upstream.of(icn)
                assert row.state in ("submitted", "duplicate"), row.state
                assert row.filed is not None and row.filed["claim_id"] == claim.id
                if row.state == "submitted":
                    assert (claim.status, len(claim.expenses)) == (SUBMITTED, 1)
                else:
                    assert not claim.ours, "our own claim was taken for somebody else's"
                notified = [tuple(counted) for counted in session.execute(NOTIFIED, {"id": str(claim_id)})]
                assert notified == [(cycle, 1) for cycle in range(1, row.cycle + 1)], "notified more or less than once"
                assert session.execute(HELD, {"id": str(claim_id)}).scalar_one() == 0
