"""The 526 client against the fake: submitted once, found again, and truthful during every fault."""

from __future__ import annotations

import time
import uuid

import pytest

from flaskapp.upstreams import Upstreams as Clients
from flaskapp.upstreams.errors import Duplicate, Rejected, Unanswered, Unauthorized, Unavailable
from sandbox.faults import Control
from sandbox.upstreams.scenarios import with_habit
from sandbox.upstreams.serve import Upstreams
from tests.contract.clients import (
    CUT_SECONDS,
    LIMIT_SECONDS,
    QUICK_STRIKES,
    TOO_LONG,
    Strike,
    clients_for,
    settled,
    write_nothing_first,
)

ADA = with_habit("ok")
FORM = {"veteran": {"email": "ada@example.org"}, "disabilities": [{"name": "knee — left"}]}


@pytest.fixture
def reference() -> str:
    return str(uuid.uuid4())


def submit(clients: Clients, reference: str, icn: str = ADA.icn) -> int:
    return clients.form526.submit(reference, icn, FORM, write_nothing_first)


def test_a_form_is_submitted_whole_and_found_again(clients: Clients, control: Control, reference: str) -> None:
    assert clients.form526.find(reference) is None
    claim_id = submit(clients, reference)
    assert clients.form526.find(reference) == claim_id
    assert clients.form526.find(reference.upper()) == claim_id
    (kept,) = control.call("GET", "form526", "submissions")
    assert (kept["reference"], kept["claim_id"], kept["icn"]) == (reference, claim_id, ADA.icn)
    assert kept["form526"] == FORM


def test_a_second_submission_is_a_duplicate_and_the_first_keeps_its_claim(clients: Clients, reference: str) -> None:
    claim_id = submit(clients, reference)
    with pytest.raises(Duplicate):
        submit(clients, reference)
    assert clients.form526.find(reference) == claim_id


def test_a_form_that_breaks_the_rules_is_rejected(clients: Clients, control: Control, reference: str) -> None:
    control.turn("form526", refuse_with="knee")
    with pytest.raises(Rejected) as caught:
        submit(clients, reference)
    assert caught.value.http_status == 422 and "rules" in caught.value.detail
    assert clients.form526.find(reference) is None


def test_an_unknown_veteran_is_rejected_and_a_malformed_reference_is_our_fault(
    clients: Clients, reference: str
) -> None:
    with pytest.raises(Rejected) as caught:
        submit(clients, reference, "1000000000V000000")
    assert caught.value.http_status == 422
    with pytest.raises(Unavailable) as raised:
        submit(clients, "no-uuid")
    assert raised.value.http_status == 400


@pytest.mark.parametrize("strike", QUICK_STRIKES, ids=str)
def test_a_submission_reports_what_a_fault_did_and_a_look_up_never_guesses(
    clients: Clients, control: Control, strike: Strike, reference: str
) -> None:
    control.set("form526", strike.kind, **strike.fields)
    with pytest.raises(strike.write) as caught:
        submit(clients, reference)
    assert type(caught.value) is strike.write and caught.value.retry_after == strike.retry_after
    with pytest.raises(strike.read) as raised:
        clients.form526.find(reference)
    assert type(raised.value) is strike.read
    settled(control, "form526", "submissions")
    control.clear("form526")
    assert (clients.form526.find(reference) is not None) == strike.worked


def test_a_submission_that_takes_too_long_is_given_up_and_found_later(
    upstreams: Upstreams, control: Control, reference: str
) -> None:
    clients = clients_for(upstreams, LIMIT_SECONDS)
    control.set("form526", "slow", seconds=TOO_LONG)
    started = time.monotonic()
    with pytest.raises(Unanswered):
        submit(clients, reference)
    assert time.monotonic() - started < CUT_SECONDS
    settled(control, "form526", "submissions")
    control.clear("form526")
    assert clients.form526.find(reference) is not None


def test_a_404_of_an_unknown_path_neither_refuses_a_form_nor_loses_one(upstreams: Upstreams, reference: str) -> None:
    clients = clients_for(upstreams, FORM526_BASE_URL=f"{upstreams['form526']}/typo")
    with pytest.raises(Unavailable):
        submit(clients, reference)
    with pytest.raises(Unavailable):
        clients.form526.find(reference)


def test_a_wrong_key_is_unauthorized(upstreams: Upstreams, reference: str) -> None:
    clients = clients_for(upstreams, FORM526_API_KEY="wrong")
    with pytest.raises(Unauthorized):
        submit(clients, reference)
    with pytest.raises(Unauthorized):
        clients.form526.find(reference)
