"""Pages of circuit breakers: state, reason, past and how many wait; hold, lift and try now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from sandbox.settings import OPERATOR
from tests.edge_app import csrf_of
from tests.integration.console_steps import act, logged_in, read
from tests.integration.steps import command, file_claim, reconfigure
from tests.product import Product

PAGE = "/ops/breakers/btsss"


@pytest.fixture
def operator(product: Product, secrets_folder: Path) -> FlaskClient:
    return logged_in(product, secrets_folder)


def breaker(product: Product) -> Any:
    return product.rows("SELECT * FROM outbox_breakers WHERE upstream = 'btsss'")[0]


def broken(product: Product) -> None:
    """An outage of BTSSS that opened its breaker for a quarter of an hour."""
    reconfigure(product, breaker_open_seconds=900.0, breaker_cap_seconds=900.0)
    product.control.set("btsss", "throttle")
    file_claim(product)
    product.work(until=lambda: breaker(product).opened_at)


def test_the_list_says_of_every_breaker_how_it_is_and_how_many_wait(product: Product, operator: FlaskClient) -> None:
    file_claim(product)
    page = read(operator, "/ops/breakers/")
    assert ">btsss</a></td> <td>closed</td> <td></td> <td>1</td>" in page
    assert ">va_notify</a></td> <td>closed</td> <td></td> <td>0</td>" in page
    product.rows("DELETE FROM outbox_breakers WHERE upstream = 'va_notify' RETURNING 1")
    assert ">va_notify</a></td> <td>missing: nothing is sent</td>" in read(operator, "/ops/breakers/")
    assert "flask audit --repair" in read(operator, "/ops/breakers/va_notify")
    assert operator.get("/ops/breakers/strange").status_code == 404


def test_an_open_breaker_says_why_since_when_and_when_it_is_tried_next(product: Product, operator: FlaskClient) -> None:
    broken(product)
    page, now = read(operator, PAGE), breaker(product)
    opened, until = now.opened_at.astimezone(UTC), now.open_until.astimezone(UTC)
    assert "<h1>btsss: open</h1>" in page
    assert f"Open since {opened:%Y-%m-%d %H:%M:%S}, next probe {until:%Y-%m-%d %H:%M:%S} utc. Why: throttled." in page
    assert "HTTP 429" in page and "1 waiting." in page
    assert f"<td>{opened:%Y-%m-%d %H:%M:%S}</td><td>now</td><td>open</td><td>throttled</td>" in page


def test_try_now_sends_the_probe_whose_answer_decides(product: Product, operator: FlaskClient) -> None:
    broken(product)
    product.control.reset()
    product.beat()
    product.relay.run_once()
    assert product.value("SELECT state FROM outbox_messages") in ("ready", "later"), "its time is not up"
    assert "Its probe goes next" in act(operator, PAGE, f"{PAGE}/try-now", reason="they say it is back")
    product.rows("UPDATE outbox_messages SET due_at = outbox_now() RETURNING 1")
    product.work(until=lambda: breaker(product).opened_at is None)
    page = read(operator, PAGE)
    assert "<h1>btsss: closed</h1>" in page
    assert f"probed now, they say it is back <small>{OPERATOR}</small>" in page
    assert "there is no time to wait for" in act(operator, PAGE, f"{PAGE}/try-now", reason="again")
    refused = command(product, "breakers", "try-now", "btsss", "--reason", "again")
    assert (refused.exit_code, "no time to wait for" in refused.stderr) == (1, True)


def test_a_hold_from_now_or_for_a_window_to_come_is_shown_and_lifted(product: Product, operator: FlaskClient) -> None:
    assert "Nothing is sent to btsss" in act(operator, PAGE, f"{PAGE}/hold", duration="2h", reason="their release")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    window = {"duration": "30m", "begins": f"{tomorrow:%Y-%m-%dT%H:%M}", "reason": "their next one"}
    act(operator, PAGE, f"{PAGE}/hold", **window)
    first, second = product.rows("SELECT id, starts_at, ends_at, reason, set_by FROM outbox_breaker_holds ORDER BY id")
    assert (first.ends_at - first.starts_at, first.reason, first.set_by) == (
        timedelta(hours=2),
        "their release",
        OPERATOR,
    )
    assert second.starts_at == tomorrow.replace(second=0, microsecond=0)
    page = read(operator, PAGE)
    assert "<h1>btsss: held</h1>" in page and "their release" in page and "to come" in page
    assert "held until" in read(operator, "/ops/breakers/") and "their next one" in read(operator, "/ops/breakers/")
    assert "1 lifted" in act(operator, PAGE, f"{PAGE}/lift", hold=str(first.id))
    assert product.rows("SELECT lifted_by FROM outbox_breaker_holds ORDER BY id") == [(OPERATOR,), (None,)]
    assert "Nothing was done" in act(operator, PAGE, f"{PAGE}/lift", hold=str(first.id))


def test_a_hold_that_cannot_be_read_is_refused_and_every_act_needs_its_token(
    product: Product, operator: FlaskClient
) -> None:
    token = csrf_of(operator.get(PAGE).text)
    right = {"duration": "2h", "begins": "", "reason": "x"}
    for wrong in ({"duration": "2 hours"}, {"duration": ""}, {"duration": "0h"}, {"begins": "noon"}, {"reason": " "}):
        assert operator.post(f"{PAGE}/hold", data={"csrf_token": token, **right, **wrong}).status_code == 422
    for name in ("hold", "lift", "try-now"):
        assert operator.post(f"{PAGE}/{name}", data=right).status_code == 403
        strange = operator.post(f"/ops/breakers/strange/{name}", data={"csrf_token": token, **right})
        assert strange.status_code == 404
    assert product.value("SELECT count(*) FROM outbox_breaker_holds") == 0
