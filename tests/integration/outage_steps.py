"""A day without BTSSS on a fast clock: people keep requesting claims, probes go out, and then it is back.

Claims, Postgres, Redis, relay, worker and settle are real; what BTSSS answers is scripted. One claim is requested as
people do it. The others are copies of its rows, each with its own request time and its own appointment day.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain, repeat

import pytest
from redis import Redis

from flaskapp.current import breaker_settings
from flaskapp.db import db, transaction
from flaskapp.travel_claims.service import TRAVEL_CLAIMS, ClaimWork, Filed
from flaskapp.travel_claims.states import SUBMITTED
from flaskapp.upstreams.errors import Unavailable
from jobs import travel_claims
from jobs.engine.runner import Job
from jobs.engine.spec import Call
from jobs.registry import spec_of
from jobs.travel_claims import Filing
from outbox import breakers, forecast, rq_side
from outbox.relay import Relay
from tests.integration.steps import command, file_claim, reconfigure
from tests.product import Product

QUEUE = TRAVEL_CLAIMS.name
MAINTENANCE, OUTAGE = timedelta(hours=2), timedelta(hours=24)
# The longest time that a breaker stays open: each step sends one probe.
STEP = timedelta(minutes=15)
# Twelve times the slow start of production, so that the seconds this machine takes do not matter.
DOUBLING = timedelta(minutes=1)

MESSAGE = "job, args, queue, upstream, subject_type, state"
ASK = f"""
    WITH pattern AS (
        SELECT * FROM jsonb_populate_record(NULL::outbox_messages, CAST(:message AS jsonb))
    ), requested AS (
        INSERT INTO travel_claims
        SELECT (jsonb_populate_record(claim, jsonb_build_object('id', gen_random_uuid(), 'requested_at', outbox_now(),
                'appointment_date', claim.appointment_date + (:before + number)::int))).*
          FROM travel_claims claim, generate_series(1, :count) AS number WHERE claim.id = CAST(:like AS uuid)
        RETURNING id::text
    ), recorded AS (
        INSERT INTO outbox_history (subject_type, subject_id, what, moved_to, actor)
        SELECT 'travel_claim', id, 'travel_claim.requested', 'pending', 'person' FROM requested
    )
    INSERT INTO outbox_messages (subject_id, due_at, deadline_at, give_up_at, {MESSAGE})
    SELECT requested.id, outbox_now(), outbox_now() + (deadline_at - created_at),
           outbox_now() + (give_up_at - created_at), {MESSAGE}
      FROM requested, pattern RETURNING 1
"""
WAITING = "SELECT count(*) FROM outbox_messages WHERE queue = :queue AND state IN ('later', 'ready')"
# What one round of the relay let through, read before any of it runs.
TAKEN = """
    SELECT count(*) AS taken, count(*) FILTER (WHERE deadline_at <= outbox_now()) AS missed,
           max(deadline_at) FILTER (WHERE deadline_at > outbox_now()) AS latest, outbox_now() AS looked_at,
           (SELECT min(deadline_at) FROM outbox_messages
             WHERE queue = :queue AND state = 'ready' AND deadline_at > outbox_now()) AS earliest_left,
           (SELECT count(*) FROM outbox_messages
             WHERE queue = :queue AND state = 'ready' AND deadline_at <= outbox_now()) AS missed_left
      FROM outbox_messages WHERE queue = :queue AND state = 'published'
"""
BY_DEADLINE = """
    SELECT id FROM outbox_messages WHERE queue = :queue AND state = 'published'
     ORDER BY (deadline_at <= outbox_now()), deadline_at, id
"""


@dataclass(frozen=True)
class Sample:
    """Redis at one point in time: the pointers that wait in it, and its bytes."""

    waiting: int
    bytes: int


@dataclass(frozen=True)
class Tick:
    """What passed in one tick of the recovery, compared with what was left behind."""

    at: datetime
    taken: int
    missed: int
    missed_left: int
    in_order: bool


@dataclass
class BTSSS:
    """Scripted BTSSS: it refuses connections while it is away and files every claim otherwise."""

    away: bool = True
    requested: int = 0
    filed: list[str] = field(default_factory=list)

    def act(self, call: Call, work: ClaimWork) -> Filing:
        self.requested += 1
        if self.away:
            raise Unavailable("btsss", "connection refused", unreachable=True)
        call.before_write()
        self.filed.append(str(work.id))
        return Filing(SUBMITTED, "created", Filed(f"TC{len(self.filed):012}", "answered"))


class Day:
    """Two hours of announced maintenance, after which BTSSS stays away for another day."""

    def __init__(self, product: Product, submissions: int) -> None:
        self.product = product
        self.btsss = BTSSS()
        self.passed = timedelta()
        self.requested = 0
        self.submissions = submissions
        self.samples: list[Sample] = []
        self.calls: list[int] = []
        self.ticks: list[Tick] = []
        reconfigure(product, retry_scale=1.0, breaker_open_seconds=15.0, breaker_cap_seconds=STEP.total_seconds())
        patience = replace(
            breaker_settings(product.app.extensions["config"]), slow_start_seconds=DOUBLING.total_seconds()
        )
        self.relay = Relay(db.engine, product.redis, (TRAVEL_CLAIMS,), patience)
        self.first = file_claim(product)
        self.message = json.dumps(self.first.message, default=str)

    def go_by(self) -> None:
        """Run from the first submission to the last probe that finds BTSSS still away."""
        steps = (MAINTENANCE + OUTAGE) // STEP
        command(self.product, "breakers", "hold", "btsss", "--for", "2h", "--reason", "announced maintenance")
        for step in range(1, steps + 1):
            self.ask((self.submissions - 1) * step // steps - self.requested)
            self.pass_time(STEP)
            before = self.btsss.requested
            self.run()
            self.calls.append(self.btsss.requested - before)
        self.waiting_at_the_end = int(self.product.value(WAITING, queue=QUEUE))
        self.charged_at_the_end = int(self.product.value("SELECT count(*) FROM outbox_attempts WHERE charged"))
        with transaction() as session:
            self.closed_seconds_at_the_end = breakers.closed_seconds(
                session, "btsss", self.first.message["budget_from"]
            )
            (self.outlook_at_the_end,) = forecast.by_queue(session)

    def ask(self, more: int) -> None:
        values = {"like": self.first.id, "message": self.message, "before": self.requested, "count": more}
        self.requested += len(self.product.rows(ASK, **values))

    def pass_time(self, span: timedelta) -> None:
        self.passed += span
        self.product.move_clock(self.passed)

    def run(self) -> None:
        """One round of the relay, and every job that it let through."""
        self.product.beat()
        self.relay.run_once()
        self.sample()
        self.product.run_queued()
        self.sample()

    def sample(self) -> None:
        redis: Redis = self.product.redis
        waiting = int(redis.llen(rq_side.open_queue(redis, QUEUE).key))
        self.samples.append(Sample(waiting, int(redis.info("memory")["used_memory"])))

    def recover(self, at_least: int) -> None:
        """BTSSS is back: the probe, then one tick for each doubling of the slow start, until so many are filed."""
        self.btsss.away = False
        for span in chain((STEP, timedelta()), repeat(DOUBLING)):
            self.pass_time(span)
            self.product.beat()
            self.relay.run_once()
            self.ticks.append(self.look())
            self.sample()
            self.product.run_queued()
            if len(self.btsss.filed) >= at_least:
                return

    def look(self) -> Tick:
        ((taken, missed, latest, looked_at, earliest_left, missed_left),) = self.product.rows(TAKEN, queue=QUEUE)
        due = [row.id for row in self.product.rows(BY_DEADLINE, queue=QUEUE)]
        listed = [rq_side.read_job_id(each) for each in rq_side.open_queue(self.product.redis, QUEUE).get_job_ids()]
        in_order = [found[0] for found in listed if found is not None] == due
        if latest is not None and earliest_left is not None:
            in_order = in_order and latest <= earliest_left
        return Tick(looked_at, taken, missed, missed_left, in_order)


@contextmanager
def scripted(day: Day) -> Iterator[Day]:
    """The worker's calls reach the scripted BTSSS instead of one on the wire."""
    with pytest.MonkeyPatch.context() as patch:
        spec = replace(travel_claims.SUBMIT, act=day.btsss.act)
        patch.setattr(travel_claims, "file_check_in_claim", Job(spec))
        spec_of.cache_clear()
        yield day
    spec_of.cache_clear()
