"""Steps for tests of restores: copy a database as of now, go on, and come back to the copy with the same Redis."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import Result

from flaskapp import create_app
from flaskapp.config import from_env
from flaskapp.db import db
from sandbox import unprivileged
from sandbox.servers import EmbeddedPostgres
from sandbox.settings import environment, kept_secrets
from sandbox.upstreams.serve import Upstreams
from tests.integration.steps import command
from tests.product import SETTINGS, Product, eventually


def run_program(server: EmbeddedPostgres, program: str, *arguments: str, home: bool = False) -> None:
    """Run one of PostgreSQL's own programs; with `home`, as the account that owns the server's data."""
    surroundings: dict[str, Any] = {"env": {"PATH": os.defpath}}
    if home:
        surroundings = {**server._surroundings(), **unprivileged.user_and_group()}
    done = subprocess.run([server._binary(program), *arguments], capture_output=True, text=True, **surroundings)
    assert done.returncode == 0, done.stderr


def dump(server: EmbeddedPostgres, url: str, folder: Path) -> Path:
    backup = folder / "backup"
    run_program(server, "pg_dump", "-Fc", "-f", str(backup), url)
    return backup


def restore(server: EmbeddedPostgres, backup: Path, name: str) -> str:
    """Restore a dump into a new database; returns its URL."""
    url = server.create_database(name, "template0")
    run_program(server, "pg_restore", "--no-owner", "-d", url, str(backup))
    return url


@contextmanager
def product_on(url: str, redis_url: str, fakes: Upstreams, secrets: Path, **settings: str) -> Iterator[Product]:
    """A product on another database, with the keys, the Redis and the upstreams of the one before."""
    app = create_app(from_env(environment(url, redis_url, fakes, kept_secrets(secrets), {**SETTINGS, **settings})))
    built = Product(app, fakes)
    with app.app_context():
        try:
            yield built
        finally:
            db.session.remove()
            db.engine.dispose()
    built.redis.close()


def after_restore(product: Product, *options: str) -> Result:
    done = command(product, "after-restore", *options)
    db.session.remove()
    return done


def recorded(product: Product) -> Result:
    done = after_restore(product, "--yes", "--reason", "the disk broke")
    assert done.exit_code == 0, done.output
    return done


def lift_all(product: Product) -> None:
    for row in json.loads(command(product, "breakers", "holds", "--json").output):
        assert command(product, "breakers", "lift", row["upstream"]).exit_code == 0


def report(product: Product) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(after_restore(product, "--report", "--json").stdout)
    return found


def received(product: Product) -> list[tuple[str, str]]:
    """Every text and e-mail, once whatever VANotify took has reached somebody: to whom, and which template, oldest
    first."""

    def delivered() -> list[dict[str, Any]]:
        taken, found = product.control.call("GET", "va_notify", "notifications"), product.control.phone()
        return found if len(found) == len(taken) else []

    return [(message["to"], message["template"]) for message in reversed(eventually(delivered))]
