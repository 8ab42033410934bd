"""Migrations of both metadatas, the ledger's and the application's, under one lock so that releases do not race."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

from flaskapp.db import db
from outbox import metadata as ledger

LOCK = 7_350_551


def run() -> None:
    with db.engine.connect() as connection:
        # A migration that cannot get its lock in time fails the release instead of stopping all traffic behind it.
        connection.execute(text("SET lock_timeout = '10s'"))
        connection.execute(text(f"SELECT pg_advisory_lock({LOCK})"))
        connection.commit()
        # A transaction each: what the first one locks must not stay locked while the last one reads a large table.
        context.configure(connection=connection, target_metadata=[ledger, db.metadata], transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()


run()
