"""What an operator says about gates from a shell, and what the shell says back."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from click.testing import Result

from flaskapp.current import moment_now
from flaskapp.db import transaction
from flaskapp.ops.commands.ledger import operator
from tests.house import House
from tests.integration.itf_steps import sign_in
from tests.integration.steps import Asked, command, file_claim, reconfigure
from tests.integration.travel_pay_reading import reads, refusal
from tests.integration.travel_pay_steps import CLAIMS_URL, traveling


def now(house: House) -> datetime:
    with transaction() as session:
        return moment_now(session)


def hold(house: House, *options: str, upstream: str = "btsss", reason: str = "they move house") -> Result:
    return command(house, "gates", "hold", upstream, *options, "--reason", reason)


def holds(house: House) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(command(house, "gates", "holds", "--json").output)
    return found


def seconds_held(house: House) -> float:
    (only,) = holds(house)
    return (datetime.fromisoformat(only["ends_at"]) - datetime.fromisoformat(only["starts_at"])).total_seconds()


def gate(house: House, upstream: str = "btsss") -> dict[str, Any]:
    listed = json.loads(command(house, "gates", "list", "--json").output)
    return next(row for row in listed if row["upstream"] == upstream)


def work_a_little(house: House) -> None:
    for _ in range(2):
        house.beat()
        house.relay.run_once()
        house.run_queued()


def test_a_held_upstream_hears_nothing_until_the_hold_is_lifted(house: House) -> None:
    said = hold(house, "--for", "2h")
    assert (said.exit_code, "btsss is left alone from" in said.output) == (0, True)
    asked = file_claim(house)
    work_a_little(house)
    assert (house.submits(), asked.message["state"]) == ([], "ready")
    lifted = command(house, "gates", "lift", "btsss")
    assert (lifted.exit_code, lifted.output, holds(house)) == (0, "1 lifted\n", [])
    house.work()
    assert (len(house.submits()), asked.state["state"]) == (1, "submitted")


def test_a_maintenance_window_begins_and_ends_by_itself_and_no_attempt_is_charged_for_it(house: House) -> None:
    start = now(house) + timedelta(hours=5)
    said = hold(house, "--from", start.isoformat(), "--for", "90m")
    assert (
        f"from {start:%Y-%m-%d %H:%M:%S} UTC until {start + timedelta(minutes=90):%Y-%m-%d %H:%M:%S} UTC" in said.output
    )
    assert (holds(house)[0]["in_force"], gate(house)["held_until"]) == (False, None)
    before = file_claim(house)
    house.work()
    assert before.state["state"] == "submitted"
    house.move_clock(timedelta(hours=5, minutes=1))
    assert holds(house)[0]["in_force"]
    during = file_claim(house, date="2031-04-05")
    work_a_little(house)
    assert (during.message["state"], len(house.submits())) == ("ready", 1)
    house.move_clock(timedelta(hours=7))
    house.work()
    assert (during.state["state"], holds(house)) == ("submitted", [])
    charged = house.value("SELECT count(*) FROM outbox_attempts WHERE charged")
    assert charged == 0


def test_holds_are_listed_with_who_set_them_and_why_and_show_in_the_list_of_gates(house: House) -> None:
    assert command(house, "gates", "holds").output == "nothing\n"
    hold(house, "--for", "30m")
    (listed,) = holds(house)
    assert (listed["upstream"], listed["reason"], listed["set_by"]) == ("btsss", "they move house", operator())
    assert "they move house" in command(house, "gates", "holds").output
    assert gate(house)["held_until"] == listed["ends_at"]
    assert (gate(house)["closed_at"], gate(house, "va_notify")["held_until"]) == (None, None)


def test_one_hold_of_several_is_lifted_by_its_number(house: House) -> None:
    hold(house, "--for", "1h")
    hold(house, "--for", "3h")
    first, second = holds(house)
    assert command(house, "gates", "lift", "btsss", "--hold", str(first["id"])).output == "1 lifted\n"
    assert [each["id"] for each in holds(house)] == [second["id"]]
    again = command(house, "gates", "lift", "btsss", "--hold", str(first["id"]))
    assert (again.exit_code, "has no such hold" in again.output) == (1, True)


def test_a_hold_lasts_as_long_as_it_says(house: House) -> None:
    for written, seconds in (("45s", 45), ("90m", 5400), ("4h", 14400), ("2d", 172_800)):
        assert hold(house, "--for", written).exit_code == 0
        assert seconds_held(house) == seconds
        command(house, "gates", "lift", "btsss")


def test_until_is_a_moment_in_any_zone(house: House) -> None:
    until = (now(house) + timedelta(hours=3)).replace(microsecond=0)
    assert hold(house, "--until", (until - timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%S-06:00")).exit_code == 0
    assert datetime.fromisoformat(holds(house)[0]["ends_at"]) == until


def test_from_a_moment_ago_means_from_now(house: House) -> None:
    moment = now(house) - timedelta(hours=1)
    assert hold(house, "--from", moment.isoformat(), "--for", "90m").exit_code == 0
    assert seconds_held(house) == 5400
    assert datetime.fromisoformat(holds(house)[0]["starts_at"]) > moment + timedelta(minutes=59)


SENSELESS = {
    "give either --for or --until": [(), ("--for", "1h", "--until", "2199-01-01T00:00Z")],
    "expected a number and a unit: 30s, 90m, 4h, 2d": [("--for", "soon"), ("--for", "0h"), ("--for", "-3h")],
    "expected a moment like 2031-03-04T22:00Z": [("--until", "tomorrow"), ("--until", "9999-12-31T23:59-11:00")],
    "say in which zone": [("--until", "2199-01-01T22:00"), ("--from", "2199-01-01", "--for", "1h")],
    "in the future": [("--until", "2001-01-01T00:00Z")],
    "end after it starts": [("--from", "2199-01-02T00:00Z", "--until", "2199-01-01T00:00Z")],
}


def test_a_time_that_makes_no_sense_is_refused_in_plain_words(house: House) -> None:
    said = {words: [hold(house, *options) for options in given] for words, given in SENSELESS.items()}
    for words, refusals in said.items():
        assert [(each.exit_code, words in each.output) for each in refusals] == [(2, True)] * len(refusals), words
    assert holds(house) == []


def test_a_hold_without_a_reason_is_refused(house: House) -> None:
    assert command(house, "gates", "hold", "btsss", "--for", "1h").exit_code == 2
    blank = hold(house, "--for", "1h", reason=" ")
    assert (blank.exit_code, "say why" in blank.output, holds(house)) == (2, True, [])


@pytest.mark.parametrize("words", [("hold", "btss", "--for", "1h", "--reason", "x"), ("lift", "btss")])
def test_an_upstream_nobody_knows_is_answered_with_those_there_are(house: House, words: tuple[str, ...]) -> None:
    said = command(house, "gates", *words)
    assert said.exit_code == 2
    for part in ("there is no gate of btss", "btsss", "lighthouse_claims", "va_notify", "va_profile"):
        assert part in said.output


def test_whoever_reads_from_a_held_upstream_is_told_when_to_come_again(house: House) -> None:
    person = traveling(house)
    hold(house, "--for", "5h", upstream="travel_pay")
    answer = person.get(CLAIMS_URL)
    assert (refusal(answer), reads(house)) == ((503, "503"), 0)
    assert 17_900 < int(answer.headers["Retry-After"]) <= 18_000
    assert "try again in 5 hours" in answer.get_json()["errors"][0]["detail"]
    command(house, "gates", "lift", "travel_pay")
    assert person.get(CLAIMS_URL).status_code == 200


def test_a_claim_posted_while_travel_pay_is_held_is_answered_at_once(house: House) -> None:
    reconfigure(house, travel_pay_wait_seconds=60.0)
    person = traveling(house)
    person.get(CLAIMS_URL)
    hold(house, "--for", "1h", upstream="accounts")
    hold(house, "--for", "1h", upstream="travel_pay")
    began = time.monotonic()
    assert person.post().status_code == 202
    assert time.monotonic() - began < 30


def test_a_hold_is_evidence_for_the_date_of_an_itf_that_waited_for_it(house: House) -> None:
    sign_in(house).ask()
    hold(house, "--for", "5h", upstream="accounts", reason="they move house")
    (risk,) = json.loads(command(house, "itf", "at-risk", "--json").output)
    assert risk["held_until"] == holds(house)[0]["ends_at"]
    house.move_clock(timedelta(hours=3))
    (waited,) = outages(house, risk["id"])
    assert (waited["reason"], waited["opened_at"], waited["seconds"] // 60) == ("held: they move house", None, 180)
    command(house, "gates", "lift", "accounts")
    house.move_clock(timedelta(hours=9))
    (waited,) = outages(house, risk["id"])
    assert (waited["upstream"], waited["seconds"] // 60, waited["opened_at"] is None) == ("accounts", 180, False)


def outages(house: House, itf_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(command(house, "itf", "evidence", itf_id, "--json").output)["outages"]
    return found


def test_the_forecast_names_each_queue_and_what_it_will_miss(house: House) -> None:
    assert json.loads(command(house, "gates", "forecast", "--json").output) == []
    asked: Asked = file_claim(house)
    (line,) = json.loads(command(house, "gates", "forecast", "--json").output)
    assert (line["queue"], line["waiting"], line["will_miss"]) == ("travel_claims", 1, 1), "nothing was done lately"
    house.work()
    file_claim(house, date="2031-04-05")
    (line,) = json.loads(command(house, "gates", "forecast", "--json").output)
    assert (line["waiting"], line["missed"], line["will_miss"], line["minutes_to_empty"]) == (1, 0, 0, 15.0)
    assert asked.state["state"] == "submitted"
    assert "travel_claims" in command(house, "gates", "forecast").output
