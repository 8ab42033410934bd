"""Metrics: read with the token only, once for everybody who asks within some seconds, and without anybody's name."""

from __future__ import annotations

import threading
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor

from flaskapp.cases.service import open_case
from flaskapp.db import transaction
from flaskapp.ops.metrics import Reading
from tests.integration.steps import reconfigure
from tests.product import Product, eventually

TOKEN = "a token that only Prometheus knows"


def read(product: Product, authorization: str = f"Bearer {TOKEN}") -> int:
    response = product.app.test_client().get("/metrics", headers={"Authorization": authorization})
    assert response.status_code == 200 or "surefile" not in response.text
    return int(response.status_code)


def test_only_the_token_reads_them_and_without_one_nobody(product: Product) -> None:
    reconfigure(product, metrics_token=TOKEN)
    assert (read(product), read(product, f"Basic {b64encode(f'x:{TOKEN}'.encode()).decode()}")) == (200, 200)
    for wrong in (
        "",
        f"Bearer {TOKEN}x",
        "Bearer ",
        f"Token {TOKEN}",
        f"Basic {b64encode(b'x:y').decode()}",
        "Basic %",
    ):
        assert read(product, wrong) == 401, wrong
    for unset in (None, ""):
        reconfigure(product, metrics_token=unset)
        assert (read(product), read(product, "Bearer "), read(product, "Bearer None")) == (404, 404, 404)


def test_cases_are_counted_and_nobody_is_named(product: Product) -> None:
    reconfigure(product, case_owner_travel_claim="Quillon Zzyzxfield")
    with transaction() as session:
        open_case(session, "overdue", "travel_claim", "1")
    shown = product.metrics()
    assert 'surefile_open_cases{kind="overdue"} 1.0' in shown
    assert "Quillon" not in shown and "owner" not in shown


def test_one_reading_serves_everybody_for_some_seconds(product: Product) -> None:
    reconfigure(product, metrics_keep_seconds=600.0)
    before = product.metrics()
    browser = product.sign_in()
    assert product.ask(browser).status_code == 202
    assert product.metrics() == before
    product.app.extensions["metrics"]._good_until = 0.0
    assert 'surefile_messages{queue="travel_claims",state="ready"} 1.0' in product.metrics()


def test_who_comes_while_they_are_read_shares_that_reading(product: Product) -> None:
    """Nothing is kept here, so without sharing each would read again."""
    reading, begun, go = Reading(readers=4), threading.Event(), threading.Event()
    readings: list[int] = []

    def slow() -> bytes:
        readings.append(1)
        begun.set()
        assert go.wait(60)
        return b"read"

    def get() -> bytes:
        with product.app.app_context():
            return reading.get(slow, 0.0)

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(get)
        assert begun.wait(60)
        others = [pool.submit(get) for _ in range(3)]
        eventually(lambda: reading._places._taken["metrics"] == 4)
        assert not any(each.done() for each in others)
        product.app.extensions["metrics"] = reading
        assert product.app.test_client().get("/metrics", headers=bearer(product)).status_code == 503
        go.set()
        assert [each.result() for each in (first, *others)] == [b"read"] * 4
    assert readings == [1]


def bearer(product: Product) -> dict[str, str]:
    return {"Authorization": f"Bearer {product.app.extensions['config'].metrics_token}"}


def test_what_took_long_to_read_is_kept_longer(product: Product) -> None:
    reading = Reading()
    began = time.monotonic()
    reading.get(lambda: time.sleep(0.1) or b"", keep_seconds=0.01)  # type: ignore[func-returns-value]
    assert reading._good_until - began > 1.0
