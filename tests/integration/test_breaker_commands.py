"""The breaker commands: what an operator does from a shell, and what the shell answers."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from click.testing import Result

from flaskapp.current import database_now
from flaskapp.db import transaction
from flaskapp.ops.commands.ledger import operator
from tests.integration.itf_steps import sign_in
from tests.integration.steps import RequestedClaim, command, file_claim, reconfigure
from tests.integration.travel_pay_reading import reads, refusal
from tests.integration.travel_pay_steps import CLAIMS_URL, traveling
from tests.product import Product


def now(product: Product) -> datetime:
    with transaction() as session:
        return database_now(session)


def hold(product: Product, *options: str, upstream: str = "btsss", reason: str = "their data center moves") -> Result:
    return command(product, "breakers", "hold", upstream, *options, "--reason", reason)


def holds(product: Product) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(command(product, "breakers", "holds", "--json").output)
    return found


def seconds_held(product: Product) -> float:
    (only,) = holds(product)
    return (datetime.fromisoformat(only["ends_at"]) - datetime.fromisoformat(only["starts_at"])).total_seconds()


def breaker(product: Product, upstream: str = "btsss") -> dict[str, Any]:
    listed = json.loads(command(product, "breakers", "list", "--json").output)
    return next(row for row in listed if row["upstream"] == upstream)


def work_a_little(product: Product) -> None:
    for _ in range(2):
        product.beat()
        product.relay.run_once()
        product.run_queued()


def test_a_held_upstream_gets_no_call_until_the_hold_is_lifted(product: Product) -> None:
    said = hold(product, "--for", "2h")
    assert (said.exit_code, "nothing is sent to btsss from" in said.output) == (0, True)
    claim = file_claim(product)
    work_a_little(product)
    assert (product.submits(), claim.message["state"]) == ([], "ready")
    lifted = command(product, "breakers", "lift", "btsss")
    assert (lifted.exit_code, lifted.output, holds(product)) == (0, "1 lifted\n", [])
    product.work()
    assert (len(product.submits()), claim.state["state"]) == (1, "submitted")


def test_a_maintenance_window_begins_and_ends_by_itself_and_charges_no_attempt(product: Product) -> None:
    start = now(product) + timedelta(hours=5)
    said = hold(product, "--from", start.isoformat(), "--for", "90m")
    assert (
        f"from {start:%Y-%m-%d %H:%M:%S} UTC until {start + timedelta(minutes=90):%Y-%m-%d %H:%M:%S} UTC" in said.output
    )
    assert (holds(product)[0]["in_force"], breaker(product)["held_until"]) == (False, None)
    before = file_claim(product)
    product.work()
    assert before.state["state"] == "submitted"
    product.move_clock(timedelta(hours=5, minutes=1))
    assert holds(product)[0]["in_force"]
    during = file_claim(product, date="2031-04-05")
    work_a_little(product)
    assert (during.message["state"], len(product.submits())) == ("ready", 1)
    product.move_clock(timedelta(hours=7))
    product.work()
    assert (during.state["state"], holds(product)) == ("submitted", [])
    charged = product.value("SELECT count(*) FROM outbox_attempts WHERE charged")
    assert charged == 0


def test_holds_are_listed_with_operator_and_reason_and_shown_at_their_breakers(product: Product) -> None:
    assert command(product, "breakers", "holds").output == "nothing\n"
    hold(product, "--for", "30m")
    (listed,) = holds(product)
    assert (listed["upstream"], listed["reason"], listed["set_by"]) == ("btsss", "their data center moves", operator())
    assert "their data center moves" in command(product, "breakers", "holds").output
    assert breaker(product)["held_until"] == listed["ends_at"]
    assert (breaker(product)["opened_at"], breaker(product, "va_notify")["held_until"]) == (None, None)


def test_one_hold_of_several_is_lifted_by_its_number(product: Product) -> None:
    hold(product, "--for", "1h")
    hold(product, "--for", "3h")
    first, second = holds(product)
    assert command(product, "breakers", "lift", "btsss", "--hold", str(first["id"])).output == "1 lifted\n"
    assert [each["id"] for each in holds(product)] == [second["id"]]
    again = command(product, "breakers", "lift", "btsss", "--hold", str(first["id"]))
    assert (again.exit_code, "has no such hold" in again.output) == (1, True)


def test_a_hold_lasts_as_long_as_it_says(product: Product) -> None:
    for written, seconds in (("45s", 45), ("90m", 5400), ("4h", 14400), ("2d", 172_800)):
        assert hold(product, "--for", written).exit_code == 0
        assert seconds_held(product) == seconds
        command(product, "breakers", "lift", "btsss")


def test_until_may_be_given_in_any_time_zone(product: Product) -> None:
    until = (now(product) + timedelta(hours=3)).replace(microsecond=0)
    assert hold(product, "--until", (until - timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%S-06:00")).exit_code == 0
    assert datetime.fromisoformat(holds(product)[0]["ends_at"]) == until


def test_a_from_in_the_past_means_now(product: Product) -> None:
    timestamp = now(product) - timedelta(hours=1)
    assert hold(product, "--from", timestamp.isoformat(), "--for", "90m").exit_code == 0
    assert seconds_held(product) == 5400
    assert datetime.fromisoformat(holds(product)[0]["starts_at"]) > timestamp + timedelta(minutes=59)


SENSELESS = {
    "give either --for or --until": [(), ("--for", "1h", "--until", "2199-01-01T00:00Z")],
    "expected a number and a unit: 30s, 90m, 4h, 2d": [("--for", "soon"), ("--for", "0h"), ("--for", "-3h")],
    "expected a time like 2031-03-04T22:00Z": [("--until", "tomorrow"), ("--until", "9999-12-31T23:59-11:00")],
    "say in which zone": [("--until", "2199-01-01T22:00"), ("--from", "2199-01-01", "--for", "1h")],
    "in the future": [("--until", "2001-01-01T00:00Z")],
    "end after it starts": [("--from", "2199-01-02T00:00Z", "--until", "2199-01-01T00:00Z")],
}


def test_a_senseless_time_is_refused_with_a_plain_message(product: Product) -> None:
    said = {words: [hold(product, *options) for options in given] for words, given in SENSELESS.items()}
    for words, refusals in said.items():
        assert [(each.exit_code, words in each.output) for each in refusals] == [(2, True)] * len(refusals), words
    assert holds(product) == []


def test_a_hold_without_a_reason_is_refused(product: Product) -> None:
    assert command(product, "breakers", "hold", "btsss", "--for", "1h").exit_code == 2
    blank = hold(product, "--for", "1h", reason=" ")
    assert (blank.exit_code, "give a reason" in blank.output, holds(product)) == (2, True, [])


@pytest.mark.parametrize("words", [("hold", "btss", "--for", "1h", "--reason", "x"), ("lift", "btss")])
def test_an_unknown_upstream_is_answered_with_the_known_ones(product: Product, words: tuple[str, ...]) -> None:
    said = command(product, "breakers", *words)
    assert said.exit_code == 2
    for part in ("there is no breaker of btss", "btsss", "lighthouse_claims", "va_notify", "va_profile"):
        assert part in said.output


def test_a_reader_of_a_held_upstream_is_informed_when_to_come_again(product: Product) -> None:
    person = traveling(product)
    hold(product, "--for", "5h", upstream="travel_pay")
    answer = person.get(CLAIMS_URL)
    assert (refusal(answer), reads(product)) == ((503, "503"), 0)
    assert 17_900 < int(answer.headers["Retry-After"]) <= 18_000
    assert "try again in 5 hours" in answer.get_json()["errors"][0]["detail"]
    command(product, "breakers", "lift", "travel_pay")
    assert person.get(CLAIMS_URL).status_code == 200


def test_a_claim_posted_while_travel_pay_is_held_is_answered_at_once(product: Product) -> None:
    reconfigure(product, travel_pay_wait_seconds=60.0)
    person = traveling(product)
    person.get(CLAIMS_URL)
    hold(product, "--for", "1h", upstream="accounts")
    hold(product, "--for", "1h", upstream="travel_pay")
    began = time.monotonic()
    assert person.post().status_code == 202
    assert time.monotonic() - began < 30


def test_a_hold_is_evidence_for_the_date_of_an_itf_that_it_delayed(product: Product) -> None:
    sign_in(product).ask()
    hold(product, "--for", "5h", upstream="accounts", reason="their data center moves")
    (risk,) = json.loads(command(product, "itf", "at-risk", "--json").output)
    assert risk["held_until"] == holds(product)[0]["ends_at"]
    product.move_clock(timedelta(hours=3))
    (outage,) = outages(product, risk["id"])
    assert (outage["reason"], outage["closed_at"], outage["seconds"] // 60) == (
        "held: their data center moves",
        None,
        180,
    )
    command(product, "breakers", "lift", "accounts")
    product.move_clock(timedelta(hours=9))
    (outage,) = outages(product, risk["id"])
    assert (outage["upstream"], outage["seconds"] // 60, outage["closed_at"] is None) == ("accounts", 180, False)


def outages(product: Product, itf_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(command(product, "itf", "evidence", itf_id, "--json").output)["outages"]
    return found


def test_the_forecast_names_each_queue_and_how_many_deadlines_it_will_miss(product: Product) -> None:
    assert json.loads(command(product, "breakers", "forecast", "--json").output) == []
    claim: RequestedClaim = file_claim(product)
    (line,) = json.loads(command(product, "breakers", "forecast", "--json").output)
    assert (line["queue"], line["waiting"], line["will_miss"]) == ("travel_claims", 1, 1), (
        "nothing has been done recently"
    )
    product.work()
    file_claim(product, date="2031-04-05")
    (line,) = json.loads(command(product, "breakers", "forecast", "--json").output)
    assert (line["waiting"], line["missed"], line["will_miss"], line["minutes_to_empty"]) == (1, 0, 0, 15.0)
    assert claim.state["state"] == "submitted"
    assert "travel_claims" in command(product, "breakers", "forecast").output
