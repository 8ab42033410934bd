"""Steps for tests of keys: the same product with other keys, as processes of another deploy, and what is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from click.testing import Result
from cryptography.fernet import Fernet

from flaskapp import create_app
from flaskapp.config import Config
from flaskapp.db import db
from tests.integration.steps import command
from tests.product import Product


def new_key() -> str:
    return Fernet.generate_key().decode()


def config_of(product: Product) -> Config:
    found: Config = product.app.extensions["config"]
    return found


@contextmanager
def deployed(product: Product, **changes: Any) -> Iterator[Product]:
    """The product with other settings beside this one, on the same database: its own connections, its own worker."""
    app = create_app(replace(config_of(product), **changes))
    with app.app_context():
        yield Product(app, product.fakes)
        db.session.remove()
        db.engine.dispose()


def released(product: Product) -> Result:
    result = command(product, "release")
    assert result.exit_code == 0, result.output
    return result


def with_newer_encryption_key(product: Product) -> dict[str, Any]:
    """Settings in which a new key comes before the earlier ones."""
    return {"encryption_keys": (new_key(), *config_of(product).encryption_keys)}


def with_newer_digest_key(product: Product) -> dict[str, Any]:
    earlier = config_of(product)
    return {
        "digest_key": f"after {earlier.digest_key}",
        "earlier_digest_keys": (earlier.digest_key, *earlier.earlier_digest_keys),
    }


def reseal(product: Product, *options: str) -> Result:
    return command(product, "keys", "reseal", "--notice-seconds", "0", *options)


def checked(product: Product) -> dict[str, Any]:
    """What `flask keys check` counts, with its exit code."""
    result = product.app.test_cli_runner().invoke(args=["keys", "check", "--json"])
    found: dict[str, Any] = json.loads(result.stdout)
    return {**found, "exit_code": result.exit_code}


def under(lines: Sequence[dict[str, Any]], name: str) -> int:
    """How much of this is under the key of that name (`key_1` is the newest), or under `none_fits`."""
    return sum(line.get(name, 0) for line in lines)


def states(product: Product, kind: str) -> list[str]:
    """The states of the keys of this kind, the oldest first."""
    return [row.state for row in product.rows("SELECT state FROM key_checks WHERE kind = :kind ORDER BY id", kind=kind)]
