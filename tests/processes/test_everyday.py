"""An ordinary day: one claim from the form to the text, by six processes, with nothing in the log to worry about."""

from collections import Counter

import pytest

from tests.processes.running import SUBMIT, events
from tests.product import eventually

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def received(running):
    """What the processes wrote while one person filed a claim and was notified."""
    before = len(running.lines)
    person = running.ask()
    running.until_notified(person)
    return person, events([line for _, line in running.lines[before:]])


def test_a_claim_is_filed_once_and_its_person_notified_once(running, received):
    person, _ = received
    assert (len(running.received(SUBMIT, person)), len(running.filed(person))) == (1, 1)
    (text,) = running.texts(person)
    assert "We filed your travel claim" in text and running.filed(person)[0]["number"][-4:] in text


def test_none_of_these_lines_is_a_warning(received):
    _, lines = received
    assert [line for line in lines if line["level"] not in ("INFO", "DEBUG")] == []


def test_each_step_writes_one_line_and_rq_none(received):
    """LoROTA is called twice at the sign-in; the VEIS token may be known already."""
    _, lines = received
    counted = Counter(line["event"] for line in lines)
    assert (counted["outbox.published"], counted["job.settled"]) == (2, 2)
    assert counted["upstream.called"] in (4, 5)
    assert not [line for line in lines if line["logger"].startswith("rq")]


def test_what_web_relay_and_worker_counted_is_in_one_scrape(running, received):
    """Each adds its own every few seconds."""
    counted = (
        'surefile_requests_total{method="POST",route="/check_in/v0/travel_claims",status="2xx"}',
        'surefile_upstream_calls_total{answer="2xx",upstream="lorota"}',
        'surefile_upstream_calls_total{answer="2xx",upstream="btsss"}',
        'surefile_relay_lag_seconds_count{queue="travel_claims"}',
        'surefile_told_seconds_count{flow="travel_claim"}',
    )

    def are_all_there():
        shown = dict(line.rsplit(" ", 1) for line in running.metrics().splitlines() if not line.startswith("#"))
        return all(float(shown[series]) >= 1 for series in counted)

    eventually(are_all_there)
