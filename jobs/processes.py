"""Processes besides the web: worker, relay and scheduler. Each sends heartbeats, and each stops cleanly."""

from __future__ import annotations

import logging
import os
import secrets
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import psycopg2
from flask import Flask
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from flaskapp.config import Config
from flaskapp.crypto import Vault
from flaskapp.current import breaker_settings
from flaskapp.db import db, listening_target, wait_as_a_process
from flaskapp.flows import Flows
from flaskapp.form526.uploads import PDF_MAKING
from flaskapp.keys.checks import NOT_RECORDED, find_fault, recorded
from flaskapp.ops.counters import flush
from flaskapp.outside.counting import note_relay_lag
from flaskapp.redis_pool import open_redis, refuse_redis_cluster
from flaskapp.requeue import REOPEN_PATH
from jobs.engine.runner import Process
from jobs.engine.turns import Turns
from jobs.periodic.schedule import PERIODIC
from jobs.periodic.scheduler import LedgerScheduler
from jobs.registry import spec_of
from jobs.worker import Bulkhead, fetch_forever, wake_forever
from outbox import WAKE_CHANNEL, Relay, Target, away, connect_autocommit, rescue, rq_side

log = logging.getLogger("jobs.processes")

BEAT_SECONDS = 3.0
# A relay or a scheduler whose rounds do not end does not beat either: it would only look alive.
STUCK_SECONDS = 15.0
# A connection that only listens would never notice that nobody is there any more.
HEARTBEAT_SECONDS = 10.0
WORKER_REDIS_CONNECTIONS = 7
LAST_CALLS_SECONDS = 20.0
AFTER_TROUBLE_SECONDS = 15.0
# A round costs about the same for one message as for twenty. While many come, it waits for those that are committed a
# little later; the first one after a pause never waits.
GATHER_SECONDS = 0.02


def allow_our_jobs(flows: Flows) -> None:
    """From here on, this process runs these callables out of Redis and no others: a planted function name is an attack.

    A registered job that does not exist stops the start.
    """
    for path in flows.works:
        spec_of(path)
    rq_side.LedgerJob.allowed = frozenset({*flows.works, *(entry.path for entry in PERIODIC), REOPEN_PATH})


def stop_on_signals(stopping: threading.Event) -> None:
    """Set the flag at SIGTERM, SIGINT or SIGHUP. SIGTERM comes to every process of a dyno and may come twice; SIGHUP
    comes when a terminal or an ssh session closes, and is no reason to drop calls in progress. Under `nohup` it is
    ignored as before.

    A thread of its own takes the signals, and must be started before any other thread. A signal handler would interrupt
    the main thread anywhere, also inside `Event.set` or `Event.wait`: there, setting the flag would block for ever.
    """
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    start_thread(set_at_signals, numbers, stopping, name="signals")


def set_at_signals(numbers: Sequence[signal.Signals], stopping: threading.Event) -> None:
    while True:
        signal.sigwait(numbers)
        stopping.set()


def beat_until(
    engine: Engine, vault: Vault, process: Process, kind: str, version: str | None, stopping: threading.Event
) -> None:
    """Beat until the process stops. A worker beats whatever its calls do: what it holds must not be taken from it."""
    while True:
        try:
            if kind == "worker" or time.monotonic() - process.moved_at < STUCK_SECONDS:
                rescue.beat(engine, process.worker_id, kind, version)
            rescue.keep(engine, process.worker_id, process.kept_grants())
            rescue.hand_back(engine, process.worker_id, process.take_abandoned())
            stop_with_wrong_keys(engine, vault, process)
            flush(engine)
        except SQLAlchemyError as error:
            log.warning("beat failed", extra={"event": "process.beat_failed", **described(error)})
        if stopping.wait(BEAT_SECONDS):
            return


def described(error: Exception) -> dict[str, str]:
    return {"error": type(error).__name__, "why": away.reason_of(error)}


def stop_with_wrong_keys(engine: Engine, vault: Vault, process: Process) -> None:
    """Stop as at SIGTERM when the key that this process writes with is being retired. Raises what Postgres raises."""
    with connect_autocommit(engine) as connection:
        fault = find_fault(recorded(connection), vault)
    if fault is not None:
        process.stop_for(fault.sentence)


def await_keys(app: Flask, process: Process) -> bool:
    """Whether this process may begin. It may not before its keys were compared with those of what is stored: work that
    is begun with others ends in vain. Waits for Postgres, and for a release that records the keys.

    A start needs every key that was recorded; what runs already need not know those of a newer release.
    """
    while not process.stopping.is_set():
        try:
            with connect_autocommit(db.engine) as connection:
                fault = find_fault(recorded(connection), app.extensions["vault"], newer_too=True)
            why = "no release yet"
        except SQLAlchemyError as error:
            fault, why = NOT_RECORDED, type(error).__name__
        if fault is None:
            return True
        if fault == NOT_RECORDED:
            log.warning("keys unknown", extra={"event": "process.keys_unknown", "error": why})
            process.stopping.wait(BEAT_SECONDS)
        else:
            process.stop_for(fault.sentence)
    return False


def start_thread(target: Callable[..., None], *args: Any, name: str) -> threading.Thread:
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    thread.start()
    return thread


def start_process(app: Flask, kind: str) -> tuple[Process, threading.Event]:
    """Name this process, start its heartbeat, listen for signals, and wait until its keys are found to be the right
    ones. It beats until `stop_process`; raises SystemExit, with what to do, when it must not run with these keys."""
    refuse_redis_cluster(app.extensions["redis"])
    process = Process(f"{kind}-{os.getpid()}-{secrets.token_hex(4)}")
    app.extensions["process"] = process
    beating = threading.Event()
    stop_on_signals(process.stopping)
    wait_as_a_process(app)
    engine = db.engine
    version = app.extensions["config"].release_version
    start_thread(beat_until, engine, app.extensions["vault"], process, kind, version, beating, name="beat")
    if not await_keys(app, process):
        stop_process(process, beating, kind)
    log.info("started", extra={"event": f"{kind}.started", "process_id": process.worker_id})
    return process, beating


def stop_process(process: Process, beating: threading.Event, kind: str) -> None:
    """Say goodbye. Raises SystemExit with the reason, if it stops because of something that an operator has to mend."""
    beating.set()
    try:
        flush(db.engine)
        rescue.end_process(db.engine, process.worker_id)
    except SQLAlchemyError as error:
        log.warning("could not say goodbye", extra={"event": "process.leave_failed", "error": type(error).__name__})
    log.info("stopped", extra={"event": f"{kind}.stopped", "process_id": process.worker_id})
    if process.fault is not None:
        sys.exit(f"surefile: {process.fault}")


def run_worker(app: Flask) -> None:
    """Work until SIGTERM. Then take nothing more, let calls finish for 20 seconds, hand back the rest, and exit."""
    flows: Flows = app.extensions["flows"]
    config: Config = app.extensions["config"]
    allow_our_jobs(flows)
    # Before there is any thread: where numpy is installed, this imports it, and numpy changes the environment as it is
    # imported. C code that reads the environment on another thread at that moment, as libpq does, ends the process.
    import_module(PDF_MAKING)
    # One connection listens for pushes; fetchers and the jobs' bookkeeping share the others.
    redis = app.extensions["redis"] = open_redis(config, WORKER_REDIS_CONNECTIONS)
    process, beating = start_process(app, "worker")
    process.turns = Turns(turns_of(config))
    bulkheads = [Bulkhead(replace(queue, threads=min(queue.threads, config.worker_calls))) for queue in flows.queues]
    fetchers = [
        start_thread(
            fetch_forever, app, redis, bulkhead, process.worker_id, process.stopping, name=f"fetch-{bulkhead.spec.name}"
        )
        for bulkhead in bulkheads
    ]
    start_thread(wake_forever, redis, bulkheads, process.stopping, name="wake")
    process.stopping.wait()
    deadline = time.monotonic() + LAST_CALLS_SECONDS
    while time.monotonic() < deadline and (
        any(bulkhead.running for bulkhead in bulkheads) or any(fetcher.is_alive() for fetcher in fetchers)
    ):
        time.sleep(0.05)
    hand_back_rest(process, redis, bulkheads)
    try:
        stop_process(process, beating, "worker")
    except SystemExit as refused:
        sys.stderr.write(f"{refused.code}\n")
    # Threads may still wait for an upstream. Nobody could record their answers: this process has left.
    logging.shutdown()
    os._exit(0 if process.fault is None else 1)


def turns_of(config: Config) -> int:
    """How many threads of a worker's lanes use Postgres at once. Of its connections, one is left for the heartbeat and
    one for calls that read what they send."""
    return max(1, config.database_pool_size - 2)


def hand_back_rest(process: Process, redis: Redis, bulkheads: list[Bulkhead]) -> None:
    """Hand back what is still running: writes that were begun become unknown, and all is due at once. The dashboard no
    longer shows it as started."""
    try:
        rescue.hand_back(db.engine, process.worker_id, process.take_unbegun(), begun=False)
        rescue.hand_back(db.engine, process.worker_id, process.open_grants())
    except SQLAlchemyError as error:
        log.warning("left to rescue", extra={"event": "worker.hand_back_failed", "error": type(error).__name__})
    try:
        for bulkhead in bulkheads:
            rq_side.forget_started(redis, bulkhead.spec.name, list(bulkhead.running))
    except (RedisError, OSError) as error:
        log.warning("left to the sweep", extra={"event": "worker.tidy_failed", "error": type(error).__name__})


class Listener:
    """A direct connection that LISTENs for new work. Without it, the relay still looks every second.

    Through a pooler it does not listen: the server's session would belong to somebody else a moment later.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.connection: Any = None
        self.heard_at = 0.0

    def wait(self, seconds: float, gather: bool = False) -> None:
        """Return after the first NOTIFY, at once or, to `gather` more work, a little later; or after `seconds`. A lost
        connection is made again."""
        try:
            if self.target.pooled:
                time.sleep(seconds)
                return
            if self.connection is None or self.connection.closed:
                self.listen()
                return
            if select.select([self.connection], [], [], seconds)[0]:
                if gather:
                    time.sleep(GATHER_SECONDS)
                self.heard_at = time.monotonic()
            elif time.monotonic() - self.heard_at > HEARTBEAT_SECONDS:
                self.ask("SELECT 1")
            self.connection.poll()
            self.connection.notifies.clear()
        except (psycopg2.Error, OSError):
            self.close()
            time.sleep(seconds)

    def listen(self) -> None:
        self.connection = self.target.connect()
        if self.target.pooled:
            self.close()
            return
        self.connection.autocommit = True
        self.ask(f"LISTEN {WAKE_CHANNEL}")

    def ask(self, statement: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
        self.heard_at = time.monotonic()

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection = None


def run_relay(app: Flask) -> None:
    """Move work to Redis until SIGTERM. Any trouble only makes the next round later."""
    config: Config = app.extensions["config"]
    process, beating = start_process(app, "relay")
    relay = Relay(db.engine, app.extensions["redis"], app.extensions["flows"].queues, breaker_settings(config))
    relay.note_lag = note_relay_lag
    listener = Listener(listening_target(config))
    while not process.stopping.is_set():
        try:
            pause = relay.run_once()
            process.move()
        except SQLAlchemyError as error:
            log.warning("round failed", extra={"event": "relay.round_failed", **described(error)})
            relay.next_rescue = time.monotonic() + AFTER_TROUBLE_SECONDS
            pause = 1.0
        if pause:
            listener.wait(pause, gather=relay.moved > 1)
    stop_process(process, beating, "relay")


def run_scheduler(app: Flask) -> None:
    process, beating = start_process(app, "scheduler")
    LedgerScheduler(app.extensions["redis"]).run_until(process.stopping, process.move)
    stop_process(process, beating, "scheduler")
