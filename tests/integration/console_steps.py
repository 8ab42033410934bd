"""Steps for tests of the console: log in, read a page, and post one of its forms as a browser does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from flask.testing import FlaskClient

from sandbox.settings import OPERATOR, kept_secrets
from tests.edge_app import csrf_of, log_in
from tests.product import Product


def logged_in(product: Product, secrets_folder: Path) -> FlaskClient:
    client = product.app.test_client()
    assert log_in(client, kept_secrets(secrets_folder).operator_password, OPERATOR).status_code == 303
    return client


def become(product: Product, **roles: tuple[str, ...]) -> None:
    """The operator's name is in these settings of roles, and in no other."""
    config = product.app.extensions["operators_config"]
    none: dict[str, tuple[str, ...]] = {"operator_viewers": (), "operator_administrators": ()}
    product.app.extensions["operators_config"] = replace(config, **none | roles)


def read(operator: FlaskClient, path: str) -> str:
    response = operator.get(path)
    assert response.status_code == 200, response.text
    return " ".join(response.text.split())


def act(operator: FlaskClient, page: str, path: str, **fields: str) -> str:
    """Post to this path with the token of a page, and read where that leads."""
    form = {"csrf_token": csrf_of(operator.get(page).text), **fields}
    response = operator.post(path, data=form, follow_redirects=True)
    assert response.status_code == 200, response.text
    return " ".join(response.text.split())
