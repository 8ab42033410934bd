"""The rolling refresh: it compares what we show with what upstream holds, and acts on a difference seen twice."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from flaskapp import clock
from flaskapp.accounts.service import Identity, remember_person
from flaskapp.db import transaction
from flaskapp.intent_to_file.service import REFRESH as REFRESH_WORK
from flaskapp.intent_to_file.service import first_refresh
from jobs import housekeeping
from outbox.rq_side import read_job_id
from sandbox.upstreams.cast import DEFAULT_CAST, Veteran
from tests.integration.itf_refresh_steps import (
    change,
    compare_all_due,
    confirm,
    let_a_cycle_pass,
    remove,
    replace_upstream,
    row_of,
    work_what_is_due,
)
from tests.integration.itf_steps import READS, WITHOUT_ICN, creates, pass_time, reads, sign_in
from tests.integration.steps import command, reconfigure, sweep
from tests.product import ADA, Product

BEN, CARLA, DOV, ELENA, FRANK, GRACE = DEFAULT_CAST[1:7]
NOTED_BY_A_READING = ("state", "doubted_at", "last_synced_at", "effective_date", "expires_at", "upstream_id")
REFRESH = "jobs.intent_to_file.refresh_itf"


def known(product: Product, veteran: Veteran = ADA) -> dict[str, Any]:
    """The columns that a reading may change."""
    row = row_of(product, veteran)
    return {name: row[name] for name in NOTED_BY_A_READING}


def endings(product: Product) -> list[str]:
    query = "SELECT status FROM outbox_attempts WHERE job = :job AND purpose = 'read' ORDER BY id"
    return [row.status for row in product.rows(query, job=REFRESH)]


def hours_later(product: Product, hours: float) -> None:
    """Let so many hours pass, and do whatever is due in them."""
    pass_time(product, hours=hours)
    work_what_is_due(product)


def test_the_first_comparison_is_at_a_random_time_in_the_first_cycle(product: Product) -> None:
    confirm(product, ADA)
    row = row_of(product)
    assert timedelta() < row["refresh_due_at"] - row["finished_at"] <= timedelta(days=7)
    now = clock.now()
    days = [(first_refresh(now) - now) / timedelta(days=1) for _ in range(500)]
    assert {int(day) for day in days} == set(range(7))


def test_an_itf_in_sync_is_noted_and_nothing_else_changes(product: Product) -> None:
    confirm(product, ADA)
    before, reads_before = known(product), reads(product)
    let_a_cycle_pass(product)
    row = row_of(product)
    assert clock.now() - row["last_synced_at"] < timedelta(minutes=1)
    assert timedelta(days=6.9) < row["refresh_due_at"] - clock.now() <= timedelta(days=7)
    assert known(product) == {**before, "last_synced_at": row["last_synced_at"]}
    assert (reads(product), creates(product), product.cases(), endings(product)) == (
        reads_before + 1,
        1,
        [],
        ["success"],
    )


def test_an_itf_is_broken_only_when_the_difference_is_still_there_an_hour_later(product: Product) -> None:
    lost = (ADA, BEN, CARLA, DOV)
    confirm(product, *lost)
    remove(product, ADA)
    replace_upstream(product, BEN, age_days=0)
    change(product, CARLA, expires_at="2041-01-01T00:00:00+00:00")
    change(product, DOV, status="used")
    before = {veteran.icn: known(product, veteran) for veteran in lost}
    let_a_cycle_pass(product)
    for veteran in lost:
        after = known(product, veteran)
        assert after.pop("doubted_at") is not None
        assert after.items() <= before[veteran.icn].items()
        assert sign_in(product, veteran).shown()[0]["recordState"] == "confirmed"
    hours_later(product, 0.9)
    assert product.cases() == [] and len(endings(product)) == 4
    hours_later(product, 0.2)
    assert [row_of(product, veteran)["state"] for veteran in lost] == ["broken"] * 4
    assert product.cases() == ["broken"] * 4
    assert all(sign_in(product, veteran).shown() == [] for veteran in lost)
    assert command(product, "audit").exit_code == 0


def test_a_passing_fault_of_upstream_leaves_no_doubt_behind(product: Product) -> None:
    confirm(product, ADA)
    change(product, ADA, status="incomplete")
    let_a_cycle_pass(product)
    doubted = row_of(product)
    change(product, ADA, status="active")
    hours_later(product, 1.1)
    row = row_of(product)
    assert (doubted["doubted_at"] is not None, row["doubted_at"]) == (True, None)
    assert (row["state"], row["last_synced_at"] > doubted["doubted_at"], product.cases()) == ("confirmed", True, [])
    assert (product.outstanding(), row["refresh_due_at"]) == (0, doubted["refresh_due_at"])


def test_an_earlier_itf_that_appears_upstream_is_adopted_at_once(product: Product) -> None:
    confirm(product, ADA)
    asked_at = row_of(product)["asked_at"]
    began = replace_upstream(product, ADA, age_days=40)
    let_a_cycle_pass(product)
    row = row_of(product)
    assert (row["state"], row["doubted_at"], row["asked_at"]) == ("confirmed", None, asked_at)
    assert row["effective_date"] == row["upstream_created_at"] == began
    adopted = product.value("SELECT detail FROM outbox_history WHERE what = 'intent_to_file.adopted'")
    assert adopted["upstream_id"] == row["upstream_id"] != adopted["instead_of"]
    (shown,) = sign_in(product).shown()
    assert (shown["id"], datetime.fromisoformat(shown["creationDate"])) == (row["upstream_id"], began)
    assert datetime.fromisoformat(shown["expirationDate"]) == row["expires_at"] < asked_at + timedelta(days=330)


def fail_once(product: Product, kind: str, fields: dict[str, Any]) -> str:
    """One comparison of Ada's meets this fault; returns how its attempt ended."""
    product.rows("UPDATE intents_to_file SET refresh_due_at = outbox_now() RETURNING 1")
    before = len(endings(product))
    product.control.set("lighthouse", kind, operation=READS, **fields)
    pass_time(product, minutes=1)
    housekeeping.refresh_itfs()
    product.work(until=lambda: len(endings(product)) > before and "try" not in endings(product))
    product.control.clear("lighthouse")
    return endings(product)[before]


def test_an_inconclusive_answer_changes_nothing(product: Product) -> None:
    """It neither breaks nor raises nor ends a doubt; only a later answer does."""
    confirm(product, ADA)
    patience = product.app.extensions["config"].lighthouse_total_seconds
    change(product, ADA, status="incomplete")
    let_a_cycle_pass(product)
    change(product, ADA, status="active")
    before = known(product)
    assert before["doubted_at"] is not None
    nothings = [("status", {"status": status}) for status in (500, 503, 401, 403, 400, 422)]
    nothings += [("html", {"status": 404}), ("html", {"status": 200}), ("throttle", {}), ("slow", {"seconds": 0.5})]
    nothings += [("drop", {}), ("half", {}), ("empty", {"status": 404})]
    for kind, fields in nothings:
        # The message already enqueued, a second look or a retry, would keep another one from being enqueued.
        product.rows("DELETE FROM outbox_messages RETURNING 1")
        # Only the slow answer meets a short limit: a busy machine may need as long for any other.
        reconfigure(product, lighthouse_total_seconds=0.2 if kind == "slow" else patience)
        assert fail_once(product, kind, fields) == "error", kind
        assert known(product) == before, kind
        assert (product.cases(), product.value("SELECT count(*) FROM outbox_messages WHERE state = 'parked'")) == (
            [],
            0,
        )


def test_an_unanswered_comparison_is_dropped_and_made_again_in_the_next_cycle(product: Product) -> None:
    confirm(product, ADA)
    pass_time(product, days=7)
    product.control.set("lighthouse", "refuse")
    housekeeping.refresh_itfs()
    product.work(until=lambda: endings(product)[-1:] == ["error"])
    pass_time(product, hours=25)
    sweep(product)
    assert REFRESH not in {message["job"] for message in product.messages()}
    assert (product.cases(), row_of(product)["state"]) == ([], "confirmed")
    product.control.clear("lighthouse")
    let_a_cycle_pass(product)
    assert clock.now() - row_of(product)["last_synced_at"] < timedelta(minutes=2)


def test_only_itfs_that_can_still_be_shown_are_compared(product: Product) -> None:
    """Not a pending, failed or expired one. One that a form has used is expected to go, and breaks nothing."""
    confirm(product, ADA, BEN)
    assert command(product, "itf", "used", str(row_of(product, ADA)["id"])).exit_code == 0
    change(product, ADA, status="used")
    sign_in(product, WITHOUT_ICN).ask()
    product.work()
    sign_in(product, CARLA).ask()
    (message,) = [each for each in product.messages() if each["state"] != "parked"]
    command(product, "outbox", "park", str(message["id"]), "--reason", "for good")
    reads_before = reads(product)
    let_a_cycle_pass(product)
    assert reads(product) == reads_before + 2
    assert [row_of(product, each)["state"] for each in (ADA, BEN, CARLA, WITHOUT_ICN)] == [
        "used",
        "confirmed",
        "pending",
        "failed",
    ]
    pass_time(product, days=366)
    compare_all_due(product)
    assert (reads(product), row_of(product, BEN)["refresh_due_at"], product.outstanding()) == (
        reads_before + 2,
        None,
        0,
    )
    assert not {"broken", "unaccounted"} & set(product.cases())


def test_an_itf_used_while_its_comparison_is_outstanding_does_not_break(product: Product) -> None:
    confirm(product, ADA)
    change(product, ADA, status="used")
    let_a_cycle_pass(product)
    command(product, "itf", "used", str(row_of(product)["id"]))
    hours_later(product, 1.1)
    row = row_of(product)
    assert (row["state"], row["doubted_at"], row["refresh_due_at"], product.cases()) == ("used", None, None, [])


@pytest.mark.parametrize("hours", [0, 30], ids=["in time", "past its midnight"])
def test_a_creation_goes_before_every_comparison(product: Product, hours: float) -> None:
    confirm(product, ADA, BEN)
    with transaction() as session:
        remember_person(session, UUID(CARLA.account), Identity(CARLA.icn))
    if hours:
        sign_in(product, CARLA).ask()
        pass_time(product, hours=hours)
    with transaction() as session:
        for veteran in (ADA, BEN):
            REFRESH_WORK.enqueue(session, str(row_of(product, veteran)["id"]))
    sign_in(product, CARLA).ask()
    product.beat()
    product.relay.run_once()
    queued = [read_job_id(item.decode()) for item in product.redis.lrange("rq:queue:intents_to_file", 0, -1)]
    jobs = {message["id"]: message["job"] for message in product.messages()}
    assert [jobs[pointer[0]] for pointer in queued] == ["jobs.intent_to_file.create_itf", REFRESH, REFRESH]
