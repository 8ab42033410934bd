"""Arguments of commands that people type: ids, whole or short, and numbers, refused in words."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from flaskapp.db import transaction
from flaskapp.ops.find import LARGEST_ID, find_one
from outbox import rq_side

Callback = Callable[..., Any]


def id_argument(name: str, kind: str, spoken: str, metavar: str = "ID") -> Callable[[Callback], Callback]:
    """An argument that takes an id of this kind, which is `spoken` of like that, or as much of it as is unique. The
    command gets the whole UUID."""

    def decorate(callback: Callback) -> Callback:
        @wraps(callback)
        def run(*args: Any, **options: Any) -> Any:
            with transaction() as session:
                found = find_one(session, options[name], (kind,), spoken)
            return callback(*args, **{**options, name: uuid.UUID(found.id)})

        return click.argument(name, metavar=metavar)(run)

    return decorate


class MessageId(click.ParamType):
    """The id of a message, or of its job in RQ."""

    name = "message"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        given = str(value)
        job = rq_side.read_job_id(given) if given.isascii() else None
        if job is None and not (given.isascii() and given.isdigit()):
            self.fail(f"{given} is no id of a message: those are numbers, or a number, - and a number", param, ctx)
        number = job[0] if job is not None else int(given)
        if number > LARGEST_ID:
            self.fail(f"{given} is larger than any id", param, ctx)
        return number


class Count(click.ParamType):
    """A whole number between two others."""

    name = "number"

    def __init__(self, least: int = 1, most: int = 1_000_000) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            number = self.least - 1
        if not self.least <= number <= self.most:
            self.fail(f"expected a whole number from {self.least} to {self.most}, not {value}", param, ctx)
        return number


MESSAGE_ID = MessageId()


def limit_option(default: int = 100, what: str = "rows") -> Callable[[Callback], Callback]:
    return click.option("--limit", type=Count(), default=default, show_default=True, help=f"Most {what} listed.")
