"""Work that one process at a time may do, under an advisory lock: Postgres gives it back when its connection ends."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import text

from flaskapp.db import db
from outbox.autocommit import connect_autocommit

# Held by the sweep and by `flask audit --repair`: both give back, park and show what is owed.
SWEEP = "surefile.sweep"
# Longer than a sweep takes.
PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.2


def alone(name: str, work: Callable[[], None], patient: bool = False) -> bool:
    """Run it under this lock; False when somebody else has it or, to who is patient, keeps it."""
    give_up_at = time.monotonic() + (PATIENCE_SECONDS if patient else 0.0)
    with connect_autocommit(db.engine) as lock:
        while not lock.execute(text("SELECT pg_try_advisory_lock(hashtext(:name))"), {"name": name}).scalar_one():
            if time.monotonic() >= give_up_at:
                return False
            time.sleep(LOOK_SECONDS)
        try:
            work()
        finally:
            lock.execute(text("SELECT pg_advisory_unlock(hashtext(:name))"), {"name": name})
    return True
