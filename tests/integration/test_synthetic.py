"""Synthetic submissions: one a day through each flow, promised like any other, labelled, counted nowhere, missed when
late."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from flaskapp.audit.report import audit_everything
from flaskapp.config import SYNTHETIC_NEEDS
from flaskapp.db import transaction
from flaskapp.ops.find import Found, find_one
from jobs import housekeeping
from sandbox.upstreams.cast import DEFAULT_CAST, Veteran
from tests.integration.console_steps import logged_in, read
from tests.integration.itf_steps import move_to, pass_time
from tests.integration.steps import command, file_claim, reconfigure
from tests.product import ADA, Product

TABLES = ("travel_claims", "travel_pay_claims", "intents_to_file", "form526_submissions")
GOOD = {"submitted", "confirmed", "accepted"}
COUNTED = ("surefile_accepted_total", "surefile_ended_total", "surefile_told_seconds_count", "surefile_notifications")


def chosen(product: Product, *flows: str, who: Veteran = ADA) -> None:
    """Each of these flows, all of them by default, is tried from now on, every day at midnight."""
    person = {"account": who.account, "icn": who.icn, "phone": who.phone or "", "station": "983"}
    reconfigure(
        product,
        synthetic_flows=flows or tuple(SYNTHETIC_NEEDS),
        synthetic_person=person,
        synthetic_form={"veteranNote": "a form of {day}"},
        synthetic_at="00:00",
        synthetic_owner="ops@example.gov",
    )


def states(product: Product) -> dict[str, list[str]]:
    """The states of the synthetic ones by table, by their day."""
    return {
        table: [
            row.state for row in product.rows(f"SELECT state FROM {table} WHERE synthetic_on IS NOT NULL ORDER BY 1")
        ]
        for table in TABLES
    }


def counted(product: Product) -> list[str]:
    """Every count of submissions and notifications in the metrics that is not 0."""
    lines = product.metrics().splitlines()
    return [line for line in lines if line.startswith(COUNTED) and not line.endswith(" 0.0")]


def gauges(product: Product, name: str) -> dict[str, float]:
    lines = [line for line in product.metrics().splitlines() if line.startswith(f"surefile_synthetic_{name}{{")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


def twice_at_once(product: Product) -> None:
    """Two schedulers had the same thought."""

    def file() -> None:
        with product.app.app_context():
            housekeeping.file_synthetic()

    both = [threading.Thread(target=file) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()


def test_each_flow_is_tried_once_a_day_told_labelled_and_counted_nowhere(
    product: Product, secrets_folder: Path
) -> None:
    now = product.value("SELECT outbox_now()").astimezone(UTC)
    # Noon: what a test does later in the same day stays in it.
    noon = timedelta(days=1) + (datetime.combine(now.date(), time(12), UTC) - now)
    move_to(product, noon)
    housekeeping.file_synthetic()
    assert states(product) == {table: [] for table in TABLES}

    chosen(product)
    twice_at_once(product)
    assert states(product) == {table: ["pending"] for table in TABLES}
    # Yesterday's was never filed. Today's has its time first.
    assert set(gauges(product, "late").values()) == {0.0}
    product.work()
    housekeeping.file_synthetic()
    assert all(len(found) == 1 and found[0] in GOOD for found in states(product).values()), states(product)
    assert product.phone() and all(gauges(product, "last_success_timestamp_seconds").values())
    # Not the sheets that were made for the form either; only attempts and calls, which are the upstreams'.
    housekeeping.count_minutes()
    pass_time(product, minutes=2)
    housekeeping.count_minutes()
    assert counted(product) == []
    assert product.rows("SELECT event FROM work_counts WHERE count > 0") == []
    assert audit_everything().clean and audit_everything().submissions_read >= len(TABLES)

    operator = logged_in(product, secrets_folder)
    for table, name in zip(TABLES, SYNTHETIC_NEEDS, strict=True):
        found = str(product.value(f"SELECT id FROM {table}"))
        assert "Synthetic:" in read(operator, f"/ops/submissions/{name}/{found}"), name
        shown = product.app.test_cli_runner().invoke(args=["show", found]).output
        assert "SYNTHETIC: filed by Surefile itself" in shown, shown
        assert f"{name.replace('_', ' ')}, " in shown or "synthetic on" in shown

    # What a person files is counted as ever, the clock may jump, and the next day has one of its own.
    file_claim(product)
    product.work()
    assert len(counted(product)) > 3 and product.rows("SELECT event FROM work_counts WHERE count > 1") == []
    move_to(product, noon + timedelta(days=1))
    twice_at_once(product)
    move_to(product, noon)
    twice_at_once(product)
    move_to(product, noon + timedelta(days=1))
    product.work()
    twice_at_once(product)
    assert all(len(found) == 2 and set(found) <= GOOD for found in states(product).values()), states(product)
    assert set(gauges(product, "late").values()) == {0.0} and audit_everything().clean


def test_one_that_is_late_is_alarmed_once_and_closed_by_the_next(product: Product, secrets_folder: Path) -> None:
    # What the person has filed themselves stays theirs, and nothing is filed beside it.
    yesterday = product.value("SELECT (outbox_now() AT TIME ZONE 'UTC')::date - 1")
    file_claim(product, date=yesterday.isoformat())
    chosen(product, "travel_claim")
    housekeeping.file_synthetic()
    assert states(product)["travel_claims"] == []
    product.work()
    chosen(product, "travel_claim", who=next(each for each in DEFAULT_CAST[1:] if each.habit == "ok" and each.phone))
    product.control.set("va_notify", "status", status=503)
    housekeeping.file_synthetic()
    product.work(until=lambda: product.value("SELECT count(*) > 1 FROM travel_claims WHERE state = 'submitted'"))
    housekeeping.file_synthetic()
    assert product.cases() == []
    pass_time(product, seconds=rest_of_the_day(product).total_seconds(), hours=5)
    # Nobody files that of the new day: it is not late yet, and yesterday's is.
    for _ in range(2):
        housekeeping.file_synthetic()
    assert product.cases().count("synthetic_late") == 1
    (case,) = product.rows("SELECT id, owner FROM cases WHERE kind = 'synthetic_late'")
    assert case.owner == "ops@example.gov"
    assert gauges(product, "late") == {**dict.fromkeys(SYNTHETIC_NEEDS, 0.0), "travel_claim": 1.0}
    operator = logged_in(product, secrets_folder)
    assert "Synthetic submissions late: travel claim" in read(operator, "/ops/")
    labelled_wherever_it_is_listed(product, operator, str(case.id))
    product.control.play("va_notify", "ok")
    product.work()
    housekeeping.file_synthetic()
    assert product.cases() == [] and set(gauges(product, "late").values()) == {0.0}


def labelled_wherever_it_is_listed(product: Product, operator: FlaskClient, case: str) -> None:
    """Its case, its parked message and what is found by either, each beside a person's, which has no label."""
    (late,) = product.rows("SELECT subject_type, subject_id FROM cases WHERE CAST(id AS text) = :id", id=case)
    product.rows(
        "INSERT INTO cases (id, kind, subject_type, subject_id, owner, priority, details)"
        " SELECT gen_random_uuid(), 'refused', 'travel_claim', id::text, 'x', 0, '{}' FROM travel_claims"
        " WHERE synthetic_on IS NULL LIMIT 1 RETURNING 1"
    )
    message = product.value("SELECT id FROM outbox_messages WHERE queue = 'notifications'")
    assert command(product, "outbox", "park", str(message), "--reason", "to look at it").exit_code == 0
    mark, short = "<strong>synthetic</strong>", late.subject_id[:8]
    for path in ("/ops/", "/ops/cases/"):
        page = read(operator, path)
        assert f"{short}, {mark}" in page and page.count(mark) == 2, path
    group = read(operator, "/ops/parked/group?job=jobs.notifications.send_notification&cause=to look at it")
    assert mark in group and "1 synthetic;" in group
    assert "Synthetic:" in read(operator, f"/ops/cases/{case}")
    for wanted in (str(message), case):
        assert ", synthetic" in str(find_one_of(product, wanted))
    listed = json.loads(command(product, "cases", "list", "--json").stdout)
    assert {each["id"]: each["synthetic"] for each in listed}[case] is True
    assert [each["synthetic"] for each in listed].count(False) == 1
    assert json.loads(command(product, "outbox", "list", "--json").stdout)[0]["synthetic"] is True
    shown = json.loads(command(product, "show", case, "--json").stdout)
    assert shown["synthetic"] is True and ", synthetic" in shown["found"]["words"]
    assert ", synthetic · owner" in command(product, "cases", "show", case).output
    command(product, "outbox", "requeue", str(message))
    product.rows("DELETE FROM cases WHERE kind IN ('refused', 'parked_by_hand') RETURNING 1")


def find_one_of(product: Product, wanted: str) -> Found:
    with product.app.app_context(), transaction() as session:
        return find_one(session, wanted)


def rest_of_the_day(product: Product) -> timedelta:
    now: Any = product.value("SELECT outbox_now()").astimezone(UTC)
    return datetime.combine(now.date() + timedelta(days=1), time(), UTC) - now
