"""Commands for the database schema: `flask release`, and `flask db` with Alembic's commands for writing migrations."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import click
from flask import Flask, current_app
from flask.cli import with_appcontext

from flaskapp.crypto import Vault
from flaskapp.current import breaker_settings, flows
from flaskapp.db import DbSession, db, transaction
from flaskapp.keys.checks import WrongKeys
from flaskapp.keys.record import check_before_release, record_keys
from flaskapp.ops import ground
from flaskapp.redis_pool import refuse_redis_cluster
from outbox import breakers, eras, retention

log = logging.getLogger("flaskapp.ops.commands.release")

T = TypeVar("T")
MIGRATIONS = Path(__file__).parents[3] / "migrations"


def alembic(*arguments: str) -> None:
    """Run an Alembic command on our migrations and this application's database.

    Alembic is imported here and not above: it is a tenth of what any process loads at its start, and only these
    commands need it.
    """
    import_module("alembic.config").main(["-c", str(MIGRATIONS / "alembic.ini"), *arguments], prog="flask db")


@click.command("db", context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@with_appcontext
def migrate(arguments: tuple[str, ...]) -> None:
    """Run one of Alembic's commands on the migrations; `flask db --help` lists them."""
    alembic(*arguments)


@click.command("release")
@with_appcontext
def release() -> None:
    """Prepare the database for this version: migrations, circuit breakers, history partitions. Safe to repeat.

    Changes nothing while a notification has no template, because it could not be sent, while a key is missing that
    something stored needs, nor on a server that may lose what it has confirmed. New keys are recorded. While no ITF is
    taken in the background, the templates of ITFs may be missing. In a database restored from a backup it ends with an
    error until `flask after-restore` was run: nothing may be sent before.
    """
    config = current_app.extensions["config"]
    missing = flows().without_template(config)
    if missing:
        raise click.ClickException(f"VANOTIFY_TEMPLATES names no template for {', '.join(missing)}")
    refuse_redis_cluster(current_app.extensions["redis"])
    with db.engine.connect() as connection:
        lossy = ground.loses_commits(connection, config)
    if lossy is not None:
        raise click.ClickException(lossy)
    with_right_keys(check_before_release)
    alembic("-q", "upgrade", "head")
    for print_ in with_right_keys(record_keys):
        log.info("key recorded", extra={"event": "keys.recorded", "key": print_})
    eras.look(db.engine, current_app.extensions["redis"])
    with db.engine.begin() as connection:
        ground.mend_role(connection)
        ground.note_standby(connection)
        breakers.ensure_breakers(connection, flows().queues, flows().sync_upstreams, breaker_settings(config))
    retention.keep(db.engine, config.keep_history_months)
    with db.engine.connect() as connection:
        restored = ground.was_restored(connection)
    if restored is not None:
        raise click.ClickException(restored)
    log.info("released", extra={"event": "release.done"})


def with_right_keys(work: Callable[[DbSession, Vault], T]) -> T:
    """Do something about the keys in a transaction; raises ClickException with what is wrong with them."""
    try:
        with transaction() as session:
            return work(session, current_app.extensions["vault"])
    except WrongKeys as wrong:
        raise click.ClickException(str(wrong)) from wrong
    finally:
        db.session.remove()


def init_app(app: Flask) -> None:
    for command in (migrate, release):
        app.cli.add_command(command)
