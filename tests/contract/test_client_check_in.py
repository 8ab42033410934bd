"""The LoROTA and CHIP clients against their fakes (contract: travel 1.9)."""

from __future__ import annotations

import time
from datetime import date

import pytest

from flaskapp.check_in.service import Identity, identity_of
from flaskapp.upstreams import Upstreams as Clients
from flaskapp.upstreams.errors import Rejected, Throttled, Unauthorized, Unavailable
from sandbox.faults import Control
from sandbox.upstreams.keys import OLD_KEY
from sandbox.upstreams.scenarios import with_habit
from sandbox.upstreams.serve import Upstreams
from tests.contract.clients import CUT_SECONDS, STRIKES, Strike, clients_for

ADA = "00000001-5aee-4c1a-9f00-000000000001"
BORN = date(1951, 4, 12)
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def test_a_person_is_known_by_birthday_and_name(clients: Clients) -> None:
    token = clients.lorota.token(ADA, BORN, " mARLOW ")
    data = clients.lorota.data(ADA, token)
    known = Identity("1012300001V654001", "+15555550101", "983", "", "7800001")
    assert (identity_of(data), known.facility) == (known, "cie")


def test_a_person_at_an_oracle_health_facility_is_known_by_the_appointment(clients: Clients) -> None:
    elena = with_habit("ok", "oh")
    token = clients.lorota.token(elena.uuid, date.fromisoformat(elena.dob), elena.last_name)
    found = identity_of(clients.lorota.data(elena.uuid, token))
    assert found == Identity(elena.icn, elena.phone, "757", "OH", "7800005") and found.facility == "oh"


def test_a_wrong_name_or_birthday_is_no_match_however_often(clients: Clients) -> None:
    for born, name in [(BORN, "Wrong"), (date(1900, 1, 1), "Marlow"), (date(1900, 1, 1), "Wrong"), (BORN, "Wrong")]:
        with pytest.raises(Rejected) as caught:
            clients.lorota.token(ADA, born, name)
        assert caught.value.code == "no_match"


def test_an_unknown_check_in_is_not_found(clients: Clients) -> None:
    token = clients.lorota.token(ADA, BORN, "Marlow")
    with pytest.raises(Rejected) as caught:
        clients.lorota.token(UNKNOWN, BORN, "Marlow")
    assert caught.value.code == "not_found"
    with pytest.raises((Rejected, Unauthorized)):
        clients.lorota.data(UNKNOWN, token)


def test_a_wrong_lorota_setting_or_a_dead_token_is_unauthorized(
    clients: Clients, upstreams: Upstreams, control: Control
) -> None:
    token = clients.lorota.token(ADA, BORN, "Marlow")
    wrong = {"LOROTA_API_KEY": "wrong", "LOROTA_API_ID": "wrong", "LOROTA_ISSUER": "x", "LOROTA_PRIVATE_KEY": OLD_KEY}
    for name, value in wrong.items():
        with pytest.raises(Unauthorized):
            clients_for(upstreams, **{name: value}).lorota.token(ADA, BORN, "Marlow")
    for name in ("LOROTA_API_KEY", "LOROTA_API_ID"):
        with pytest.raises(Unauthorized):
            clients_for(upstreams, **{name: "wrong"}).lorota.data(ADA, token)
    with pytest.raises(Unauthorized):
        clients.lorota.data(ADA, "made up")
    control.set("lorota", "expire")
    with pytest.raises(Unauthorized):
        clients.lorota.data(ADA, token)


@pytest.mark.parametrize("strike", STRIKES, ids=str)
def test_lorota_is_unavailable_during_a_fault(clients: Clients, control: Control, strike: Strike) -> None:
    token = clients.lorota.token(ADA, BORN, "Marlow")
    control.set("lorota", strike.kind, **strike.fields)
    started = time.monotonic()
    with pytest.raises(strike.read) as caught:
        clients.lorota.token(ADA, BORN, "Marlow")
    assert time.monotonic() - started < CUT_SECONDS
    assert type(caught.value) is strike.read and caught.value.retry_after == strike.retry_after
    with pytest.raises(strike.read):
        clients.lorota.data(ADA, token)


def test_a_check_in_succeeds(clients: Clients) -> None:
    assert clients.chip.check_in(ADA, "460", True, False) == (200, "Checkin successful")


def test_a_check_in_succeeds_whatever_its_content_type_says(clients: Clients, control: Control) -> None:
    control.set("chip", "content_type", operation="check-in")
    assert clients.chip.check_in(ADA, "460", True, False) == (200, "Checkin successful")


def test_confirmed_details_reach_chip(clients: Clients) -> None:
    status, said = clients.chip.confirm_demographics(ADA, "418", "983", {"demographics": True})
    attributes = said["data"]["attributes"]
    assert (status, attributes["patientDfn"]) == (200, "418")
    assert (attributes["demographicsNeedsUpdate"], attributes["nextOfKinNeedsUpdate"]) == (False, True)


@pytest.mark.parametrize("status", [500, 504])
def test_chips_failure_without_a_body_is_mapped(clients: Clients, control: Control, status: int) -> None:
    control.set("chip", "empty", operation="check-in", status=status)
    assert clients.chip.check_in(ADA, "460", True, False) == (status, None)


@pytest.mark.parametrize(("uuid", "ien", "status", "said"), [(UNKNOWN, "460", 404, False), (ADA, "", 400, True)])
def test_a_refused_check_in_is_mapped(clients: Clients, uuid: str, ien: str, status: int, said: bool) -> None:
    answered, body = clients.chip.check_in(uuid, ien, True, False)
    assert (answered, body is not None) == (status, said)


def test_a_chip_token_that_dies_early_is_a_401(clients: Clients, control: Control) -> None:
    control.set("chip", "expire")
    with pytest.raises(Unauthorized):
        clients.chip.check_in(ADA, "460", True, False)


@pytest.mark.parametrize("name", ["CHIP_PASSWORD", "CHIP_API_ID"])
def test_wrong_chip_credentials_are_unauthorized(upstreams: Upstreams, name: str) -> None:
    with pytest.raises(Unauthorized):
        clients_for(upstreams, **{name: "wrong"}).chip.check_in(ADA, "460", True, False)


@pytest.mark.parametrize("strike", STRIKES, ids=str)
def test_chip_is_unavailable_or_its_status_during_a_fault(clients: Clients, control: Control, strike: Strike) -> None:
    control.set("chip", strike.kind, operation="" if strike.kind == "refuse" else "check-in", **strike.fields)
    status = {"status": strike.fields.get("status"), "html": strike.fields.get("status"), "throttle": 429}
    answered = status.get(strike.kind)
    # A 404 with a page is a stranger's: CHIP's own has no body.
    if answered in (None, 200) or (strike.kind, answered) == ("html", 404):
        with pytest.raises(Unavailable):
            clients.chip.check_in(ADA, "460", True, False)
    else:
        assert clients.chip.check_in(ADA, "460", True, False)[0] == answered


@pytest.mark.parametrize("strike", STRIKES, ids=str)
def test_without_a_chip_token_nobody_is_checked_in(clients: Clients, control: Control, strike: Strike) -> None:
    control.set("chip", strike.kind, operation="" if strike.kind == "refuse" else "/token", **strike.fields)
    with pytest.raises((Unavailable, Throttled)):
        clients.chip.check_in(ADA, "460", True, False)
    assert control.received("chip", "check-in") == []
