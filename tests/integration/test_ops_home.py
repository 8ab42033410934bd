"""The operators' first page and the metrics: the last audit, the oldest work, breakers, holds and cases."""

from __future__ import annotations

import re
from datetime import UTC, timedelta
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from flaskapp.db import transaction
from jobs import housekeeping
from outbox import holds
from sandbox.settings import OPERATOR, kept_secrets
from tests.edge_app import log_in
from tests.integration.steps import command, file_claim
from tests.product import ADA, Product

OPEN_BREAKER = """
    UPDATE outbox_breakers SET opened_at = outbox_now(), open_until = outbox_now() + interval '1 minute'
     WHERE upstream = 'btsss' RETURNING 1
"""
LONG_AGO = "UPDATE travel_claims SET finished_at = outbox_now() - interval '4 days' RETURNING 1"


# As a worker of the release before these counts writes it.
OLDER_REPORT = """
    INSERT INTO audits (scope, at, seconds, report)
    VALUES ('recent', outbox_now(), 1, '{"standings": {}, "unaccounted": 0, "faults": [], "broken": []}')
    ON CONFLICT (scope) DO UPDATE SET report = EXCLUDED.report RETURNING 1
"""


@pytest.fixture
def operator(product: Product, secrets_folder: Path) -> FlaskClient:
    client = product.app.test_client()
    assert log_in(client, kept_secrets(secrets_folder).operator_password, OPERATOR).status_code == 303
    return client


def gauges(product: Product) -> dict[str, float]:
    lines = product.metrics().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def shown(operator: FlaskClient) -> str:
    return " ".join(operator.get("/ops/").text.split())


def breaker_of(upstream: str, page: str) -> str:
    """What the panel of breakers says of this upstream."""
    found = re.search(
        rf"<td><a [^>]*>{upstream}</a></td> <td>([^<]*)</td>", page[page.index("Circuit breakers</h2>") :]
    )
    assert found is not None
    return found[1]


def test_unaccounted_work_comes_first_then_the_oldest_work_the_breakers_and_the_cases(
    product: Product, operator: FlaskClient
) -> None:
    page = shown(operator)
    titles = ("Promises", "Oldest outstanding work", "Circuit breakers", "Open cases")
    positions = [page.index(f"{title}</h2>") for title in titles]
    assert positions == sorted(positions)
    assert "No audit has run yet." in page
    file_claim(product)
    housekeeping.audit_all()
    page = shown(operator)
    assert "<strong>0 unaccounted.</strong>" in page
    assert "The audit is silent." not in page
    product.rows("DELETE FROM outbox_messages RETURNING 1")
    housekeeping.audit_all()
    page = shown(operator)
    assert "<strong>1 unaccounted.</strong>" in page
    assert "pending_without_work" in page
    assert "it is pending, but there is no work for its next step" in page


def test_an_audit_that_stopped_is_reported_and_measured(product: Product, operator: FlaskClient) -> None:
    housekeeping.audit_all()
    assert gauges(product)['surefile_audit_age_seconds{scope="recent"}'] < 60
    product.move_clock(timedelta(minutes=10))
    assert "The audit is silent." in shown(operator)
    assert gauges(product)['surefile_audit_age_seconds{scope="recent"}'] >= 600


def test_the_oldest_work_is_shown_with_its_deadline_forecast(product: Product, operator: FlaskClient) -> None:
    file_claim(product)
    product.rows("UPDATE outbox_messages SET created_at = created_at - interval '90 minutes' RETURNING 1")
    page = shown(operator)
    assert "<td>travel_claims</td> <td>90.0 min</td> <td>1</td> <td>0</td>" in page
    assert "0 late, 1 more will be at this rate" in page, "nothing has been done recently"
    assert gauges(product)['surefile_deadlines_at_risk{queue="travel_claims"}'] == 1
    product.rows("UPDATE outbox_messages SET deadline_at = outbox_now() RETURNING 1")
    assert "1 late, 0 more will be at this rate" in shown(operator)
    assert gauges(product)['surefile_deadlines_missed{queue="travel_claims"}'] == 1


def test_a_hold_is_shown_with_its_reason_and_its_end(product: Product, operator: FlaskClient) -> None:
    assert command(product, "breakers", "hold", "btsss", "--for", "2h", "--reason", "their release").exit_code == 0
    page = shown(operator)
    assert "in force</td> <td>btsss</td>" in page
    assert "their release" in page
    assert gauges(product)['surefile_breaker_held{upstream="btsss"}'] == 1
    ends_at = product.value("SELECT ends_at FROM outbox_breaker_holds").astimezone(UTC)
    assert breaker_of("btsss", page) == f"held until {ends_at:%Y-%m-%d %H:%M} UTC"
    assert breaker_of("va_notify", page) == "closed"
    product.rows(OPEN_BREAKER)
    assert breaker_of("btsss", shown(operator)).startswith(f"held until {ends_at:%Y-%m-%d %H:%M} UTC; open until")
    with transaction() as session:
        assert holds.lift(session, "btsss", actor="somebody") == 1
    page = shown(operator)
    assert "their release" not in page
    assert breaker_of("btsss", page).startswith("open until")
    assert gauges(product)['surefile_breaker_held{upstream="btsss"}'] == 0


def test_a_missing_breaker_is_shown_as_missing(product: Product, operator: FlaskClient) -> None:
    product.rows("DELETE FROM outbox_breakers WHERE upstream = 'btsss' RETURNING 1")
    assert breaker_of("btsss", shown(operator)) == "missing: nothing is sent"


def test_an_audit_reads_recent_work_every_minute_and_everything_once_a_day(product: Product) -> None:
    """What ended long ago is not read for a day; a fault in it is found by then."""
    file_claim(product)
    product.work()
    housekeeping.audit_all()
    product.rows(LONG_AGO)
    product.rows("DELETE FROM notifications RETURNING 1")
    housekeeping.audit_all()
    assert (gauges(product)["surefile_unaccounted"], product.cases()) == (0, [])
    assert command(product, "audit").exit_code == 1, "the command reads everything"
    product.move_clock(timedelta(hours=25))
    housekeeping.audit_all()
    assert (gauges(product)["surefile_unaccounted"], product.cases()) == (1, ["unaccounted"])
    housekeeping.audit_all()
    assert gauges(product)["surefile_unaccounted"] == 0
    assert [row.scope for row in product.rows("SELECT scope FROM audits ORDER BY scope")] == ["full", "recent"]
    # The clock is put back by as much as it was ahead: the next audit reads everything.
    product.move_clock(timedelta(hours=-25))
    housekeeping.audit_all()
    assert product.value("SELECT count(*) FROM audits WHERE scope = 'full' AND at <= outbox_now()") == 1


def test_unfinished_work_is_always_read(product: Product) -> None:
    file_claim(product)
    housekeeping.audit_all()
    product.rows("UPDATE travel_claims SET requested_at = outbox_now() - interval '30 days' RETURNING 1")
    product.rows("DELETE FROM outbox_messages RETURNING 1")
    housekeeping.audit_all()
    assert product.cases() == ["unaccounted"]


def test_each_word_on_the_page_means_one_thing(product: Product, operator: FlaskClient) -> None:
    """Work with a human is not *held*, as an upstream is; a message to a person is a notification, as in the README."""
    product.control.call("POST", "va_notify", "outcomes", json={"recipient": ADA.icn, "status": "refused"})
    file_claim(product)
    product.work()
    assert product.cases() == ["notification_not_sent"]
    housekeeping.audit_all()
    page = shown(operator)
    assert "Submissions that have not ended, or did in the last 3 days:" in page
    assert "<td>travel claim</td><td>in a human&#39;s hands</td><td>1</td>" in page
    assert f"<td>notification {product.value('SELECT id::text FROM notifications')[:8]}" in page


def test_a_report_of_the_earlier_release_is_shown_as_far_as_it_goes(product: Product, operator: FlaskClient) -> None:
    product.rows(OLDER_REPORT)
    assert gauges(product)["surefile_broken_rules"] == gauges(product)["surefile_ledger_faults"] == 0
    assert operator.get("/ops/").status_code == 200
