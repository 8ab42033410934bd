"""The audit finds what nobody accounts for, whatever was lost, and says nothing of what somebody does."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from flaskapp.audit.report import audit, audit_everything
from flaskapp.db import transaction
from jobs import housekeeping
from tests.house import ADA, House
from tests.integration.steps import Asked, command, file_claim, filed_and_not_told_yet, lose, refused, take, told


def standings(house: House) -> dict[str, int]:
    with transaction() as session:
        return audit(session).standings["travel_claim"]


def waiting(house: House) -> Asked:
    return file_claim(house)


def in_flight(house: House) -> Asked:
    asked = file_claim(house)
    take(house, asked)
    return asked


@pytest.mark.parametrize(
    ("moment", "standing"),
    [(waiting, "owed"), (in_flight, "owed"), (filed_and_not_told_yet, "owed"), (told, "told"), (refused, "held")],
)
def test_every_claim_is_accounted_for_at_every_moment(
    house: House, moment: Callable[[House], Asked], standing: str
) -> None:
    moment(house)
    assert standings(house) == {standing: 1}
    result = command(house, "audit")
    assert (result.exit_code, "unaccounted: 0" in result.output) == (0, True)


@pytest.mark.parametrize(
    ("moment", "loss"),
    [
        (waiting, "DELETE FROM outbox_messages"),
        (filed_and_not_told_yet, "DELETE FROM outbox_messages"),
        (told, "DELETE FROM notifications"),
        (told, "UPDATE notifications SET state = 'undeliverable', finished_at = outbox_now()"),
        (told, "UPDATE notifications SET kind = 'error'"),
        (told, "UPDATE travel_claims SET cycle = 2"),
        (told, "UPDATE travel_claims SET state = 'pending', finished_at = NULL"),
        (waiting, "UPDATE outbox_messages SET state = 'parked', fence = 1, parked_reason = 'x'"),
    ],
)
def test_whatever_is_lost_is_found_and_becomes_a_case(
    house: House, moment: Callable[[House], Asked], loss: str
) -> None:
    asked = moment(house)
    house.rows(f"{loss} RETURNING 1")
    result = command(house, "audit")
    assert (result.exit_code, f"unaccounted: travel_claim {asked.id}" in result.output) == (1, True)
    found = json.loads(command(house, "audit", "--json").output)
    assert (found["unaccounted"], found["findings"][0]["subject_id"]) == (1, asked.id)
    for _ in range(2):
        housekeeping.audit_all()
    assert house.cases() == ["unaccounted"]
    assert standings(house) == {"held": 1}


def test_a_held_claim_whose_case_is_gone_was_told_and_no_more(house: House) -> None:
    """Its failure was told, so without a case it counts as told; without its notice it is lost."""
    refused(house)
    house.rows("DELETE FROM cases RETURNING 1")
    assert standings(house) == {"told": 1}
    house.rows("DELETE FROM notifications RETURNING 1")
    assert command(house, "audit").exit_code == 1


def test_a_notice_nobody_could_deliver_is_held_until_a_human_closed_it(house: House) -> None:
    house.control.call("POST", "va_notify", "outcomes", json={"recipient": ADA.icn, "status": "refused"})
    file_claim(house)
    house.work()
    assert standings(house) == {"held": 1}
    identifier = str(house.value("SELECT id FROM cases"))
    assert command(house, "cases", "close", identifier, "--resolution", "told by phone").exit_code == 0
    assert standings(house) == {"told": 1}
    # They were told of something else than the end.
    house.rows("UPDATE notifications SET kind = 'error' RETURNING 1")
    assert standings(house) == {"unaccounted": 1}
    house.rows("UPDATE notifications SET kind = 'created' RETURNING 1")
    house.rows("DELETE FROM cases RETURNING 1")
    assert standings(house) == {"unaccounted": 1}


def test_a_broken_rule_of_the_ledger_is_named_with_its_message(house: House) -> None:
    asked = in_flight(house)
    house.rows("DELETE FROM outbox_attempts RETURNING 1")
    house.rows("UPDATE outbox_messages SET lease_expires_at = outbox_now() - interval '1 hour' RETURNING 1")
    result = command(house, "audit")
    assert result.exit_code == 1
    for rule in ("running_without_try", "lease_long_over"):
        assert f"fault: message {asked.message['id']}: {rule}" in result.output


def test_redis_away_or_empty_is_told_and_is_no_fault(house: House) -> None:
    asked = file_claim(house)
    house.beat()
    house.relay.run_once()
    compared = json.loads(command(house, "audit", "--json").output)["redis"]
    assert (compared["published"], compared["pointers"]) == (1, 1)
    house.redis.flushall()
    result = command(house, "audit", "--json")
    assert (result.exit_code, json.loads(result.output)["redis"]["pointers"]) == (0, 0)
    assert asked.message["state"] == "published"


def test_a_rescued_claim_is_owed_again_and_no_fault_remains(house: House) -> None:
    asked = file_claim(house)
    lose(house, take(house, asked))
    assert standings(house) == {"owed": 1}
    assert command(house, "audit").exit_code == 0


def test_read_in_slices_nobody_is_read_twice_and_nobody_left_out(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the slices are, and although several ended at one moment."""
    for date in ("2031-05-04", "2031-05-05", "2031-05-06", "2031-05-07"):
        file_claim(house, date=date)
    house.work()
    waiting(house)
    past = "SET finished_at = outbox_now() - interval '40 days' WHERE state <> 'pending'"
    assert len(house.rows(f"UPDATE travel_claims {past} RETURNING 1")) == 4
    with transaction() as session:
        whole = audit(session)
    assert whole.read == 5
    for size in (1, 2, 3, 5):
        monkeypatch.setattr("flaskapp.audit.report.SLICE_SIZE", size)
        seen: list[int] = []
        assert audit_everything(seen.append) == whole
        assert sum(seen) == whole.read
    house.rows("DELETE FROM notifications RETURNING 1")
    assert audit_everything().unaccounted_count == 4
