"""The rolling refresh compares what we show with what upstream holds, and believes a difference the second time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from flaskapp import clock
from flaskapp.accounts.service import Identity, remember_person
from flaskapp.db import transaction
from flaskapp.intent_to_file.record import first_refresh
from flaskapp.intent_to_file.upkeep import owe_refresh
from jobs import housekeeping
from outbox.rq_side import read_job_id
from sandbox.upstreams.cast import DEFAULT_CAST, Veteran
from tests.house import ADA, House
from tests.integration.itf_steps import READS, WITHOUT_ICN, creates, pass_time, reads, sign_in
from tests.integration.itf_upkeep import (
    change,
    compare_all_due,
    confirm,
    let_a_cycle_pass,
    remove,
    replace_upstream,
    row_of,
    work_what_is_due,
)
from tests.integration.steps import command, reconfigure, sweep

BEN, CARLA, DOV, ELENA, FRANK, GRACE = DEFAULT_CAST[1:7]
NOTED_BY_A_READING = ("state", "doubted_at", "last_synced_at", "effective_date", "expires_at", "upstream_id")
REFRESH = "jobs.intent_to_file.refresh_itf"


def known(house: House, veteran: Veteran = ADA) -> dict[str, Any]:
    """What a reading may change, before or after it."""
    row = row_of(house, veteran)
    return {name: row[name] for name in NOTED_BY_A_READING}


def endings(house: House) -> list[str]:
    query = "SELECT status FROM outbox_attempts WHERE job = :job AND purpose = 'read' ORDER BY id"
    return [row.status for row in house.rows(query, job=REFRESH)]


def hours_later(house: House, hours: float) -> None:
    """Whatever is due within these hours has been done."""
    pass_time(house, hours=hours)
    work_what_is_due(house)


def test_the_first_comparison_is_at_any_time_of_the_first_cycle(house: House) -> None:
    confirm(house, ADA)
    row = row_of(house)
    assert timedelta() < row["refresh_due_at"] - row["finished_at"] <= timedelta(days=7)
    now = clock.now()
    days = [(first_refresh(now) - now) / timedelta(days=1) for _ in range(500)]
    assert {int(day) for day in days} == set(range(7))


def test_what_is_in_sync_is_noted_and_nothing_else_changes(house: House) -> None:
    confirm(house, ADA)
    before, asked = known(house), reads(house)
    let_a_cycle_pass(house)
    row = row_of(house)
    assert clock.now() - row["last_synced_at"] < timedelta(minutes=1)
    assert timedelta(days=6.9) < row["refresh_due_at"] - clock.now() <= timedelta(days=7)
    assert known(house) == {**before, "last_synced_at": row["last_synced_at"]}
    assert (reads(house), creates(house), house.cases(), endings(house)) == (asked + 1, 1, [], ["success"])


def test_a_difference_is_broken_only_when_an_hour_later_it_is_still_there(house: House) -> None:
    lost = (ADA, BEN, CARLA, DOV)
    confirm(house, *lost)
    remove(house, ADA)
    replace_upstream(house, BEN, age_days=0)
    change(house, CARLA, expires_at="2041-01-01T00:00:00+00:00")
    change(house, DOV, status="used")
    before = {veteran.icn: known(house, veteran) for veteran in lost}
    let_a_cycle_pass(house)
    for veteran in lost:
        after = known(house, veteran)
        assert after.pop("doubted_at") is not None
        assert after.items() <= before[veteran.icn].items()
        assert sign_in(house, veteran).shown()[0]["recordState"] == "confirmed"
    hours_later(house, 0.9)
    assert house.cases() == [] and len(endings(house)) == 4
    hours_later(house, 0.2)
    assert [row_of(house, veteran)["state"] for veteran in lost] == ["broken"] * 4
    assert house.cases() == ["broken"] * 4
    assert all(sign_in(house, veteran).shown() == [] for veteran in lost)
    assert command(house, "audit").exit_code == 0


def test_a_passing_fault_of_upstream_leaves_no_doubt_behind(house: House) -> None:
    confirm(house, ADA)
    change(house, ADA, status="incomplete")
    let_a_cycle_pass(house)
    doubted = row_of(house)
    change(house, ADA, status="active")
    hours_later(house, 1.1)
    row = row_of(house)
    assert (doubted["doubted_at"] is not None, row["doubted_at"]) == (True, None)
    assert (row["state"], row["last_synced_at"] > doubted["doubted_at"], house.cases()) == ("confirmed", True, [])
    assert (house.owed(), row["refresh_due_at"]) == (0, doubted["refresh_due_at"])


def test_an_earlier_one_that_turns_up_upstream_is_adopted_at_once(house: House) -> None:
    confirm(house, ADA)
    asked = row_of(house)["asked_at"]
    began = replace_upstream(house, ADA, age_days=40)
    let_a_cycle_pass(house)
    row = row_of(house)
    assert (row["state"], row["doubted_at"], row["asked_at"]) == ("confirmed", None, asked)
    assert row["effective_date"] == row["upstream_created_at"] == began
    adopted = house.value("SELECT detail FROM outbox_history WHERE what = 'intent_to_file.adopted'")
    assert adopted["upstream_id"] == row["upstream_id"] != adopted["instead_of"]
    (shown,) = sign_in(house).shown()
    assert (shown["id"], datetime.fromisoformat(shown["creationDate"])) == (row["upstream_id"], began)
    assert datetime.fromisoformat(shown["expirationDate"]) == row["expires_at"] < asked + timedelta(days=330)


def fail_once(house: House, kind: str, fields: dict[str, Any]) -> str:
    """One comparison of Ada's meets this fault: how its attempt ended."""
    house.rows("UPDATE intents_to_file SET refresh_due_at = outbox_now() RETURNING 1")
    before = len(endings(house))
    house.control.set("lighthouse", kind, operation=READS, **fields)
    pass_time(house, minutes=1)
    housekeeping.refresh_itfs()
    house.work(until=lambda: len(endings(house)) > before and "try" not in endings(house))
    house.control.clear("lighthouse")
    return endings(house)[before]


def test_an_answer_that_says_nothing_changes_nothing(house: House) -> None:
    """It neither breaks nor doubts, and does not end a doubt; what comes after it does."""
    confirm(house, ADA)
    reconfigure(house, lighthouse_total_seconds=0.2)
    change(house, ADA, status="incomplete")
    let_a_cycle_pass(house)
    change(house, ADA, status="active")
    before = known(house)
    assert before["doubted_at"] is not None
    nothings = [("status", {"status": status}) for status in (500, 503, 401, 403, 400, 422)]
    nothings += [("html", {"status": 404}), ("html", {"status": 200}), ("throttle", {}), ("slow", {"seconds": 0.5})]
    nothings += [("drop", {}), ("half", {}), ("empty", {"status": 404})]
    for kind, fields in nothings:
        # What is owed already, the second look an hour later or the retry, is not owed once more.
        house.rows("DELETE FROM outbox_messages RETURNING 1")
        assert fail_once(house, kind, fields) == "error", kind
        assert known(house) == before, kind
        assert (house.cases(), house.value("SELECT count(*) FROM outbox_messages WHERE state = 'parked'")) == ([], 0)


def test_a_comparison_nobody_answers_is_dropped_and_made_again_next_cycle(house: House) -> None:
    confirm(house, ADA)
    pass_time(house, days=7)
    house.control.set("lighthouse", "refuse")
    housekeeping.refresh_itfs()
    house.work(until=lambda: endings(house)[-1:] == ["error"])
    pass_time(house, hours=25)
    sweep(house)
    assert REFRESH not in {message["job"] for message in house.messages()}
    assert (house.cases(), row_of(house)["state"]) == ([], "confirmed")
    house.control.clear("lighthouse")
    let_a_cycle_pass(house)
    assert clock.now() - row_of(house)["last_synced_at"] < timedelta(minutes=2)


def test_only_what_can_still_be_shown_is_compared(house: House) -> None:
    """Not a used one, which upstream answers like a missing one; nor one that is pending, failed or over."""
    confirm(house, ADA, BEN)
    assert command(house, "itf", "used", str(row_of(house, ADA)["id"])).exit_code == 0
    change(house, ADA, status="used")
    sign_in(house, WITHOUT_ICN).ask()
    house.work()
    sign_in(house, CARLA).ask()
    (message,) = [each for each in house.messages() if each["state"] != "parked"]
    command(house, "outbox", "park", str(message["id"]), "--reason", "for good")
    asked = reads(house)
    let_a_cycle_pass(house)
    assert reads(house) == asked + 1
    assert [row_of(house, each)["state"] for each in (ADA, BEN, CARLA, WITHOUT_ICN)] == [
        "confirmed",
        "confirmed",
        "pending",
        "failed",
    ]
    pass_time(house, days=366)
    compare_all_due(house)
    assert (reads(house), row_of(house, BEN)["refresh_due_at"], house.owed()) == (asked + 1, None, 0)
    assert not {"broken", "unaccounted"} & set(house.cases())


def test_one_used_up_while_its_comparison_is_owed_is_left_alone(house: House) -> None:
    confirm(house, ADA)
    change(house, ADA, status="used")
    let_a_cycle_pass(house)
    command(house, "itf", "used", str(row_of(house)["id"]))
    hours_later(house, 1.1)
    row = row_of(house)
    assert (row["state"], row["doubted_at"], row["refresh_due_at"], house.cases()) == ("confirmed", None, None, [])


@pytest.mark.parametrize("hours", [0, 30], ids=["in time", "past its midnight"])
def test_a_creation_goes_before_every_comparison(house: House, hours: float) -> None:
    confirm(house, ADA, BEN)
    with transaction() as session:
        remember_person(session, UUID(CARLA.account), Identity(CARLA.icn))
    if hours:
        sign_in(house, CARLA).ask()
        pass_time(house, hours=hours)
    with transaction() as session:
        for veteran in (ADA, BEN):
            owe_refresh(session, str(row_of(house, veteran)["id"]), 0)
    sign_in(house, CARLA).ask()
    house.beat()
    house.relay.run_once()
    queued = [read_job_id(item.decode()) for item in house.redis.lrange("rq:queue:intents_to_file", 0, -1)]
    jobs = {message["id"]: message["job"] for message in house.messages()}
    assert [jobs[pointer[0]] for pointer in queued] == ["jobs.intent_to_file.create_itf", REFRESH, REFRESH]
