"""The real delays of every schedule, written out, and their sums."""

from __future__ import annotations

import pytest

from flaskapp import REGISTERED
from flaskapp.intent_to_file import service as itf_service
from flaskapp.travel_claims.service import SUBMIT
from jobs.engine.retry import (
    ALERT,
    HOUR,
    IDENTIFY,
    ITF_CREATE,
    ITF_REFRESH,
    LOOK_UP_DELAYS,
    NOTIFICATION,
    TRAVEL_CLAIM,
    WEBHOOK,
    Schedule,
    jittered,
    look_up_delay,
)
from jobs.registry import spec_of

FOURTH_POWERS = [15, 16, 31, 96, 271, 640, 1311, 2416, 4111, 6576, 10015, 14656, 20751, 28576]


@pytest.mark.parametrize("schedule", [TRAVEL_CLAIM, NOTIFICATION])
def test_claims_and_texts_are_retried_as_the_old_check_in_was(schedule: Schedule) -> None:
    assert [schedule.delay(count) for count in range(14)] == FOURTH_POWERS
    assert 24.5 * HOUR < sum(FOURTH_POWERS) < 25.5 * HOUR
    assert schedule.budget_seconds == 25 * HOUR


@pytest.mark.parametrize("schedule", [ITF_CREATE, IDENTIFY])
def test_an_itf_is_retried_sixteen_times_in_about_two_days(schedule: Schedule) -> None:
    delays = [*FOURTH_POWERS, 38431, 50640]
    assert [schedule.delay(count) for count in range(17)] == [*delays, 50640]
    assert schedule.budget_seconds == sum(delays) == 178552
    assert round(sum(delays) / HOUR, 1) == 49.6


def test_an_itf_is_given_up_thirty_days_after_its_request_in_any_outage() -> None:
    assert itf_service.GIVE_UP_SECONDS == 30 * 24 * HOUR


def test_a_comparison_with_upstream_is_tried_for_six_hours_and_its_last_delay_repeats() -> None:
    assert [ITF_REFRESH.delay(count) for count in range(6)] == [60, 300, 900, 3600, 3600, 3600]
    assert ITF_REFRESH.budget_seconds == 6 * HOUR


@pytest.mark.parametrize(
    ("count", "delay"), [(0, 10.0), (1, 30.0), (2, 60.0), (3, 300.0), (4, 900.0), (5, 900.0), (999, 900.0)]
)
def test_an_alert_is_repeated_for_a_week_and_its_last_delay_repeats(count: int, delay: float) -> None:
    assert ALERT.delay(count) == delay
    assert ALERT.budget_seconds == 7 * 24 * HOUR


def test_look_ups_begin_soon_and_become_rare() -> None:
    assert [look_up_delay(count) for count in range(10)] == [5, 15, 30, 60, 120, 300, 600, 1800, 1800, 1800]
    assert list(LOOK_UP_DELAYS) == sorted(LOOK_UP_DELAYS)


def test_jitter_is_a_tenth_either_way_and_follows_the_scale() -> None:
    drawn = [jittered(100.0) for _ in range(500)]
    assert 90 <= min(drawn) < 95 and 105 < max(drawn) <= 110
    assert 0.09 <= jittered(100.0, 0.001) <= 0.11
    assert jittered(0.0) == 0.0


def test_what_a_receiver_asks_for_is_obeyed_between_our_own_delay_and_a_quarter_of_a_day() -> None:
    assert WEBHOOK.wait(4, 1.0, 10_000.0) == 10_000.0
    assert WEBHOOK.wait(4, 1.0, 1e9) == 6 * HOUR
    for asked_for in (None, 0.0, 60.0):
        assert 0.9 * 6_480 <= WEBHOOK.wait(4, 1.0, asked_for) <= 1.1 * 6_480
    # What calls an upstream leaves that to its breaker, which obeys it for everybody.
    assert TRAVEL_CLAIM.wait(0, 1.0, 10_000.0) < 17


def test_a_claim_has_25_hours_of_closed_breaker_and_five_days_in_all() -> None:
    assert (SUBMIT.deadline_seconds, SUBMIT.give_up_seconds) == (25 * HOUR, 5 * 24 * HOUR)


@pytest.mark.parametrize("path", sorted(REGISTERED.works))
def test_no_schedule_ends_before_its_delays_are_used(path: str) -> None:
    schedule = spec_of(path).schedule
    assert list(schedule.delays) == sorted(schedule.delays)
    assert schedule.delays[0] > 0
    assert schedule.budget_seconds >= sum(schedule.delays)
