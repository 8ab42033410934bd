"""The operators' page about intents to file: how many legal days are at risk."""

from __future__ import annotations

from pathlib import Path

from flask.testing import FlaskClient

from jobs import housekeeping
from sandbox.settings import OPERATOR, kept_secrets
from tests.edge_app import log_in
from tests.integration.itf_steps import pass_time, sign_in
from tests.product import Product


def panel(client: FlaskClient) -> str:
    return client.get("/ops/").text.partition("Intents to file: days at risk")[2].partition("</section>")[0]


def test_the_first_page_counts_pending_itfs_and_those_past_their_midnight(
    product: Product, secrets_folder: Path
) -> None:
    client = product.app.test_client()
    log_in(client, kept_secrets(secrets_folder).operator_password, OPERATOR)
    assert "None is pending" in panel(client)
    sign_in(product).ask()
    assert "1 pending" in panel(client) and "past their midnight" not in panel(client)
    pass_time(product, days=1)
    product.beat()
    housekeeping.sweep()
    assert product.cases() == ["past_midnight"]
    assert "1 past their midnight" in panel(client)
