"""Whatever is sent to a described operation: an answer its description names, and nothing half-written."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from flaskapp.audit.trace import trace
from flaskapp.db import transaction
from tests.hostile.described import make_calls
from tests.house import ADA, House
from tests.integration.itf_steps import sign_in
from tests.integration.steps import command, listening
from tests.integration.test_callbacks import BEARER

SUBMISSIONS = ("travel_claims", "intents_to_file", "form526_submissions", "travel_pay_claims")
# Which appointment nobody has would hardly be made up: the first and the last there can be, and every way to write one.
MOMENTS = [
    "1900-01-01T00:00:00",
    "2031-03-04T09:30",
    "2032-02-29T23:59:59.999999Z",
    "2199-12-31T23:59:59-23:59",
]
DATES = ["1900-01-01", "2032-02-29", "2199-12-31"]
WRITTEN = (*SUBMISSIONS, "form526_attachments", "idempotency_keys", "check_in_sessions", "outbox_messages")


def description(house: House) -> dict[str, Any]:
    found: dict[str, Any] = house.app.test_client().get("/openapi.json").get_json()
    return found


def of_ada(document: dict[str, Any]) -> dict[str, Any]:
    """The description as whoever holds Ada's check-in reads it: only with her id does a call get past the door."""
    narrowed = copy.deepcopy(document)
    for name in ("SessionFields", "CheckInFields", "ClaimFields"):
        narrowed["components"]["schemas"][name]["properties"]["uuid"]["enum"] = [ADA.uuid]
    narrowed["components"]["schemas"]["MileageClaimBody"]["properties"]["appointmentDateTime"]["enum"] = MOMENTS
    narrowed["components"]["schemas"]["ClaimFields"]["properties"]["appointmentDate"]["enum"] = MOMENTS + DATES
    return narrowed


def count(house: House, *tables: str) -> dict[str, int]:
    return {table: house.value(f"SELECT count(*) FROM {table}") for table in tables}


def assert_nothing_is_half_written(house: House) -> None:
    """Every submission is owed, held or done, no rule is broken, and each history is legal."""
    found = command(house, "audit")
    assert found.exit_code == 0, found.output
    with transaction() as session:
        assert trace(session).illegal == []


def signed_in(house: House) -> dict[str, str]:
    return {"Authorization": sign_in(house).headers["Authorization"]}


def checked_in(house: House) -> dict[str, str]:
    cookie = house.sign_in().get_cookie("cie_session")
    assert cookie is not None
    return {"Cookie": f"cie_session={cookie.value}"}


# Part of the description: its paths, who may call them, and the table that holds what is taken there.
PARTS: dict[str, tuple[str, Callable[[House], dict[str, str]], str]] = {
    "check-in": ("^/check_in/", checked_in, "travel_claims"),
    "intent to file": ("^/v0/intent_to_file", signed_in, "intents_to_file"),
    "form 526": ("^/v0/(?!intent_to_file)", signed_in, "form526_submissions"),
    "travel pay": ("^/(travel_pay|vaos)/", signed_in, "travel_pay_claims"),
    "callbacks": ("^/va_notify/", lambda _: BEARER, "outbox_gates"),
    "service": ("^/(healthz|docs|metrics|openapi)", lambda _: {}, "outbox_gates"),
}


def test_every_path_that_is_described_belongs_to_one_part(house: House) -> None:
    patterns = [paths for paths, _, _ in PARTS.values()]
    belongs = {path: sum(bool(re.search(each, path)) for each in patterns) for path in description(house)["paths"]}
    assert belongs and belongs == dict.fromkeys(belongs, 1)


@pytest.mark.parametrize(("paths", "caller", "accepted"), PARTS.values(), ids=PARTS)
def test_a_caller_who_may_is_answered_as_described(house: House, paths: str, caller: Any, accepted: str) -> None:
    with listening(house.app) as url:
        made = make_calls(of_ada(description(house)), url, paths, caller(house), at_random=True)
    assert made.findings == [], "\n\n".join(made.findings)
    assert min(made.calls.values()) >= 10, made.calls
    assert house.value(f"SELECT count(*) FROM {accepted}") > 0
    assert_nothing_is_half_written(house)
    house.work()
    # What was taken can also be filed.
    assert_nothing_is_half_written(house)


def test_a_stranger_is_answered_as_described_and_writes_nothing(house: House) -> None:
    before = count(house, *WRITTEN)
    with listening(house.app) as url:
        made = make_calls(description(house), url, "^/(check_in|v0|travel_pay|vaos|va_notify)/", {}, at_random=False)
    assert made.findings == [], "\n\n".join(made.findings)
    assert count(house, *WRITTEN) == before
