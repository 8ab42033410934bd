"""Migrations of both metadatas, the ledger's and the application's, under one lock so that releases do not race."""

from __future__ import annotations

import time

from alembic import context
from flask import current_app
from sqlalchemy import Connection, NullPool, create_engine, text

from flaskapp.db import db, direct_target
from outbox import metadata as ledger

LOCK = 7_350_551
PATIENCE_SECONDS = 10.0
LOOK_SECONDS = 0.2
# An index is built beside the traffic outside any transaction, where the settings that a pooler needs cannot be sent.
THROUGH_A_POOLER = (
    "surefile: a pooler stands before PostgreSQL: set DATABASE_DIRECT_URL to the server itself and release again"
)


def run() -> None:
    target = direct_target(current_app.extensions["config"], "surefile-migrations")
    # A migration that cannot get its lock in time fails the release instead of stopping all traffic behind it.
    target.settings = {**target.settings, "lock_timeout": "10s"}
    engine = create_engine("postgresql+psycopg2://", creator=target.connect, poolclass=NullPool)
    with engine.connect() as alone, engine.connect() as connection:
        if target.pooled:
            raise SystemExit(THROUGH_A_POOLER)
        # In a transaction of its own, and for that transaction only: a lock of a session would stay in a pooler.
        alone.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        wait_for_lock(alone)
        # A transaction each: what the first one locks must not stay locked while the last one reads a large table.
        context.configure(connection=connection, target_metadata=[ledger, db.metadata], transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()


def wait_for_lock(alone: Connection) -> None:
    """Wait a little for another release to end. Stops this one in one line when it does not."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not alone.execute(text(f"SELECT pg_try_advisory_xact_lock({LOCK})")).scalar_one():
        if time.monotonic() >= give_up_at:
            raise SystemExit("surefile: another release is at work: run this one again when it is done")
        time.sleep(LOOK_SECONDS)


run()
