"""What each process does when its turn comes: relays, workers, the sweep, requests and operators, all in real code."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from io import BytesIO
from itertools import count
from threading import Event
from typing import Any
from uuid import UUID

from psycopg2 import errors
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.registry import FailedJobRegistry

from flaskapp.audit.repair import repair_broken
from flaskapp.audit.report import audit
from flaskapp.cases.service import open_case
from flaskapp.check_in.service import Identity
from flaskapp.current import breaker_settings
from flaskapp.db import db, durably, transaction
from flaskapp.form526.attachments.intake import keep_file
from flaskapp.form526.attachments.types import FileType
from flaskapp.form526.service import request_submission
from flaskapp.intent_to_file.service import request_itf
from flaskapp.intent_to_file.states import COMPENSATION
from flaskapp.notifications.service import record_delivery
from flaskapp.requeue import REOPEN_PATH, Refused, requeue_message
from flaskapp.travel_claims.service import request_check_in_claim
from jobs import housekeeping
from jobs.engine.runner import Process
from jobs.processes import hand_back_rest, stop_process
from outbox import LedgerJob, parked, rescue, rq_side
from outbox.relay import Relay
from outbox.values import QueueSpec
from tests.simulator.fetching import THREADS_A_WORKER, Fetching
from tests.simulator.hub import Hub, PromiseBroken, Task
from tests.simulator.product import Product
from tests.simulator.scripted_redis import ScriptedRedis
from tests.simulator.signed_in import icn_of
from tests.simulator.upstreams import BEGAN, STATION

DAY = date(2031, 3, 4)
LETTER_BYTES = b"What I have to show.\n"
LETTER = FileType("txt", "text/plain")
RELAYS = ("relay-1", "relay-2")
WORKERS = ("worker-1", "worker-2", "worker-3")
# Nobody moves while this waits, so a lock on the row that is held now is never released.
BEATS = """
    SET lock_timeout = '50ms';
    INSERT INTO outbox_processes (id, kind) SELECT unnest(%s::text[]), 'worker'
    ON CONFLICT (id) DO UPDATE SET beat_at = outbox_now()
"""


@dataclass
class Taken:
    """What one task took while nobody else moved, and what Redis showed as begun before."""

    queue: str
    before: set[bytes]
    pointers: list[tuple[int, int]]


def keep_letter(account_id: UUID, number: int) -> UUID:
    """The guid of a new file, whose name no other has."""
    return keep_file(account_id, f"letter {number}.txt", LETTER, BytesIO(LETTER_BYTES), len(LETTER_BYTES))


def form_with(guid: UUID, remarks: str) -> dict[str, Any]:
    return {"remarks": remarks, "attachments": [{"name": "letter", "confirmation_code": str(guid)}]}


class Processes:
    """All processes of one seed. Each method starts one task, or does nothing where there is nothing to do."""

    def __init__(self, product: Product, hub: Hub, redis: ScriptedRedis, queues: tuple[QueueSpec, ...]) -> None:
        self.product, self.hub, self.redis, self.queues = product, hub, redis, queues
        self.lives = count(1)
        self.callers = count(1)
        self.accepted: dict[str, str] = {}
        self.letters: dict[tuple[UUID, str], UUID] = {}
        self.granted: set[tuple[int, int]] = set()
        self.taken: Taken | None = None
        self.relays = {name: self.new_relay() for name in RELAYS}
        self.workers: dict[str, Fetching] = {}
        for name in WORKERS:
            self.begin(name)

    def begin(self, name: str) -> None:
        """A new life of a process, as its start-up leaves it."""
        if name in self.relays:
            self.relays[name] = self.new_relay()
        elif name in WORKERS:
            process = self.process_of(name, Process(f"{name}.{next(self.lives)}"))
            self.workers[name] = Fetching(
                self.product.apps[name], process, self.hub, self.redis, self.check_job, self.product.rng
            )
            self.beats([name])

    def new_relay(self) -> Relay:
        return Relay(self.product.engine, self.redis, self.queues, breaker_settings(self.product.config))  # type: ignore[arg-type]

    def process_of(self, name: str, new: Process | None = None) -> Process:
        extensions = self.product.apps[name].extensions
        extensions["process"] = new or extensions["process"]
        found: Process = extensions["process"]
        return found

    def beats(self, names: list[str]) -> None:
        """The heartbeats of processes that are not stalled, every few seconds."""
        ids = [self.process_of(name).worker_id for name in names]
        try:
            self.product.server.look(BEATS, ids)
        except errors.LockNotAvailable:
            for identifier in ids:
                # A process whose own heartbeat or goodbye stands still and holds the row writes no other meanwhile.
                with suppress(errors.LockNotAvailable):
                    self.product.server.look(BEATS, [identifier])

    def start(self, owner: str, name: str, work: Callable[[], Any], app: str = "product") -> Task:
        def within() -> None:
            with self.product.apps[app].app_context():
                work()

        return self.hub.start(owner, name, within)

    # -- relays and the sweep -----------------------------------------------------------------------

    def relay_round(self, name: str) -> None:
        if not self.hub.tasks_of(name):
            self.hub.start(name, "round", self.relays[name].run_once)

    def sweep(self) -> None:
        if not self.hub.tasks_of("product"):
            self.start("product", "sweep", housekeeping.sweep)

    # -- workers ------------------------------------------------------------------------------------

    def take_pointers(self, name: str, queue: QueueSpec) -> None:
        if len(self.hub.tasks_of(name)) < THREADS_A_WORKER and self.redis.waiting(queue.name):
            worker = self.workers[name]
            task = self.hub.start(name, f"fetcher of {queue.name}", lambda: self.run_pointers(worker, task, queue))

    def run_pointers(self, worker: Fetching, task: Task, queue: QueueSpec) -> None:
        undisturbed, before = self.hub.calm and self.hub.tasks == [task], self.redis.data.begun(queue.name)
        pointers = worker.take_some(queue)
        if undisturbed:
            if not pointers and self.redis.waiting(queue.name):
                raise PromiseBroken("a pointer waits, and the worker has no thread for it")
            self.taken = Taken(queue.name, before, pointers)

    def check_redis(self) -> None:
        """When nobody else moved, nothing is left of what was taken, once all of it was handled."""
        taken, self.taken = self.taken, None
        if taken is None:
            return
        if left := self.redis.data.begun(taken.queue) - taken.before:
            raise PromiseBroken(f"Redis holds for begun what has ended: {sorted(left)}")
        for pointer in taken.pointers:
            if self.redis.data.hgetall(rq_side.LedgerJob.key_for(rq_side.job_id(*pointer))):
                raise PromiseBroken(f"Redis keeps the job of a pointer that was followed: {pointer}")

    def check_upstream(self, task: Task) -> None:
        """A job reaches an upstream only when its own pointer was granted, and never before."""
        if task.granted:
            return
        if task.pointer is None:
            raise PromiseBroken("a requeue called an upstream")
        if task.pointer in self.granted:
            raise PromiseBroken("two grants under one fence")
        query = "SELECT 1 FROM outbox_attempts WHERE message_id = %s AND fence = %s"
        if not self.product.server.look(query, *task.pointer) and not self.product.server.restarts:
            raise PromiseBroken("granted to a stale pointer")
        self.granted.add(task.pointer)
        task.granted = True

    def check_job(self, tasks: list[Task], job: LedgerJob) -> None:
        """The upstream's answer is on an attempt; a pointer that was not granted was not the current one. The tasks
        are those that worked on it, and the one that ended it."""
        look, pointer = self.product.server.look, rq_side.read_job_id(job.id)
        for answer in (answer for task in tasks[1:] for answer in task.answers):
            digest = self.product.apps["product"].extensions["vault"].digest(*answer)
            query = "SELECT 1 FROM outbox_attempts WHERE status = 'success' AND upstream_ids->>'digest' = %s"
            if not look(query, digest):
                raise PromiseBroken("an answer was dropped")
        if pointer is None:
            return
        if job.func_name == REOPEN_PATH:
            if look("SELECT 1 FROM outbox_attempts WHERE message_id = %s AND fence = %s", *pointer):
                raise PromiseBroken("a requeue granted")
        elif not any(task.granted or task.troubled for task in tasks):
            query = "SELECT 1 FROM outbox_messages WHERE id = %s AND fence = %s AND state = 'published'"
            if look(query, *pointer):
                raise PromiseBroken("a pointer that was the current one was dropped")

    def beat(self, name: str) -> None:
        process = self.process_of(name)

        def work() -> None:
            rescue.beat(db.engine, process.worker_id, "worker")
            rescue.keep(db.engine, process.worker_id, process.kept_grants())
            rescue.hand_back(db.engine, process.worker_id, process.take_abandoned())

        self.start(name, "beat", work, app=name)

    def stop(self, name: str) -> None:
        """SIGTERM, and the last calls do not end in time."""
        process, worker = self.process_of(name), self.workers[name]
        process.stopping.set()

        def work() -> None:
            hand_back_rest(process, self.redis, list(worker.bulkheads.values()))  # type: ignore[arg-type]
            stop_process(process, Event(), "worker")
            self.hub.leaving.append(name)

        self.start(name, "stop", work, app=name)

    # -- the web ------------------------------------------------------------------------------------

    def ask(self, icn: str) -> None:
        """Somebody requests a claim. Only what was answered with a 202 counts as accepted."""

        def work() -> None:
            identity = Identity(icn, None, STATION, "vamc")
            self.accepted[icn] = durably(lambda session: str(request_check_in_claim(session, identity, DAY).id))

        self.start(f"web-{next(self.callers)}", f"claim of {icn}", work)

    def ask_for_itf(self, account_id: UUID) -> None:
        """A signed-in person requests an intent to file."""

        def work() -> None:
            durably(lambda session: request_itf(session, account_id, COMPENSATION))
            self.accepted[f"ITF of {account_id}"] = str(account_id)

        self.start(f"web-{next(self.callers)}", f"ITF of {icn_of(account_id)}", work)

    def send_form(self, account_id: UUID, remarks: str) -> None:
        """A signed-in person adds a letter and sends a form that names it; the same remarks are the same form."""

        def work() -> None:
            guid = self.letters.get((account_id, remarks))
            if guid is None:
                guid = self.letters.setdefault((account_id, remarks), keep_letter(account_id, next(self.callers)))
            form = form_with(guid, remarks)
            found = durably(lambda session: request_submission(session, account_id, form))
            assert found is not None
            self.accepted[f"form {remarks} of {account_id}"] = str(found.id)

        self.start(f"web-{next(self.callers)}", f"form {remarks} of {icn_of(account_id)}", work)

    def poll_documents(self) -> None:
        if not self.hub.tasks_of("product"):
            self.start("product", "tick of polls", housekeeping.poll_documents)

    def repair(self) -> None:
        """`flask audit --repair`, without what Redis holds, which the sweep repairs too."""

        def work() -> None:
            with transaction() as session:
                report = audit(session)
            repair_broken(report, "shell")

        if not self.hub.tasks_of("product"):
            self.start("product", "repair", work)

    def call_back(self, reference: str, status: str, age: float) -> None:
        """VANotify reports what became of a text, now or as it was some seconds before."""
        at = BEGAN + timedelta(seconds=self.hub.now - age)

        def work() -> None:
            with transaction() as session:
                record_delivery(session, UUID(reference), status, at, actor="VANotify callback")

        self.start(f"web-{next(self.callers)}", f"callback {status}", work)

    # -- operators ----------------------------------------------------------------------------------

    def reopen(self, message_id: int) -> None:
        def work() -> None:
            try:
                requeue_message(message_id, actor="shell")
            except Refused:
                return

        self.start(f"operator-{next(self.callers)}", f"reopens {message_id}", work)

    def requeue(self, identifier: str, queue: QueueSpec) -> None:
        """The dashboard's button: RQ's own code."""

        def work() -> None:
            registry = FailedJobRegistry(queue=rq_side.open_queue(self.redis, queue.name))  # type: ignore[arg-type]
            registry.job_class = rq_side.LedgerJob
            try:
                registry.requeue(identifier)
            except (InvalidJobOperation, NoSuchJobError):
                return

        self.start(f"operator-{next(self.callers)}", f"requeues {identifier.partition('-')[0]}", work)

    def park(self, message_id: int) -> None:
        def work() -> None:
            with transaction() as session:
                row = parked.park_waiting(session, message_id, reason="by hand", actor="shell")
                if row is not None:
                    open_case(session, "parked_by_hand", row.subject_type, row.subject_id, {"message": message_id})

        self.start(f"operator-{next(self.callers)}", f"parks {message_id}", work)
