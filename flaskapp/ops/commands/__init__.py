"""Every `flask ...` command of operators. Each module adds its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

import click
from flask import Flask
from flask.cli import with_appcontext
from redis.exceptions import RedisError

from flaskapp import logs
from flaskapp.cases.service import NoSuchCase
from flaskapp.keys.checks import key_watch
from flaskapp.ops.commands import (
    accounts,
    after_restore,
    audit,
    breakers,
    docs,
    documents,
    itf,
    keys,
    ledger,
    release,
    show,
    travel_pay,
    webhooks,
)
from flaskapp.ops.find import NotFound
from flaskapp.webhooks.service import NoSuchWebhook
from outbox import away

log = logging.getLogger("flaskapp.ops.commands")

MODULES = (
    release,
    after_restore,
    show,
    ledger,
    audit,
    breakers,
    itf,
    documents,
    travel_pay,
    accounts,
    keys,
    docs,
    webhooks,
)
# An act of an operator writes, too. The others must run whatever the keys are: they say what is wrong, or read nothing
# that is stored.
NEED_RIGHT_KEYS: tuple[click.Command, ...] = (
    ledger.outbox_cli,
    ledger.cases_cli,
    audit.audit_command,
    breakers.breakers_cli,
    itf.itf_cli,
    documents.documents_cli,
    travel_pay.travel_pay_cli,
    accounts.accounts_cli,
    webhooks.webhooks_cli,
    after_restore.after_restore,
    show.show_anything,
)


def init_app(app: Flask) -> None:
    for module in MODULES:
        module.init_app(app)


def leaves(commands: Iterable[click.Command]) -> Iterator[click.Command]:
    for command in commands:
        if isinstance(command, click.Group):
            yield from leaves(command.commands.values())
        else:
            yield command


def for_people(callback: Callable[..., Any] | None) -> Callable[..., Any]:
    """The command, with one sentence for a person where it fails, and nothing but its answer on stdout."""
    assert callback is not None

    @wraps(callback)
    def run(*args: Any, **options: Any) -> Any:
        with logs.on_stderr():
            try:
                return callback(*args, **options)
            except (click.ClickException, click.exceptions.Exit, click.Abort):
                raise
            except (NotFound, NoSuchCase, NoSuchWebhook) as error:
                raise click.ClickException(str(error)) from error
            except Exception as error:
                log.debug("command failed", exc_info=error, extra={"event": "command.failed"})
                raise click.ClickException(sentence_of(error)) from error

    return run


def sentence_of(error: Exception) -> str:
    """What went wrong, and what to do about it."""
    if away.is_away(error):
        return f"Postgres is away: {away.reason_of(error)}. Nothing was changed that this command did not report."
    if isinstance(error, RedisError):
        return "Redis cannot be reached. Nothing is lost: the work is in Postgres."
    return f"this is a fault of Surefile: {logs.exception_line(error)}. LOG_LEVEL=DEBUG shows where"


def with_right_keys(callback: Callable[..., Any] | None) -> Callable[..., Any]:
    """The command, refused in a shell whose keys are not those of what is stored."""
    assert callback is not None

    @wraps(callback)
    def run(*args: Any, **options: Any) -> Any:
        fault = key_watch().recent_fault()
        if fault is not None:
            raise click.ClickException(fault.sentence)
        return callback(*args, **options)

    return with_appcontext(run)


for each in leaves(NEED_RIGHT_KEYS):
    each.callback = with_right_keys(each.callback)
for each in leaves((*NEED_RIGHT_KEYS, keys.keys_cli, release.release)):
    each.callback = for_people(each.callback)
