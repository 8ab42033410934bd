"""Operators' commands about ITFs: which are about to lose their day, and what proves the day of a request."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from sandbox.upstreams.cast import DEFAULT_CAST
from tests.integration.itf_refresh_steps import confirm, row_of
from tests.integration.itf_steps import CREATES, itfs, on_file, pass_time, sign_in, travel_to
from tests.integration.steps import command, sweep
from tests.product import ADA, Product

BEN, CARLA = DEFAULT_CAST[1:3]
# Half past ten in the evening in Chicago, on the 3rd of March.
LATE_IN_THE_EVENING = datetime(2031, 3, 4, 4, 30, tzinfo=UTC)


def as_json(product: Product, *arguments: str) -> Any:
    result = command(product, "itf", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_pending_itfs_are_listed_by_the_hours_left_of_their_day(product: Product) -> None:
    product.control.set("lighthouse", "refuse")
    travel_to(product, LATE_IN_THE_EVENING)
    sign_in(product, BEN).ask()
    pass_time(product, hours=3)
    sign_in(product, ADA).ask()
    pass_time(product, hours=1)
    sign_in(product, CARLA).ask()
    product.work(until=lambda: product.value("SELECT count(*) FROM outbox_breakers WHERE opened_at IS NOT NULL"))
    listed = as_json(product, "at-risk")
    assert [row["id"] for row in listed] == [str(row_of(product, each)["id"]) for each in (BEN, ADA, CARLA)]
    assert [row["hours_left"] for row in listed] == [-2.5, 21.5, 21.5]
    assert {row["open_breaker"] for row in listed} <= {None, "unavailable"} and "unavailable" in str(listed)
    assert {row["message"] for row in listed} <= {"ready", "later"}
    shown = command(product, "itf", "at-risk").output.splitlines()
    assert "hours_left" in shown[0] and "-2.5" in shown[1] and listed[0]["id"] in shown[1]
    assert [row["id"] for row in as_json(product, "at-risk", "--limit", "1")] == [listed[0]["id"]]
    assert ADA.icn not in "".join(shown)


def test_nothing_is_at_risk_when_everything_is_on_record(product: Product) -> None:
    confirm(product, ADA)
    assert as_json(product, "at-risk") == []
    assert command(product, "itf", "at-risk").output == "nothing\n"


def refused_then_away_past_midnight_then_created(product: Product) -> dict[str, Any]:
    travel_to(product, LATE_IN_THE_EVENING)
    sign_in(product).ask()
    product.control.set("lighthouse", "status", status=422, times=1, operation=CREATES)
    product.work(until=lambda: "error" in [row.status for row in product.rows("SELECT status FROM outbox_attempts")])
    product.control.set("lighthouse", "refuse")
    product.work(until=lambda: product.value("SELECT count(*) FROM outbox_breaker_trips"))
    pass_time(product, hours=2)
    sweep(product)
    product.control.clear("lighthouse")
    product.work()
    (row,) = itfs(product)
    assert row["state"] == "confirmed"
    return row


def test_the_evidence_shows_the_request_every_attempt_and_the_outage(product: Product) -> None:
    row = refused_then_away_past_midnight_then_created(product)
    (filed,) = on_file(product)
    found = as_json(product, "evidence", str(row["id"]))
    itf = found["intent_to_file"]
    assert datetime.fromisoformat(itf["asked_at"]) == row["asked_at"]
    assert (itf["asked_on_legal_date"], itf["effective_legal_date"], itf["upstream_legal_date"]) == (
        "2031-03-03",
        "2031-03-03",
        "2031-03-04",
    )
    assert itf["legal_time_zone"] == "America/Chicago"
    creations = [each for each in found["attempts"] if each["job"].endswith("create_itf")]
    assert [(each["status"], each["http_status"], each["error_class"]) for each in (creations[0], creations[-1])] == [
        ("error", 422, "Rejected"),
        ("success", None, None),
    ]
    assert creations[0]["error_detail"] and "Unavailable" in {each["error_class"] for each in creations}
    assert creations[-1]["answer"]["upstream"]["id"] == filed["id"]
    assert [each["answer"] for each in creations[:-1]] == [None] * (len(creations) - 1)
    (outage,) = found["outages"]
    assert (outage["upstream"], outage["reason"], outage["seconds"] >= 7_200) == (
        "lighthouse_claims",
        "unavailable",
        True,
    )
    assert [each["what"] for each in found["history"]][:2] == ["intent_to_file.requested", "intent_to_file.identified"]
    assert {each["kind"]: each["closed_at"] is None for each in found["cases"]} == {
        "past_midnight": False,
        "dated_late": True,
    }
    printed = command(product, "itf", "evidence", str(row["id"])).output
    for words in ("2031-03-03 in America/Chicago", "Upstream dates it 2031-03-04", "unavailable", "422", filed["id"]):
        assert words in printed
    for heading in ("Attempts", "Outages", "History", "Cases"):
        assert f"\n{heading}\n" in printed
    for output in (printed, json.dumps(found)):
        assert ADA.icn not in output and ADA.last_name not in output


def test_evidence_exists_before_upstream_holds_anything(product: Product) -> None:
    sign_in(product).ask()
    (row,) = itfs(product)
    printed = command(product, "itf", "evidence", str(row["id"])).output
    assert "pending" in printed and "Upstream has no record of it." in printed
    found = as_json(product, "evidence", str(row["id"]))
    assert (found["attempts"], found["outages"], found["cases"]) == ([], [], [])


@pytest.mark.parametrize("name", ["evidence", "used"])
def test_an_unknown_itf_is_reported_as_such(product: Product, name: str) -> None:
    nobody = str(uuid.uuid4())
    result = command(product, "itf", name, nobody)
    assert (result.exit_code, f"there is no intent to file {nobody}" in result.output) == (1, True)
    assert "there is no intent to file seven" in command(product, "itf", name, "seven").output


def test_an_itf_used_by_a_claim_is_noted_once_with_the_operator(product: Product) -> None:
    confirm(product, ADA)
    identifier = str(row_of(product)["id"])
    assert command(product, "itf", "used", identifier).output == "noted\n"
    assert command(product, "itf", "used", identifier).output == "known already\n"
    row = row_of(product)
    assert (row["refresh_due_at"] is not None, row["used_at"] is not None, row["state"]) == (True, True, "confirmed")
    (noted,) = product.rows("SELECT actor FROM outbox_history WHERE what = 'intent_to_file.used'")
    assert noted.actor.startswith("shell:")


def test_the_help_describes_each_command_and_its_exit_status(product: Product) -> None:
    listed = command(product, "itf", "--help").output
    for name in ("at-risk", "evidence", "preflight", "used"):
        assert name in listed
        assert "--help" in command(product, "itf", name, "--help").output
    assert "Negative: it has passed" in command(product, "itf", "at-risk", "--help").output
    assert "Exits 1" in command(product, "itf", "preflight", "--help").output
    assert "every attempt" in command(product, "itf", "evidence", "--help").output
    assert "used this ITF up" in command(product, "itf", "used", "--help").output
