"""Generated calls to every described operation: the answer is one that the description names, and nothing is
half-written."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from flaskapp.audit.trace import trace
from flaskapp.db import transaction
from tests.hostile.described import make_calls
from tests.integration.itf_steps import sign_in
from tests.integration.steps import command, listening
from tests.integration.test_notifications_callbacks import BEARER
from tests.product import ADA, Product

SUBMISSIONS = ("travel_claims", "intents_to_file", "form526_submissions", "travel_pay_claims")
# An appointment that nobody has would hardly be generated: the first and the last possible ones, in every way to write
# them.
TIMESTAMPS = [
    "1900-01-01T00:00:00",
    "2031-03-04T09:30",
    "2032-02-29T23:59:59.999999Z",
    "2199-12-31T23:59:59-23:59",
]
DATES = ["1900-01-01", "2032-02-29", "2199-12-31"]
WRITTEN = (*SUBMISSIONS, "form526_attachments", "idempotency_keys", "check_in_sessions", "outbox_messages")


def description(product: Product) -> dict[str, Any]:
    """As it is served, but for the header of the spelling: every call sends it, because without it the other document
    describes the answer."""
    found: dict[str, Any] = product.app.test_client().get("/openapi.json").get_json()
    for operation in (each for methods in found["paths"].values() for each in methods.values()):
        operation["parameters"] = [each for each in operation["parameters"] if each["name"] != "X-Key-Inflection"]
    return found


def of_ada(document: dict[str, Any]) -> dict[str, Any]:
    """The description for Ada's check-in: only a call with her id gets past the access check."""
    narrowed = copy.deepcopy(document)
    for name in ("SessionFields", "CheckInFields", "ClaimFields"):
        narrowed["components"]["schemas"][name]["properties"]["uuid"]["enum"] = [ADA.uuid]
    for parameter in narrowed["paths"]["/check_in/v2/demographics/{uuid}"]["patch"]["parameters"]:
        if parameter["in"] == "path":
            parameter["schema"]["enum"] = [ADA.uuid]
    narrowed["components"]["schemas"]["MileageClaimBody"]["properties"]["appointmentDateTime"]["enum"] = TIMESTAMPS
    narrowed["components"]["schemas"]["ClaimFields"]["properties"]["appointmentDate"]["enum"] = TIMESTAMPS + DATES
    return narrowed


def count(product: Product, *tables: str) -> dict[str, int]:
    return {table: product.value(f"SELECT count(*) FROM {table}") for table in tables}


def assert_nothing_is_half_written(product: Product) -> None:
    """Every submission is outstanding, held or done, no rule is broken, and each history is legal."""
    found = command(product, "audit")
    assert found.exit_code == 0, found.output
    with transaction() as session:
        assert trace(session).illegal == []


def signed_in(product: Product) -> dict[str, str]:
    return {"Authorization": sign_in(product).headers["Authorization"]}


def checked_in(product: Product) -> dict[str, str]:
    cookie = product.sign_in(ADA, *DATES).get_cookie("cie_session")
    assert cookie is not None
    return {"Cookie": f"cie_session={cookie.value}"}


# One part of the description: its paths, who may call them, and the table that holds what is taken there.
PARTS: dict[str, tuple[str, Callable[[Product], dict[str, str]], str]] = {
    "check-in": ("^/check_in/", checked_in, "travel_claims"),
    "intent to file": ("^/v0/intents?_to_file", signed_in, "intents_to_file"),
    "form 526": ("^/v0/(?!intents?_to_file)", signed_in, "form526_submissions"),
    "travel pay": ("^/(travel_pay|vaos)/", signed_in, "travel_pay_claims"),
    "callbacks": ("^/va_notify/", lambda _: BEARER, "outbox_breakers"),
    "service": ("^/(healthz|docs|metrics|openapi)", lambda _: {}, "outbox_breakers"),
}


def test_every_path_that_is_described_belongs_to_one_part(product: Product) -> None:
    patterns = [paths for paths, _, _ in PARTS.values()]
    belongs = {path: sum(bool(re.search(each, path)) for each in patterns) for path in description(product)["paths"]}
    assert belongs and belongs == dict.fromkeys(belongs, 1)


@pytest.mark.parametrize(("paths", "caller", "accepted"), PARTS.values(), ids=PARTS)
def test_an_allowed_caller_is_answered_as_described(product: Product, paths: str, caller: Any, accepted: str) -> None:
    with listening(product.app) as url:
        made = make_calls(of_ada(description(product)), url, paths, caller(product), at_random=True)
    assert made.findings == [], "\n\n".join(made.findings)
    assert min(made.calls.values()) >= 10, made.calls
    assert product.value(f"SELECT count(*) FROM {accepted}") > 0
    assert_nothing_is_half_written(product)
    # What was taken is filed, or waits: our own mistakes, such as a place that no upstream knows, are nobody's refusal.
    product.work(until=lambda: all(each["state"] in ("later", "parked") for each in product.messages()))
    assert_nothing_is_half_written(product)


def test_a_stranger_is_answered_as_described_and_writes_nothing(product: Product) -> None:
    before = count(product, *WRITTEN)
    with listening(product.app) as url:
        made = make_calls(description(product), url, "^/(check_in|v0|travel_pay|vaos|va_notify)/", {}, at_random=False)
    assert made.findings == [], "\n\n".join(made.findings)
    assert count(product, *WRITTEN) == before
