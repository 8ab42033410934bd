"""Thirty months of a constant load: nobody is accused of what was dropped in time, and nothing grows without bound."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flaskapp import clock
from flaskapp.audit.report import audit_everything
from flaskapp.audit.trace import trace
from flaskapp.db import transaction
from jobs import housekeeping
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration import travel_pay_steps
from tests.integration.form526_steps import filer, poll
from tests.integration.itf_steps import pass_time, sign_in, travel_to
from tests.integration.restore_steps import received
from tests.integration.steps import command, reconfigure, sweep
from tests.product import ADA, Product

# A round is two months.
ROUNDS, KEPT_MONTHS = 15, 24
# Far from the end of a month, by which history is dropped.
BEGAN = datetime(2027, 1, 10, 12, tzinfo=UTC)
# By then the first months are dropped; and the load repeats itself, as its people do.
COUNTED = (13, 15)
MOST_KINDS = 120
TABLES = """
    SELECT relname FROM pg_class
     WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND NOT relispartition
"""


def counts(product: Product) -> dict[str, int]:
    """Rows by table, history as one."""
    tables = [row[0] for row in product.rows(TABLES)]
    found = {table: product.value(f"SELECT count(*) FROM {table}") for table in (*tables, "outbox_history")}
    partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'outbox_history'::regclass"
    return {**found, "partitions of history": product.value(partitions)}


def live_through_two_months(product: Product, number: int) -> None:
    """By turns a form with a document and a refused claim, or an ITF, a claim and travel pay; a human closes what
    opened."""
    day = f"{clock.now():%Y-%m-%d}"
    if number % 2:
        sign_in(product, PEOPLE[number // 2 % len(PEOPLE)]).post()
        product.ask(product.sign_in(ADA, day), ADA, day)
        travel_pay_steps.traveling(product).file(f"{day}T09:30:00")
    else:
        product.ask(product.sign_in(UNLUCKY, day), UNLUCKY, day)
        person = filer(product)
        person.file(person.attach(), veteran={"note": f"round {number}"})
    work_due(product)
    if number % 2 == 0:
        poll(product)
    close_cases(product)
    # Long enough to ask VANotify what became of its texts, which it has delivered by then: its clock is not moved.
    received(product)
    pass_time(product, days=4)
    sweep(product)
    work_due(product)
    pass_time(product, days=56.9)
    sweep(product)
    housekeeping.refresh_itfs()
    work_due(product)
    close_cases(product)
    housekeeping.retain()
    housekeeping.audit_all()


def work_due(product: Product) -> None:
    """Do what is due by now; a comparison of an ITF may be due in an hour."""
    due = "SELECT count(*) FROM outbox_messages WHERE state <> 'parked' AND due_at <= outbox_now()"
    product.work(until=lambda: product.value(due) == 0)


def close_cases(product: Product) -> None:
    for case, kind in product.rows("SELECT id, kind FROM cases WHERE closed_at IS NULL"):
        assert kind not in ("unaccounted", "contradiction", "overdue", "unsettled"), kind
        assert command(product, "cases", "close", str(case), "--resolution", "reached by phone").exit_code == 0


# Each comes back when their last ITF has expired.
PEOPLE = [each for each in DEFAULT_CAST if each.itf == ADA.itf and each.identified][:4]
UNLUCKY = next(each for each in DEFAULT_CAST if each.habit == "refused")


@pytest.mark.timeout(900)
def test_thirty_months_leave_nothing_false_and_nothing_that_only_grows(product: Product) -> None:
    travel_to(product, BEGAN)
    reconfigure(product, keep_history_months=KEPT_MONTHS)
    assert len(PEOPLE) == 4
    seen = {}
    for number in range(1, ROUNDS + 1):
        live_through_two_months(product, number)
        if number in COUNTED:
            seen[number] = counts(product)
            report = audit_everything()
            assert (report.clean, report.unaccounted_count, report.broken) == (True, 0, []), number
            with transaction() as session:
                assert trace(session).illegal == [], number
    assert product.value("SELECT count(*) FROM cases WHERE kind IN ('unaccounted', 'contradiction')") == 0
    # A counter is a row for each kind of what it counts, so their number has a limit that time does not move.
    kinds = [counted.pop("outbox_counts") for counted in seen.values()]
    before, after = (seen[number] for number in COUNTED)
    # Not always as many: an ITF that a form has used is compared while it lasts, and only one of the people has one.
    assert {table: rows for table, rows in after.items() if rows > before[table]} == {} and max(kinds) < MOST_KINDS
