"""Migrations of both metadatas, the ledger's and the application's, under one lock so that releases do not race."""

from __future__ import annotations

import time

from alembic import context
from flask import current_app
from sqlalchemy import Connection, NullPool, create_engine, text

from flaskapp.db import db, direct_target, long_work
from outbox import metadata as ledger

LOCK = 7_350_551
LOOK_SECONDS = 0.5


def run() -> None:
    target = direct_target(current_app.extensions["config"], "surefile-migrations")
    # A migration that cannot get its lock in time fails the release instead of stopping all traffic behind it.
    target.settings = {**target.settings, "lock_timeout": "10s"}
    engine = create_engine("postgresql+psycopg2://", creator=target.connect, poolclass=NullPool)
    with long_work(), engine.connect() as alone, engine.connect() as connection:
        # In a transaction of its own, and for that transaction only: a lock of a session would stay in a pooler.
        alone.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        wait_for_lock(alone)
        # A transaction each: what the first one locks must not stay locked while the last one reads a large table.
        context.configure(connection=connection, target_metadata=[ledger, db.metadata], transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()


def wait_for_lock(alone: Connection) -> None:
    """Wait for another release for as long as it takes, without one long statement."""
    while not alone.execute(text(f"SELECT pg_try_advisory_xact_lock({LOCK})")).scalar_one():
        time.sleep(LOOK_SECONDS)


run()
