"""Counters and histograms: of all processes together, each thing once, and every series there from the start."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from flaskapp.db import db, transaction
from flaskapp.ops import counters
from flaskapp.ops.metrics import LedgerCollector
from flaskapp.outside.counting import Counting, note_relay_lag
from outbox import counters as ledger_counters
from outbox import write_history
from tests.product import ADA, Product

Series = tuple[str, tuple[tuple[str, str], ...]]


def scraped(product: Product) -> dict[Series, float]:
    """Every series of a scrape, in Prometheus's own words."""
    found: dict[Series, float] = {}
    for family in text_string_to_metric_families(product.metrics()):
        for sample in family.samples:
            series = (sample.name, tuple(sorted(sample.labels.items())))
            assert series not in found, series
            found[series] = sample.value
    return found


def grown(before: dict[Series, float], after: dict[Series, float]) -> dict[str, float]:
    """By how much counters have grown, as `name label label`; those of durations only in number."""
    return {
        " ".join([name.removeprefix("surefile_"), *(value for _, value in labels)]): after[name, labels] - value
        for (name, labels), value in before.items()
        if name.endswith(("_total", "_count")) and after[name, labels] != value
    }


def test_a_claim_is_counted_from_the_request_to_the_text_and_no_series_comes_or_goes(product: Product) -> None:
    before = scraped(product)
    product.relay.note_lag = note_relay_lag
    browser = product.sign_in()
    assert product.ask(browser).status_code == 202
    product.work()
    product.phone()
    after = scraped(product)
    assert before.keys() == after.keys()
    more = grown(before, after)
    assert {name: more[name] for name in more if not name.startswith(("upstream", "request_seconds"))} == {
        "accepted_total travel_claim": 1,
        "ended_total travel_claim submitted": 1,
        "filed_seconds_count travel_claim": 1,
        "told_seconds_count travel_claim": 1,
        "notifications_total sent": 1,
        "requests_total GET /metrics 2xx": 1,
        "attempts_total file_check_in_claim success write btsss": 1,
        "attempts_total send_notification success write va_notify": 1,
        "relay_lag_seconds_count travel_claims": 1,
        "relay_lag_seconds_count notifications": 1,
        "requests_total POST /check_in/v2/sessions 2xx": 1,
        "requests_total POST /check_in/v0/travel_claims 2xx": 1,
    }
    assert more["upstream_calls_total 2xx btsss"] == more["upstream_seconds_count btsss"] == 1
    assert ADA.last_name not in product.metrics() and ADA.icn not in product.metrics()


def test_what_was_scraped_follows_the_rules_of_openmetrics_too(product: Product) -> None:
    registry = CollectorRegistry()
    registry.register(LedgerCollector())
    names = {family.name for family in read_openmetrics(generate_latest(registry).decode())}
    assert {"surefile_requests", "surefile_told_seconds", "surefile_unaccounted"} - names == {"surefile_unaccounted"}


def trips() -> float:
    counters.count_ledger(db.engine)
    with transaction() as session:
        moves = ledger_counters.read(session).get("moves", {})
    return sum(value for labels, value in moves.items() if dict(labels)["state"] == "counted")


def test_an_earlier_number_that_commits_later_is_counted_and_nothing_twice(product: Product) -> None:
    def write(connection: object) -> None:
        write_history(connection, "toy", "1", "toy.moved", moved_to="counted")  # type: ignore[arg-type]

    with db.engine.connect() as slow:
        write(slow)
        with transaction() as session:
            write(session)
        # The second has the higher number and is committed; counted now, the first would be passed over for ever.
        assert trips() == 0
        with db.engine.connect() as younger:
            write(younger)
            slow.commit()
            # Another transaction is open by now, as there always is under load: what was noted is counted.
            assert trips() == 2
            younger.commit()
    assert (trips(), trips()) == (3, 3)


def test_the_counts_of_all_processes_add_up_and_survive_without_postgres(product: Product) -> None:
    one, other = Counting(), Counting()
    for process, times in ((one, 2), (other, 3)):
        for _ in range(times):
            process.add("requests", method="GET", route="/x", status="2xx")
            process.observe("request_seconds", 0.3, method="GET")
    with db.engine.begin() as session:
        session.execute(text("ALTER TABLE outbox_counts RENAME TO elsewhere"))
    try:
        one.flush(db.engine)
    except Exception as error:
        assert "outbox_counts" in str(error)
    with db.engine.begin() as session:
        session.execute(text("ALTER TABLE elsewhere RENAME TO outbox_counts"))
    for process in (one, other, one):
        process.flush(db.engine)
    with transaction() as session:
        found = ledger_counters.read(session)
    assert found["requests"][("method", "GET"), ("route", "/x"), ("status", "2xx")] == 5
    assert found["request_seconds"][("le", "0.5"), ("method", "GET")] == 5
    assert round(found["request_seconds_sum"][("method", "GET"),], 6) == 1.5
