"""The product as a state machine sees it: two relays, two worker processes, one ledger, and a hand on every beat."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from flask import Flask
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer
from sqlalchemy import text

from flaskapp import clock
from flaskapp.audit import CLAIMS, audit
from flaskapp.cases.service import open_case
from flaskapp.crypto import vault
from flaskapp.current import gate_settings
from flaskapp.db import db, transaction
from flaskapp.queues import NOTIFICATIONS, QUEUES, TRAVEL_CLAIMS
from flaskapp.requeue import reopen
from flaskapp.travel_claims.models import TravelClaim
from flaskapp.travel_claims.service import SUBMIT_JOB, Identity, request_claim
from jobs import housekeeping
from jobs.processes import allow_our_jobs
from outbox import attempts, gates, parked, rq_side
from outbox.relay import Relay
from tests.property.upstream import STATION, Call, ScriptedBTSSS, ScriptedVANotify
from tests.property.workers import Worker

DAY = date(2031, 3, 4)
CALL_LIMIT_SECONDS = 120.0
ROUNDS_TO_DRAIN = 30
PEOPLE = 4
TABLES = (
    "travel_claims",
    "notifications",
    "cases",
    "outbox_messages",
    "outbox_attempts",
    "outbox_history",
    "outbox_gates",
    "outbox_gate_closings",
    "outbox_processes",
)
TRIES = """
    SELECT m.id, m.state, m.fence, count(a.id) FILTER (WHERE a.status = 'try') AS tries,
           bool_or(a.status = 'try' AND a.fence = m.fence) AS own
      FROM outbox_messages m LEFT JOIN outbox_attempts a ON a.message_id = m.id
     GROUP BY m.id ORDER BY m.id
"""
UNACCOUNTED = f"SELECT subject_id, state FROM ({CLAIMS}) s WHERE standing = 'unaccounted'"


class World:
    """Everything there is, empty at the start. `now` is in seconds and moves only when `advance` is called."""

    def __init__(self, apps: tuple[Flask, Flask], monotonic: Callable[[float], None]) -> None:
        self.now = 0.0
        self.move_monotonic = monotonic
        self.redis: Redis = apps[0].extensions["redis"]
        self.empty()
        current = threading.local()
        self.btsss = ScriptedBTSSS(lambda: self.now, current)
        self.va_notify = ScriptedVANotify()
        for app in apps:
            clients = app.extensions["upstreams"]
            app.extensions["upstreams"] = replace(clients, btsss=self.btsss, va_notify=self.va_notify)
        settings = gate_settings(apps[0].extensions["config"])
        self.relays = [Relay(db.engine, self.redis, (TRAVEL_CLAIMS,), settings) for _ in range(2)]
        self.workers = [Worker(app, self.redis, current) for app in apps]
        self.claims: list[str] = []
        self.unpushed: list[tuple[int, list[tuple[int, str]]]] = []
        self.pointers: list[tuple[int, int]] = []
        self.granted: set[tuple[int, int]] = set()
        self.parked: list[int] = []

    def empty(self) -> None:
        allow_our_jobs()
        self.redis.flushall()
        with transaction() as session:
            session.execute(text("; ".join(f"DELETE FROM {table}" for table in TABLES)))
            gates.ensure_gates(session, QUEUES)
            clock.set_offset(session, timedelta())
        self.move_monotonic(0.0)

    # -- steps ---------------------------------------------------------------------------------------

    def ask(self) -> None:
        icn = f"ICN{len(self.claims)}"
        with transaction() as session:
            self.claims.append(str(request_claim(session, Identity(icn, None, STATION, "vamc"), DAY).id))

    def at_the_kiosk(self) -> list[str]:
        """Every other person may file there too, behind our back."""
        return [icn for icn in map(self.icn_of, range(1, len(self.claims), 2)) if icn not in self.btsss.claims]

    def icn_of(self, index: int) -> str:
        return f"ICN{index}"

    def note_pointers(self) -> None:
        for row in self.rows("SELECT id, fence FROM outbox_messages WHERE state = 'published' AND queue = :queue"):
            if tuple(row) not in self.pointers:
                self.pointers.append((row.id, row.fence))

    def relay_round(self, relay: Relay) -> None:
        relay.promote()
        relay.move(TRAVEL_CLAIMS)
        self.note_pointers()

    def find_work(self, relay: Relay) -> None:
        """A relay's round; with nothing to do somebody asks for a claim, or a little time passes."""
        self.relay_round(relay)
        if not self.redis.llen(rq_side.open_queue(self.redis, TRAVEL_CLAIMS.name).key):
            self.ask() if len(self.claims) < PEOPLE else self.advance(40.0)
            self.relay_round(relay)

    def push(self, fence: int, claimed: list[tuple[int, str]]) -> None:
        if claimed:
            rq_side.push(self.redis, TRAVEL_CLAIMS.name, claimed, fence, 600)

    def take(self, worker: Worker) -> Call | None:
        call = worker.take(self.now)
        if call is not None and call.waiting:
            self.check_grant(call.pointer)
        return call

    def grant_only(self, worker: Worker) -> None:
        """A worker gets as far as the grant."""
        found = worker.dequeue()
        pointer = rq_side.read_job_id(found[0].id) if found else None
        if found is None or pointer is None or found[0].func_name != SUBMIT_JOB:
            return
        held = attempts.grant(db.engine, *pointer, worker_id=worker.process.worker_id, lease_seconds=310.0, writes=True)
        if held is not None:
            self.check_grant(pointer)

    def park_by_hand(self, index: int) -> None:
        rows = self.rows("SELECT id FROM outbox_messages WHERE queue = :queue ORDER BY id")
        with transaction() as session:
            message_id = rows[index % len(rows)].id if rows else 0
            row = parked.park_waiting(session, message_id, reason="by hand", actor="shell")
            if row is not None:
                open_case(session, "parked_by_hand", row.subject_type, row.subject_id)

    def proceed(self, call: Call, order: Callable[[], Any]) -> None:
        """Let a call go on. An acceptance that reaches a living worker must be on an attempt when it is done."""
        told: list[Any] = []
        call.proceed(lambda: told.append(order()) or told[-1])  # type: ignore[func-returns-value]
        number = getattr(told[0], "claim_number", None) if told else None
        if number and call.over:
            digest = vault().digest("claim", number)
            query = "SELECT id FROM outbox_attempts WHERE status = 'success' AND upstream_ids->>'digest' = :digest"
            assert self.rows(query, digest=digest), "an answer was dropped"

    def finish(self, call: Call, how: str) -> None:
        """All that is left of a call, if it is not over already."""
        if call.waiting == "before the write":
            self.proceed(call, lambda: None)
        if call.waiting:
            self.answer(call, how)

    def answer(self, call: Call, how: str) -> None:
        """Let the upstream end a call in one of its ways; each has its nearest likeness for the other kind of call."""
        btsss, write = self.btsss, call.write
        if (call.waiting or "").startswith("the look-up"):
            icn = (call.waiting or "").rpartition(" ")[2]
            known = how in ("answered", "took effect and lost", "refused")
            return self.proceed(call, lambda: btsss.look(icn) if known else btsss.fail_to_look(how))
        assert write is not None
        if how == "took effect and lost" and btsss.may_take_effect(write):
            btsss.take_effect(write)
        known = how in ("answered", "elsewhere")
        return self.proceed(call, lambda: btsss.answer(write) if known else btsss.fail(write, how))

    def advance(self, seconds: float) -> None:
        """Time passes for Postgres, Python and the workers; calls that take too long end as unanswered."""
        if seconds > CALL_LIMIT_SECONDS:
            self.advance(CALL_LIMIT_SECONDS)
            seconds -= CALL_LIMIT_SECONDS
        self.now += seconds
        with transaction() as session:
            clock.set_offset(session, timedelta(seconds=self.now))
        self.move_monotonic(self.now)
        for worker in self.workers:
            for call in worker.open_calls():
                self.time_out(call)

    def time_out(self, call: Call) -> None:
        if call.waiting == "the write" and call.write and self.now - call.write.at >= CALL_LIMIT_SECONDS:
            write = call.write
            self.proceed(call, lambda: self.btsss.fail(write, "lost"))
        elif (call.waiting or "").startswith("the look-up") and self.now - call.began_at >= CALL_LIMIT_SECONDS:
            self.proceed(call, lambda: self.btsss.fail_to_look("lost"))

    # -- what must hold ------------------------------------------------------------------------------

    def rows(self, query: str, **values: Any) -> list[Any]:
        with transaction() as session:
            return list(session.execute(text(query), {"queue": TRAVEL_CLAIMS.name, **values}).all())

    def check_grant(self, pointer: tuple[int, int]) -> None:
        """A worker was let through to the upstream: by this very pointer, and never before."""
        assert pointer not in self.granted, "two grants under one fence"
        self.granted.add(pointer)
        (row,) = self.rows("SELECT state, fence FROM outbox_messages WHERE id = :id", id=pointer[0])
        assert (row.state, row.fence) == ("running", pointer[1]), "granted to a stale pointer"

    def check(self) -> None:
        """After every step; also notes what is parked now, which decides what an operator may do next."""
        assert not self.btsss.violations, self.btsss.violations
        with transaction():
            messages, lost = self.rows(TRIES), self.rows(UNACCOUNTED, since=None, until=None)
        for row in messages:
            assert row.tries == (row.state == "running"), f"{row.tries} live attempts at a message {row.state}"
            assert row.tries == 0 or row.own, "the live attempt has another fence"
        assert lost == [], "nobody accounts for a claim"
        self.parked = [row.id for row in messages if row.state == "parked"]

    def check_end(self) -> None:
        """Everything is told, once, with the number that the upstream really holds."""
        with transaction() as session:
            report = audit(session)
            assert report.clean, report
            for index, claim_id in enumerate(self.claims):
                claim = session.get_one(TravelClaim, claim_id)
                number = self.btsss.claims[self.icn_of(index)].claim_number
                assert claim.state in ("submitted", "duplicate"), claim.state
                assert claim.filed and claim.filed["claim_number"] == number
                (notice,) = self.rows(
                    "SELECT id FROM notifications WHERE subject_id = :id AND kind = :kind AND cycle = :cycle",
                    id=claim_id,
                    kind=claim.notice,
                    cycle=claim.cycle,
                )
                assert self.va_notify.texts[str(notice.id)] == number[-4:]

    def drain(self) -> None:
        """The upstream is well, operators requeue what is parked, new processes run: all work must come to its end."""
        self.btsss.calm = True
        for worker in self.workers:
            worker.die()
        relay = Relay(db.engine, self.redis, QUEUES, self.relays[0].settings)
        for _ in range(ROUNDS_TO_DRAIN):
            if not self.rows("SELECT 1 FROM outbox_messages"):
                return
            self.advance(1200.0)
            self.workers[0].beat()
            housekeeping.sweep_alone()
            self.check()
            for message_id in self.parked:
                reopen(message_id, actor="drain")
            for _ in range(2):
                self.advance(6.0)
                relay.find_missing()
                self.run_everything(relay)
        raise AssertionError(f"work does not end: {self.rows('SELECT * FROM outbox_messages')}")

    def run_everything(self, relay: Relay) -> None:
        relay.promote()
        for queue in (TRAVEL_CLAIMS, NOTIFICATIONS):
            relay.move(queue)
            rq_queue = rq_side.open_queue(self.redis, queue.name)
            while found := Queue.dequeue_any([rq_queue], None, self.redis, rq_side.LedgerJob, JSONSerializer):
                found[0].perform()

    def close(self) -> None:
        for worker in self.workers:
            worker.bury()
