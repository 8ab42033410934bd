"""What operators see and do: the ledger from the shell, the health probes, the gauges and the consoles' first page."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from flaskapp import REGISTERED
from jobs import housekeeping
from sandbox.settings import OPERATOR, kept_secrets
from sandbox.upstreams.templates import TEMPLATE_IDS
from tests.edge_app import log_in
from tests.integration.steps import RequestedClaim, command, file_claim, reconfigure, sweep, sweeping, texts
from tests.product import Product


def refused(product: Product) -> RequestedClaim:
    product.control.play("btsss", "refused")
    claim = file_claim(product)
    product.work()
    return claim


# -- the ledger from the shell ------------------------------------------------


def test_outstanding_work_is_listed_counted_and_filtered(product: Product) -> None:
    waiting = file_claim(product)
    listed = json.loads(command(product, "outbox", "list", "--json").output)
    assert [(row["subject_id"], row["state"], row["queue"]) for row in listed] == [
        (waiting.id, "ready", "travel_claims")
    ]
    assert json.loads(command(product, "outbox", "list", "--state", "parked", "--json").output) == []
    assert waiting.id in command(product, "outbox", "list", "--queue", "travel_claims").output
    assert command(product, "outbox", "list", "--queue", "strange").exit_code == 2
    (counted,) = json.loads(command(product, "outbox", "summary", "--json").output)
    assert (counted["queue"], counted["state"], counted["messages"]) == ("travel_claims", "ready", 1)


def test_a_message_is_shown_with_its_attempts_and_the_history_of_its_subject(product: Product) -> None:
    claim = refused(product)
    number = str(claim.message["id"])
    shown = command(product, "outbox", "show", number).output
    for words in (
        "state: parked",
        "refused: Rejected",
        "travel_claim.moved",
        "message.parked",
        "Appointment not found",
    ):
        assert words in shown
    as_json = json.loads(command(product, "outbox", "show", number, "--json").output)
    assert [attempt["status"] for attempt in as_json["attempts"]] == ["error"]
    assert command(product, "outbox", "show", "999999").exit_code == 1


def test_a_finished_message_can_still_be_shown(product: Product) -> None:
    claim = file_claim(product)
    number = str(claim.message["id"])
    product.work()
    shown = command(product, "outbox", "show", number)
    assert (shown.exit_code, "its row is gone" in shown.output, "success" in shown.output) == (0, True, True)


def test_a_message_parked_by_hand_is_a_case_and_goes_on_after_a_requeue(product: Product) -> None:
    claim = file_claim(product)
    number = str(claim.message["id"])
    assert command(product, "outbox", "park", number, "--reason", "the station is closed").exit_code == 0
    assert (product.cases(), claim.message["parked_reason"]) == (["parked_by_hand"], "the station is closed")
    assert command(product, "audit").exit_code == 0
    product.work()
    assert (product.submits(), claim.state["state"]) == ([], "pending")
    again = command(product, "outbox", "park", number, "--reason", "twice")
    assert (again.exit_code, "is not waiting" in again.output) == (1, True)
    assert command(product, "outbox", "requeue", number).exit_code == 0
    product.work()
    assert (claim.state["state"], product.cases(), texts(product)) == ("submitted", [], ["cie.created"])


def test_requeue_accepts_many_ids_and_reports_on_each(product: Product) -> None:
    claim = refused(product)
    result = command(product, "outbox", "requeue", str(claim.message["id"]), "999999")
    assert result.exit_code == 1
    assert f"{claim.message['id']}: reopened" in result.output and "999999: not parked" in result.output


def test_an_open_breaker_is_shown_with_its_reason(product: Product) -> None:
    product.control.set("veis", "refuse")
    file_claim(product)
    product.work(until=lambda: product.value("SELECT count(*) FROM outbox_breakers WHERE opened_at IS NOT NULL"))
    breakers = {row["upstream"]: row for row in json.loads(command(product, "breakers", "list", "--json").output)}
    assert breakers["btsss"]["reason"] == "unavailable" and breakers["va_notify"]["opened_at"] is None
    assert 'surefile_breaker_open{upstream="btsss"} 1.0' in product.metrics()


# -- release and retention ----------------------------------------------------


def partitions(product: Product) -> list[str]:
    query = "SELECT relname FROM pg_class WHERE relname ~ '^outbox_history_[0-9]{6}$' ORDER BY 1"
    return [row[0] for row in product.rows(query)]


def test_a_release_names_the_notifications_without_a_template_and_changes_nothing(product: Product) -> None:
    assert REGISTERED.without_template(product.app.extensions["config"]) == []
    product.rows("DELETE FROM outbox_breakers RETURNING 1")
    known = dict(TEMPLATE_IDS)
    del known["oh.denied"]
    reconfigure(product, vanotify_templates=known | {"itf.failed": ""})
    result = command(product, "release")
    assert result.exit_code == 1
    assert result.stderr == "Error: VANOTIFY_TEMPLATES names no template for oh.denied, itf.failed\n"
    assert product.value("SELECT count(*) FROM outbox_breakers") == 0
    # Nobody gets an e-mail about an ITF before the first share of the rollout begins.
    reconfigure(product, vanotify_templates=TEMPLATE_IDS | {"itf.failed": ""}, itf_async_percent=0)
    assert command(product, "release").exit_code == 0


def test_every_notification_has_its_text_in_the_sandbox() -> None:
    assert {
        f"{sender}.{notification}"
        for sender, notifications in REGISTERED.notification_kinds.items()
        for notification in notifications
    } == set(TEMPLATE_IDS)


def test_a_release_can_be_repeated(product: Product) -> None:
    before = partitions(product)
    result = command(product, "release")
    assert (result.exit_code, partitions(product)) == (0, before)
    assert len(before) == 4


def test_retention_creates_partitions_ahead_and_drops_expired_ones(product: Product) -> None:
    file_claim(product)
    product.work()
    old = partitions(product)
    product.move_clock(timedelta(days=31 * 25))
    housekeeping.retain()
    kept = partitions(product)
    assert not set(old[:1]) & set(kept)
    assert len([name for name in kept if name > old[-1]]) == 4
    assert product.value("SELECT count(*) FROM outbox_attempts") == 0
    assert product.value("SELECT count(*) FROM outbox_history") == 0
    # Without any history left, nothing could be said of it any more.
    assert product.value("SELECT count(*) FROM travel_claims") == 0
    file_claim(product, date="2034-01-01")
    now = product.value("SELECT to_char(outbox_now(), 'YYYYMM')")
    assert product.value(f"SELECT count(*) FROM outbox_history_{now}") == 1


def test_attempts_at_outstanding_work_outlive_retention(product: Product) -> None:
    refused(product)
    product.move_clock(timedelta(days=31 * 25))
    housekeeping.retain()
    assert product.rows("SELECT job FROM outbox_attempts") == [("jobs.travel_claims.file_check_in_claim",)]


def test_old_sessions_are_deleted(product: Product) -> None:
    product.sign_in()
    product.move_clock(timedelta(hours=30))
    housekeeping.retain()
    assert product.value("SELECT count(*) FROM check_in_sessions") == 1
    product.move_clock(timedelta(hours=37))
    housekeeping.retain()
    assert product.value("SELECT count(*) FROM check_in_sessions") == 0


# -- probes, gauges, pages ----------------------------------------------------


def test_readiness_reports_the_processes_and_what_is_missing(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    client = product.app.test_client()
    assert client.get("/healthz/live").get_json() == {"status": "alive"}
    product.beat()
    ready = client.get("/healthz/ready").get_json()
    assert (ready["status"], ready["redis"], ready["processes"]) == ("degraded", "ok", {"worker": 1})
    monkeypatch.setitem(product.app.extensions, "expected_migration", "9999_later")
    unready = client.get("/healthz/ready")
    assert (unready.status_code, unready.get_json()["reason"]) == (503, "the database is not migrated")


def test_the_gauges_count_outstanding_held_and_unaccounted_work(product: Product) -> None:
    refused(product)
    assert "surefile_unaccounted " not in product.metrics(), "no audit, no number"
    housekeeping.audit_all()
    lines = product.metrics().splitlines()
    for line in (
        "surefile_unaccounted 0.0",
        "surefile_broken_rules 0.0",
        "surefile_ledger_faults 0.0",
        'surefile_messages{queue="travel_claims",state="parked"} 1.0',
        'surefile_open_cases{kind="refused"} 1.0',
        'surefile_breaker_open{upstream="btsss"} 0.0',
    ):
        assert line in lines
    product.rows("UPDATE cases SET closed_at = outbox_now(), closed_by = 'x' RETURNING 1")
    product.rows("DELETE FROM notifications RETURNING 1")
    housekeeping.audit_all()
    assert "surefile_unaccounted 1.0" in product.metrics().splitlines()


def test_the_consoles_first_page_says_what_to_do_and_is_for_operators(product: Product, secrets_folder: Any) -> None:
    claim = refused(product)
    client = product.app.test_client()
    assert client.get("/ops/").status_code == 302
    assert log_in(client, kept_secrets(secrets_folder).operator_password, OPERATOR).status_code == 303
    page = client.get("/ops/").text
    for words in (
        "refused",
        claim.id[:8],
        f"message {claim.message['id']}",
        "Correct the cause upstream",
        "btsss",
        "/rq/",
    ):
        assert words in page


def test_a_sweep_gives_way_to_one_that_is_running(product: Product) -> None:
    claim = refused(product)
    product.redis.flushall()
    with sweeping(product):
        sweep(product)
        assert product.redis.keys("rq:failed:*") == []
    sweep(product)
    assert product.redis.zrange("rq:failed:travel_claims", 0, -1) == [
        f"{claim.message['id']}-{claim.message['fence']}".encode()
    ]
