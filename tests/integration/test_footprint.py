"""What one claim costs the database: round trips, statements, log bytes, and the plans behind them."""

from __future__ import annotations

import pytest
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.sql.expression import TextClause

from flaskapp import db as database
from flaskapp.form526 import polling
from flaskapp.intent_to_file import upkeep
from flaskapp.keys import checks
from jobs import housekeeping
from outbox import attempts, breakers, forecast, grants, relay, rescue, tally
from outbox.scan_marks import ScanMarks
from sandbox.servers import EmbeddedPostgres
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration.footprint_steps import Meter, Plans, Spent, explaining, fill, metering
from tests.integration.form526_polling_steps import accepted
from tests.integration.itf_steps import sign_in
from tests.integration.steps import file_claim, sweep
from tests.integration.test_notifications_callbacks import DELIVERED, body, post
from tests.product import ADA, Product

ROWS = 12_000
# Round trips, and how many of them are BEGIN or COMMIT. A read of one statement has neither.
COSTS = {
    "POST": (2, 0),
    "relay, the claim": (8, 2),
    "job": (12, 2),
    "relay, the text": (8, 2),
    "text": (8, 2),
    "callback": (6, 2),
    "relay, nothing to do": (2, 0),
}
# A claim is two messages, its filing and its text, with their rows, indexes, attempts and history.
MOST_WAL_BYTES = 7_500
TEXT_SENT = """
    SELECT count(*) FROM notifications WHERE subject_type = 'travel_claim' AND subject_id = :id AND state = 'sent'
"""

HOT: list[tuple[TextClause, str]] = [
    (relay.PROMOTE, "ix_outbox_messages_later"),
    (relay.WAITING_IN, "ix_outbox_messages_ready"),
    (relay.FIRST["reachable"], "ix_outbox_messages_ready"),
    (relay.FIRST["missed"], "ix_outbox_messages_ready"),
    (relay.PROBE, "ix_outbox_messages_ready"),
    (relay.LONG_PUBLISHED, "ix_outbox_messages_in_flight"),
    (relay.OLDEST_OUT, "ix_outbox_messages_in_flight"),
    (breakers.ASK, "ix_outbox_messages_in_flight"),
    (grants.GRANT, "pk_outbox_messages"),
    (attempts.LOCK_MESSAGE, "pk_outbox_messages"),
    (attempts.COMPLETE, "pk_outbox_attempts"),
    (attempts.COMPLETE_HELD, "pk_outbox_messages"),
    (attempts.COMPLETE_HELD, "pk_outbox_attempts"),
    (attempts.CHARGED, "ix_outbox_attempts_answered"),
    (grants.SEIZE, "ix_outbox_messages_give_up"),
    (rescue.LOST, "ix_outbox_messages_in_flight"),
    (housekeeping.OVERDUE, "ix_outbox_messages_overdue"),
    (polling.ASSIGN_BATCH, "ix_form526_documents_due"),
    (polling.STUCK, "ix_form526_documents_pending"),
    (upkeep.SHARE, "ix_intents_to_file_refresh"),
    (upkeep.TAKE, "ix_intents_to_file_refresh"),
]


def follow(product: Product, meter: Meter, day: str) -> dict[str, Spent]:
    """One claim from its POST to the delivered text, with each step metered separately."""
    client = product.sign_in(ADA, day)
    product.relay.next_rescue = product.relay.next_missing_check = product.relay.next_era_look = float("inf")
    with meter.step("POST"):
        assert product.ask(client, ADA, day).status_code == 202
    with meter.step("relay, the claim"):
        product.relay.run_once()
    with meter.step("job"):
        product.run_queued()
    with meter.step("relay, the text"):
        product.relay.run_once()
    with meter.step("text"):
        product.run_queued()
    (sent,) = product.rows("SELECT id FROM notifications WHERE state = 'sent' ORDER BY created_at DESC LIMIT 1")
    with meter.step("callback"):
        assert post(product, body(sent.id, DELIVERED)).status_code == 200
    with meter.step("relay, nothing to do"):
        product.relay.run_once()
    assert product.value("SELECT state FROM notifications WHERE id = :id", id=sent.id) == "delivered"
    return dict(meter.spent)


def test_a_claim_costs_no_more_round_trips_and_log_than_its_limit(
    product: Product, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy machine adds no round trip: a connection that was idle for long is pinged before it is used, and keys are
    # looked at again.
    monkeypatch.setattr(database, "PING_AFTER_SECONDS", 60.0)
    monkeypatch.setattr(checks, "LOOK_AGAIN_SECONDS", 600.0)
    file_claim(product)
    product.work()
    with metering(postgres.admin_url) as meter:
        followed = [follow(product, meter, day) for day in ("2031-06-01", "2031-06-02", "2031-06-03")]
    for spent in followed:
        assert {name: (each.round_trips, each.frames) for name, each in spent.items()} == COSTS
    # After a checkpoint, the first change to a page logs the whole page.
    assert min(sum(each.wal_bytes for each in spent.values()) for spent in followed) < 2 * MOST_WAL_BYTES


def test_a_new_intent_to_file_is_one_look_and_one_statement_that_commits_by_itself(
    product: Product, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PING_AFTER_SECONDS", 60.0)
    monkeypatch.setattr(checks, "LOOK_AGAIN_SECONDS", 600.0)
    sign_in(product, DEFAULT_CAST[1]).ask()
    ada = sign_in(product)
    with metering(postgres.admin_url) as meter, meter.step("POST"):
        ada.ask()
    assert (meter.spent["POST"].round_trips, meter.spent["POST"].frames) == (2, 0)


def put_through_everything(product: Product, plans: Plans) -> None:
    """A claim whose first filing fails, the probe, the text, and one tick of every periodic job."""
    product.control.set("btsss", "throttle", times=1, operation="submitclaim")
    claim = file_claim(product, date="2031-06-01")
    product.work(
        until=lambda: product.value("SELECT state FROM travel_claims WHERE id = :id", id=claim.id) != "pending"
    )
    product.relay.next_missing_check = 0.0
    product.relay.low = ScanMarks()
    product.relay.low.looks.extend([1.0] * 3)
    product.work(until=lambda: product.value(TEXT_SENT, id=claim.id))
    sweep(product)
    housekeeping.poll_documents()
    housekeeping.refresh_itfs()


@pytest.fixture
def plans(product: Product, monkeypatch: pytest.MonkeyPatch) -> Plans:
    """Every statement of the product's daily work, on tables as large as after months."""
    monkeypatch.setattr("outbox.scan_marks.SLOW_SECONDS", 0.0)
    accepted(product)
    file_claim(product)
    product.work()
    fill(product, ROWS)
    with explaining() as found:
        put_through_everything(product, found)
    return found


def test_no_growing_table_is_read_whole_and_every_hot_query_uses_its_index(plans: Plans) -> None:
    # What waits is counted whole, now and then, once for everybody.
    counted = {str(query.compile(dialect=PGDialect_psycopg2())) for query in (tally.OLD_AND_LARGE, forecast.OUTLOOK)}
    assert {each for each in plans.read_whole if each[1] not in counted} == set()
    missed = [(index, plans.of(query), query.text) for query, index in HOT if index not in plans.of(query)]
    assert missed == []
    assert "ix_notifications_followed" in set().union(*plans.indexes.values())
