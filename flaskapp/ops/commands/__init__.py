"""Every `flask ...` command of operators. Each module adds its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

import click
from flask import Flask
from flask.cli import with_appcontext

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
    travel_pay,
)
from flaskapp.ops.operators import operators_cli

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
    after_restore.after_restore,
)


def init_app(app: Flask) -> None:
    for module in (release, after_restore, ledger, audit, breakers, itf, documents, travel_pay, accounts, keys, docs):
        module.init_app(app)
    app.cli.add_command(operators_cli)


def leaves(commands: Iterable[click.Command]) -> Iterator[click.Command]:
    for command in commands:
        if isinstance(command, click.Group):
            yield from leaves(command.commands.values())
        else:
            yield command


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
