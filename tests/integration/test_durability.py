"""Durability of what a promise hangs on, whatever role and server say, and the naming of a server that has none."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql
from sqlalchemy import Connection, Engine, text

from flaskapp.db import db
from outbox import attempts, parked
from outbox.write import add, begin, commit_durably, write_history
from sandbox.servers import OWNER, EmbeddedPostgres
from tests.integration.steps import command, reconfigure
from tests.ledger import ACCEPTED, CALLS, JOB, Ledger
from tests.product import Product

TOY = "subject AS (SELECT gen_random_uuid() AS id)"
WEAK, STRONG = ("off", "local", "remote_write"), ("on", "remote_apply")


@contextmanager
def role_says(postgres: EmbeddedPostgres, engine: Engine, setting: str) -> Iterator[None]:
    """New sessions of our role in this database begin with this setting."""
    role = sql.SQL("ALTER ROLE {} IN DATABASE {}").format(sql.Identifier(OWNER), sql.Identifier(engine.url.database))
    with closing(psycopg2.connect(postgres.admin_url)) as admin:
        admin.autocommit = True
        with admin.cursor() as cursor:
            cursor.execute(sql.SQL("{} SET synchronous_commit = {}").format(role, sql.Literal(setting)))
            engine.dispose()
            try:
                yield
            finally:
                cursor.execute(sql.SQL("{} RESET synchronous_commit").format(role))
                engine.dispose()


def setting_of(connection: Connection) -> str:
    return str(connection.execute(text("SELECT current_setting('synchronous_commit')")).scalar_one())


def work_of(subject: str) -> dict[str, str]:
    return {"job": JOB, "queue": CALLS.name, "subject_type": subject}


def commits_with(ledger: Ledger) -> set[str]:
    """The settings with which every kind of transaction that a promise hangs on would commit."""
    found = set()

    def in_transaction(work: Any, *args: Any, **named: Any) -> Any:
        with ledger.engine.begin() as connection:
            done = work(connection, *args, **named)
            found.add(setting_of(connection))
        return done

    in_transaction(lambda connection: connection.execute(text("SELECT 1")) and commit_durably(connection))
    in_transaction(write_history, "toy", "1", "toy.requested")
    limits = {"deadline_seconds": 60.0, "give_up_seconds": 60.0}
    in_transaction(add, **work_of("toy"), subject_id=secrets.token_hex(4), **limits)
    in_transaction(begin, TOY, {}, what="toy.requested", moved_to="pending", actor="person", **work_of("toy"), **limits)
    done, later, put_aside = ledger.start(), ledger.start(), ledger.start()
    in_transaction(attempts.complete, done, ACCEPTED)
    in_transaction(lambda connection: attempts.finish(connection, later.attempt_id, ACCEPTED))
    in_transaction(attempts.park, put_aside, "for a test", new_fence=parked.draw_fence())
    in_transaction(parked.reopen, put_aside.message_id, actor="shell:somebody")
    return found


@pytest.mark.parametrize("setting", [*WEAK, *STRONG])
def test_what_a_promise_hangs_on_waits_for_the_disk_whatever_the_role_says(
    ledger: Ledger, postgres: EmbeddedPostgres, setting: str
) -> None:
    with role_says(postgres, ledger.engine, setting):
        assert commits_with(ledger) == {"on" if setting in WEAK else setting}


def test_a_release_has_new_sessions_commit_durably_and_leaves_a_stronger_setting(
    product: Product, postgres: EmbeddedPostgres
) -> None:
    for setting, then in (("off", "on"), ("remote_apply", "remote_apply")):
        with role_says(postgres, db.engine, setting):
            assert command(product, "release").exit_code == 0
            db.session.remove()
            db.engine.dispose()
            assert product.value("SHOW synchronous_commit") == then


def test_a_server_that_may_lose_commits_is_named_by_readiness_and_release(product: Product) -> None:
    """The server of the tests is such a one, and the setting allows it."""
    client, why = product.app.test_client(), "may lose what it has confirmed: fsync and full_page_writes off"
    assert client.get("/healthz/ready").status_code == 200
    reconfigure(product, allow_lossy_postgres=False)
    ready, release = client.get("/healthz/ready"), command(product, "release")
    assert (ready.status_code, release.exit_code) == (503, 1)
    assert why in ready.get_json()["reason"] and why in release.output
