"""The whole way out of a day's outage: 10,000 claims from during it are filed, and each has its text enqueued."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from flaskapp.travel_claims.service import TRAVEL_CLAIMS
from tests.benchmarks.figures import figure, quiet, timed, title
from tests.integration.outage_steps import DOUBLING, Day, scripted
from tests.integration.steps import command
from tests.product import Product

SUBMISSIONS = 10_000


@pytest.mark.timeout(1800)
def test_ten_thousand_claims_from_a_day_of_outage_are_all_filed(product: Product) -> None:
    with quiet():
        day = Day(product, SUBMISSIONS)
        with scripted(day):
            away = timed(day.go_by)
            back = timed(lambda: day.recover(at_least=SUBMISSIONS))
    taken = [tick.taken for tick in day.ticks]

    title(f"A day without BTSSS, {SUBMISSIONS:,} who post, the clock compressed")
    figure("the day itself, a probe every quarter of an hour", f"{away:.1f} s")
    figure("probes sent, attempts charged", f"{sum(day.calls)}, {day.charged_at_the_end}")
    figure("let through at each step of the ramp", ", ".join(map(str, taken[:10])))
    figure("most pointers in Redis at once", str(max(sample.waiting for sample in day.samples)))
    grown = max(sample.bytes for sample in day.samples) - day.samples[0].bytes
    figure("Redis at its largest, above its start", f"{grown / 2**20:.1f} MiB")
    figure("filed, one worker thread", f"{SUBMISSIONS / back:,.0f} claims/s")
    figure("minutes of our clock to the last one", f"{len(taken) * DOUBLING.total_seconds() / 60:.0f}")

    assert len(set(day.btsss.filed)) == len(day.btsss.filed) == SUBMISSIONS
    assert max(taken) == TRAVEL_CLAIMS.concurrency
    assert all(after <= 2.5 * before for before, after in pairwise(taken))
    assert all(tick.in_order for tick in day.ticks[1:])
    assert product.value("SELECT count(*) FROM travel_claims WHERE state = 'submitted'") == SUBMISSIONS
    assert product.value("SELECT count(*) FROM outbox_messages WHERE queue = 'travel_claims'") == 0
    assert product.value("SELECT count(*) FROM outbox_messages WHERE queue = 'notifications'") == SUBMISSIONS
    assert product.value("SELECT count(*) FROM outbox_attempts WHERE charged") == 0
    assert product.cases() == []
    report = json.loads(command(product, "audit", "--json").output)
    assert (report["unaccounted"], report["broken"]) == (0, [])
    # The texts are enqueued and nobody sends them here: that is the only complaint.
    assert {fault["rule"] for fault in report["faults"]} == {"ready_behind_closed_breaker"}
