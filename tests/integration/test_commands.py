"""What operators see and do: the ledger from the shell, the probes, the gauges and the consoles' first page."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from flaskapp.db import db
from flaskapp.notifications.kinds import NOTICES, without_template
from jobs import housekeeping
from sandbox.settings import OPERATOR, kept_secrets
from sandbox.upstreams.templates import TEMPLATE_IDS
from tests.edge_app import log_in
from tests.house import House
from tests.integration.steps import Asked, command, file_claim, reconfigure, sweep, texts


def refused(house: House) -> Asked:
    house.control.play("btsss", "refused")
    asked = file_claim(house)
    house.work()
    return asked


# -- the ledger from the shell ------------------------------------------------


def test_what_is_owed_is_listed_counted_and_filtered(house: House) -> None:
    waiting = file_claim(house)
    listed = json.loads(command(house, "outbox", "list", "--json").output)
    assert [(row["subject_id"], row["state"], row["queue"]) for row in listed] == [
        (waiting.id, "ready", "travel_claims")
    ]
    assert json.loads(command(house, "outbox", "list", "--state", "parked", "--json").output) == []
    assert waiting.id in command(house, "outbox", "list", "--queue", "travel_claims").output
    assert command(house, "outbox", "list", "--queue", "strange").exit_code == 2
    (counted,) = json.loads(command(house, "outbox", "summary", "--json").output)
    assert (counted["queue"], counted["state"], counted["messages"]) == ("travel_claims", "ready", 1)


def test_a_message_is_shown_with_its_attempts_and_the_history_of_its_subject(house: House) -> None:
    asked = refused(house)
    number = str(asked.message["id"])
    shown = command(house, "outbox", "show", number).output
    for words in ("state: parked", "refused: Rejected", "travel_claim.moved", "message.parked", "eligible"):
        assert words in shown
    as_json = json.loads(command(house, "outbox", "show", number, "--json").output)
    assert [attempt["status"] for attempt in as_json["attempts"]] == ["error"]
    assert command(house, "outbox", "show", "999999").exit_code == 1


def test_a_finished_message_can_still_be_shown(house: House) -> None:
    asked = file_claim(house)
    number = str(asked.message["id"])
    house.work()
    shown = command(house, "outbox", "show", number)
    assert (shown.exit_code, "its row is gone" in shown.output, "success" in shown.output) == (0, True, True)


def test_a_message_parked_by_hand_is_a_case_and_goes_on_after_a_requeue(house: House) -> None:
    asked = file_claim(house)
    number = str(asked.message["id"])
    assert command(house, "outbox", "park", number, "--reason", "the station is closed").exit_code == 0
    assert (house.cases(), asked.message["parked_reason"]) == (["parked_by_hand"], "the station is closed")
    assert command(house, "audit").exit_code == 0
    house.work()
    assert (house.submits(), asked.state["state"]) == ([], "pending")
    again = command(house, "outbox", "park", number, "--reason", "twice")
    assert (again.exit_code, "is not waiting" in again.output) == (1, True)
    assert command(house, "outbox", "requeue", number).exit_code == 0
    house.work()
    assert (asked.state["state"], house.cases(), texts(house)) == ("submitted", [], ["cie.created"])


def test_requeue_takes_many_and_tells_of_each(house: House) -> None:
    asked = refused(house)
    result = command(house, "outbox", "requeue", str(asked.message["id"]), "999999")
    assert result.exit_code == 1
    assert f"{asked.message['id']}: reopened" in result.output and "999999: not parked" in result.output


def test_a_closed_gate_is_shown_with_its_reason(house: House) -> None:
    house.control.set("veis", "refuse")
    file_claim(house)
    house.work(until=lambda: house.value("SELECT count(*) FROM outbox_gates WHERE closed_at IS NOT NULL"))
    gates = {row["upstream"]: row for row in json.loads(command(house, "gates", "list", "--json").output)}
    assert gates["btsss"]["reason"] == "unavailable" and gates["va_notify"]["closed_at"] is None
    assert 'surefile_gate_closed{upstream="btsss"} 1.0' in house.app.test_client().get("/metrics").text


# -- release and retention ----------------------------------------------------


def partitions(house: House) -> list[str]:
    query = "SELECT relname FROM pg_class WHERE relname ~ '^outbox_history_[0-9]{6}$' ORDER BY 1"
    return [row[0] for row in house.rows(query)]


def test_a_release_names_the_notices_that_nobody_could_be_sent_and_changes_nothing(house: House) -> None:
    assert without_template(house.app.extensions["config"].vanotify_templates) == []
    house.rows("DELETE FROM outbox_gates RETURNING 1")
    known = dict(TEMPLATE_IDS)
    del known["oh.denied"]
    reconfigure(house, vanotify_templates=known | {"itf.failed": ""})
    result = command(house, "release")
    assert result.exit_code == 1
    assert result.stderr == "Error: VANOTIFY_TEMPLATES names no template for oh.denied, itf.failed\n"
    assert house.value("SELECT count(*) FROM outbox_gates") == 0
    # Nobody is owed an e-mail of theirs before the first share of it is taken up.
    reconfigure(house, vanotify_templates=TEMPLATE_IDS | {"itf.failed": ""}, itf_async_percent=0)
    assert command(house, "release").exit_code == 0


def test_every_notice_there_is_has_its_words_in_the_sandbox() -> None:
    assert {f"{sender}.{notice}" for sender, notices in NOTICES.items() for notice in notices} == set(TEMPLATE_IDS)


def test_a_release_can_be_repeated(house: House) -> None:
    before = partitions(house)
    result = command(house, "release")
    assert (result.exit_code, partitions(house)) == (0, before)
    assert len(before) == 4


def test_retention_makes_partitions_ahead_and_drops_what_is_past_keeping(house: House) -> None:
    file_claim(house)
    house.work()
    old = partitions(house)
    house.move_clock(timedelta(days=31 * 25))
    housekeeping.retain()
    kept = partitions(house)
    assert not set(old[:1]) & set(kept)
    assert len([name for name in kept if name > old[-1]]) == 4
    assert house.value("SELECT count(*) FROM outbox_attempts") == 0
    assert house.value("SELECT count(*) FROM outbox_history") == 0
    assert house.value("SELECT count(*) FROM travel_claims") == 1
    file_claim(house, date="2034-01-01")
    now = house.value("SELECT to_char(outbox_now(), 'YYYYMM')")
    assert house.value(f"SELECT count(*) FROM outbox_history_{now}") == 1


def test_attempts_at_work_still_owed_outlive_retention(house: House) -> None:
    refused(house)
    house.move_clock(timedelta(days=31 * 25))
    housekeeping.retain()
    assert house.rows("SELECT job FROM outbox_attempts") == [("jobs.travel_claims.submit_claim",)]


def test_old_sessions_are_forgotten(house: House) -> None:
    house.sign_in()
    house.move_clock(timedelta(hours=30))
    housekeeping.retain()
    assert house.value("SELECT count(*) FROM check_in_sessions") == 1
    house.move_clock(timedelta(hours=37))
    housekeeping.retain()
    assert house.value("SELECT count(*) FROM check_in_sessions") == 0


# -- probes, gauges, pages ----------------------------------------------------


def test_readiness_names_the_processes_and_what_is_away(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    client = house.app.test_client()
    assert client.get("/healthz/live").get_json() == {"status": "alive"}
    house.beat()
    ready = client.get("/healthz/ready").get_json()
    assert (ready["status"], ready["redis"], ready["processes"]) == ("ready", "ok", {"worker": 1})
    monkeypatch.setitem(house.app.extensions, "expected_migration", "9999_later")
    unready = client.get("/healthz/ready")
    assert (unready.status_code, unready.get_json()["reason"]) == (503, "the database is not migrated")


def test_the_gauges_say_what_is_owed_held_and_unaccounted(house: House) -> None:
    refused(house)
    assert "surefile_unaccounted " not in house.app.test_client().get("/metrics").text, "no audit, no number"
    housekeeping.audit_all()
    lines = house.app.test_client().get("/metrics").text.splitlines()
    for line in (
        "surefile_unaccounted 0.0",
        "surefile_broken_rules 0.0",
        "surefile_ledger_faults 0.0",
        'surefile_messages{queue="travel_claims",state="parked"} 1.0',
        f'surefile_open_cases{{kind="refused",owner="{OPERATOR}"}} 1.0',
        'surefile_gate_closed{upstream="btsss"} 0.0',
    ):
        assert line in lines
    house.rows("UPDATE cases SET closed_at = outbox_now(), closed_by = 'x' RETURNING 1")
    house.rows("DELETE FROM notifications RETURNING 1")
    housekeeping.audit_all()
    assert "surefile_unaccounted 1.0" in house.app.test_client().get("/metrics").text.splitlines()


def test_the_consoles_first_page_says_what_to_do_and_is_for_operators(house: House, secrets_folder: Any) -> None:
    asked = refused(house)
    client = house.app.test_client()
    assert client.get("/ops/").status_code == 302
    assert log_in(client, kept_secrets(secrets_folder).operator_password, OPERATOR).status_code == 303
    page = client.get("/ops/").text
    for words in (
        "refused",
        asked.id[:8],
        f"message {asked.message['id']}",
        "Correct the cause upstream",
        "btsss",
        "/rq/",
    ):
        assert words in page


def test_a_sweep_and_an_audit_give_way_to_one_that_is_running(house: House) -> None:
    asked = refused(house)
    house.redis.flushall()
    with db.engine.connect() as other:
        other.execute(text("SELECT pg_advisory_lock(hashtext('surefile.sweep'))"))
        sweep(house)
        assert house.redis.keys("rq:failed:*") == []
        other.execute(text("SELECT pg_advisory_unlock_all()"))
    sweep(house)
    assert house.redis.zrange("rq:failed:travel_claims", 0, -1) == [
        f"{asked.message['id']}-{asked.message['fence']}".encode()
    ]
