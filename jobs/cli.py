"""Process commands of the Procfile: `flask relay`, `flask worker`, `flask scheduler`."""

from __future__ import annotations

from collections.abc import Callable

import click
from flask import Flask, current_app
from flask.cli import with_appcontext

from jobs import processes

COMMANDS: dict[str, tuple[Callable[[Flask], None], str]] = {
    "relay": (processes.run_relay, "Move due work from Postgres to Redis, and rescue what dead workers held."),
    "worker": (processes.run_worker, "Make the upstream calls. SIGTERM lets them finish for 20 seconds."),
    "scheduler": (processes.run_scheduler, "Run the periodic jobs: sweep, audit, retention."),
}


def attach(app: Flask) -> None:
    for name, (run, text) in COMMANDS.items():
        app.cli.add_command(make_command(name, run, text))


def make_command(name: str, run: Callable[[Flask], None], text: str) -> click.Command:
    """A command whose process runs in one application context; each job gets a new one."""

    @with_appcontext
    def start() -> None:
        run(current_app._get_current_object())  # type: ignore[attr-defined]

    return click.Command(name, callback=start, help=text)
