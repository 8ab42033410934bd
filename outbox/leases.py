"""Leases: work that one process at a time does, and when it was done last.

A lease is a row and not an advisory lock. A lock belongs to a session, and a pooler mixes sessions up; and a lock of a
host that was cut off stays until the server notices. A lease ends by itself. Nothing relies on it for being right: two
runs at once do everything once, and only get in each other's way.

Real time counts here, also where the ledger's clock was moved.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from outbox.connections import connect_autocommit
from outbox.write import Database

log = logging.getLogger("outbox.leases")

LEASE_SECONDS = 30.0
RENEW_SECONDS = 8.0
LOOK_SECONDS = 0.2

TAKE = text("""
    INSERT INTO outbox_leases AS l (name, holder, held_until)
    VALUES (:name, :holder, clock_timestamp() + make_interval(secs => :seconds))
    ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder, held_until = EXCLUDED.held_until
     WHERE l.holder IS NULL OR l.held_until < clock_timestamp()
    RETURNING name
""")
RENEW = text("""
    UPDATE outbox_leases SET held_until = clock_timestamp() + make_interval(secs => :seconds)
     WHERE name = :name AND holder = :holder
""")
END = text("""
    UPDATE outbox_leases
       SET holder = NULL, held_until = NULL, ran_at = CASE WHEN :ran THEN clock_timestamp() ELSE ran_at END,
           passed_over_since = CASE WHEN :ran THEN NULL ELSE passed_over_since END
     WHERE name = :name AND holder = :holder
""")
PASS_OVER = text("""
    UPDATE outbox_leases
       SET passed_over = passed_over + 1, passed_over_since = COALESCE(passed_over_since, clock_timestamp())
     WHERE name = :name RETURNING passed_over
""")
LAST_RUNS = text("""
    SELECT name, extract(epoch FROM clock_timestamp() - ran_at)::float AS age, passed_over,
           extract(epoch FROM clock_timestamp() - passed_over_since)::float AS passed_over_for
      FROM outbox_leases ORDER BY name
""")


@dataclass(frozen=True)
class LastRun:
    """Seconds since the work ended last, None before its first end; and how often it found the lease taken, in all and
    for how many seconds now without a run between."""

    name: str
    age: float | None
    passed_over: int
    passed_over_for: float | None


def run(engine: Engine, name: str, work: Callable[[], None], patience_seconds: float = 0.0) -> bool:
    """Do the work under the lease of this name, which is renewed meanwhile.

    False if another process has it, which is counted. With patience, other work waits so many seconds for the lease:
    it keeps the named work away, and is no run of it.
    """
    values = {"name": name, "holder": secrets.token_hex(8), "seconds": LEASE_SECONDS}
    give_up_at = time.monotonic() + patience_seconds
    while not take(engine, values):
        if time.monotonic() >= give_up_at:
            if not patience_seconds:
                pass_over(engine, name)
            return False
        time.sleep(LOOK_SECONDS)
    ended = threading.Event()
    threading.Thread(target=renew_until, args=(engine, values, ended), name=f"lease-{name}", daemon=True).start()
    try:
        work()
    finally:
        ended.set()
        end(engine, {**values, "ran": not patience_seconds})
    return True


def end(engine: Engine, values: dict[str, object]) -> None:
    """Give the lease back. A run that failed in parts was one, and says itself what failed."""
    try:
        with connect_autocommit(engine) as db:
            db.execute(END, values)
    except SQLAlchemyError as error:
        # It ends by itself. Raised here, this would hide what ended the work.
        log.warning("lease not ended", extra={"event": "lease.not_ended", "error": type(error).__name__})


def take(engine: Engine, values: dict[str, object]) -> bool:
    with connect_autocommit(engine) as db:
        return db.execute(TAKE, values).first() is not None


def renew_until(engine: Engine, values: dict[str, object], ended: threading.Event) -> None:
    """Keep the lease until the work has ended. While Postgres is away it may run out: nothing relies on it."""
    while not ended.wait(RENEW_SECONDS):
        try:
            with connect_autocommit(engine) as db:
                db.execute(RENEW, values)
        except SQLAlchemyError as error:
            extra = {"event": "lease.not_renewed", "work": values["name"], "error": type(error).__name__}
            log.warning("lease not renewed", extra=extra)


def pass_over(engine: Engine, name: str) -> None:
    """Count that this work was due and somebody else had its lease."""
    with connect_autocommit(engine) as db:
        count = db.execute(PASS_OVER, {"name": name}).scalar()
    log.warning("passed over", extra={"event": "lease.passed_over", "work": name, "count": count})


def last_runs(db: Database) -> dict[str, LastRun]:
    """What is known of each work that ever ran, by name. Reads in the caller's transaction."""
    return {row.name: LastRun(*row) for row in db.execute(LAST_RUNS, {}).all()}
