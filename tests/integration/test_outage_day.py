"""A day without BTSSS: thousands of claims wait, no attempt is charged, Redis stays small, and recovery is gradual.

They are twenty times what Redis may hold. Afterwards the ramp runs for real until it is at full width, with hundreds of
claims filed; ten thousand and the complete drain are a benchmark.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from flaskapp import create_app
from flaskapp.config import from_env
from flaskapp.db import db, transaction
from flaskapp.travel_claims.service import TRAVEL_CLAIMS
from outbox.forecast import RATE_MINUTES, by_queue
from sandbox.databases import TemplateDatabase
from sandbox.servers import EmbeddedValkey
from sandbox.settings import environment, kept_secrets
from sandbox.upstreams.serve import Upstreams
from tests.integration.outage_steps import DOUBLING, MAINTENANCE, OUTAGE, STEP, Day, scripted
from tests.integration.steps import command
from tests.product import SETTINGS, Product

# Enough time for a busy machine; an idle one needs ten seconds.
pytestmark = pytest.mark.timeout(300)

SUBMISSIONS = 4_000
DRAINED = 400
# The size of all pointers that Redis may hold at once, with the traces of those that ran in the last two minutes.
MOST_BYTES = 4 * 1024 * 1024

WAITING = "SELECT count(*) FROM outbox_messages WHERE queue = 'travel_claims' AND state = 'ready'"
MISSED = "SELECT count(*) FROM outbox_messages WHERE queue = 'travel_claims' AND deadline_at <= outbox_now()"
CHARGED = "SELECT count(*) FROM outbox_attempts WHERE charged"


@pytest.fixture(scope="module")
def day(
    migrated: TemplateDatabase, redis_server: EmbeddedValkey, fakes: Upstreams, secrets_folder: Path
) -> Iterator[Day]:
    fakes.fakes.reset()
    with migrated.copied() as url:
        app = create_app(from_env(environment(url, redis_server.url, fakes, kept_secrets(secrets_folder), SETTINGS)))
        product = Product(app, fakes)
        product.redis.flushall()
        with app.app_context():
            lived = Day(product, SUBMISSIONS)
            with scripted(lived):
                lived.go_by()
                lived.recover(at_least=DRAINED)
            yield lived
            product.move_clock(timedelta())
            db.session.remove()
            db.engine.dispose()
        product.redis.close()


def test_every_submission_waits_through_it(day: Day) -> None:
    assert day.requested + 1 == SUBMISSIONS
    assert day.waiting_at_the_end == SUBMISSIONS


def test_btsss_gets_no_call_while_held_and_one_every_fifteen_minutes_after_that(
    day: Day,
) -> None:
    held, away = MAINTENANCE // STEP - 1, OUTAGE // STEP + 1
    assert day.calls == [0] * held + [1] * away


def test_no_attempt_is_charged_and_no_budget_runs(day: Day) -> None:
    assert day.charged_at_the_end == 0
    assert day.closed_seconds_at_the_end < 60
    assert day.product.value(CHARGED) == 0
    assert day.product.value("SELECT max(charged_attempts) FROM outbox_messages") == 0


def test_redis_never_holds_more_than_a_minutes_work(day: Day) -> None:
    away = 2 * len(day.calls)
    assert max(sample.waiting for sample in day.samples[:away]) <= 2
    assert max(sample.waiting for sample in day.samples) <= TRAVEL_CLAIMS.depth
    assert max(sample.bytes for sample in day.samples) - day.samples[0].bytes < MOST_BYTES


def test_btsss_comes_back_to_a_ramp_and_never_above_its_limit(day: Day) -> None:
    taken = [tick.taken for tick in day.ticks]
    assert taken[:2] == [1, 2]
    assert taken[-1] == TRAVEL_CLAIMS.concurrency == max(taken)
    for before, after in pairwise(day.ticks[1:]):
        # A busy machine takes some seconds for a tick, and the ramp goes on meanwhile.
        doubled = 2 ** ((after.at - before.at) / DOUBLING)
        growth = after.taken / before.taken
        assert growth < 1.25 * doubled, taken
        assert growth > 1.2 or after.taken == TRAVEL_CLAIMS.concurrency, taken


def test_the_earliest_deadlines_go_first_and_missed_ones_get_their_tenth(day: Day) -> None:
    ramp = day.ticks[1:]
    assert all(tick.in_order for tick in ramp)
    assert all(tick.missed_left > 100 for tick in ramp)
    wide = [tick for tick in ramp if tick.taken >= 10]
    assert {tick.missed - tick.taken // 10 for tick in wide} <= {0, 1}


def test_every_published_claim_is_filed_once_and_none_is_given_up(day: Day) -> None:
    filed = day.btsss.filed
    assert len(set(filed)) == len(filed) == sum(tick.taken for tick in day.ticks) >= DRAINED
    assert day.product.value("SELECT count(*) FROM travel_claims WHERE state = 'submitted'") == len(filed)
    assert day.product.value(WAITING) == SUBMISSIONS - len(filed)
    assert day.product.value("SELECT count(*) FROM outbox_messages WHERE state = 'parked'") == 0
    assert day.product.value("SELECT count(*) FROM outbox_attempts WHERE status = 'expired'") == 0
    assert day.product.cases() == []


def test_everybody_is_accounted_for(day: Day) -> None:
    day.relay.run_once()
    said = command(day.product, "audit")
    assert said.exit_code == 0, said.output


def test_the_forecast_expects_no_further_missed_deadline_at_the_rate_of_the_ramp(day: Day) -> None:
    away = day.outlook_at_the_end
    assert away.minutes_to_empty is None, "while BTSSS was away nobody knew when it would be back"
    assert (away.waiting, away.missed + away.will_miss) == (SUBMISSIONS, SUBMISSIONS)
    with transaction() as session:
        (back,) = [each for each in by_queue(session) if each.queue == "travel_claims"]
    left = SUBMISSIONS - len(day.btsss.filed)
    assert (back.waiting, back.missed, back.will_miss) == (left, day.product.value(MISSED), 0)
    per_minute = len(day.btsss.filed) / RATE_MINUTES
    assert back.minutes_to_empty == pytest.approx(left / per_minute, abs=0.1)
