"""Migrations of both metadatas, the ledger's and the application's, under one lock so that releases do not race."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

from flaskapp.db import db
from outbox.tables import metadata as ledger

LOCK = 7_350_551


def run() -> None:
    with db.engine.connect() as connection:
        # A migration that cannot get its lock in time fails the release instead of stopping all traffic behind it.
        connection.execute(text("SET lock_timeout = '10s'"))
        connection.execute(text(f"SELECT pg_advisory_lock({LOCK})"))
        connection.commit()
        context.configure(connection=connection, target_metadata=[ledger, db.metadata])
        with context.begin_transaction():
            context.run_migrations()


run()
