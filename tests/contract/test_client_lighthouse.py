"""The Lighthouse client against the fake: every outcome, error family and fault, and a token that dies early."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from flaskapp.upstreams import Upstreams as Clients
from flaskapp.upstreams.errors import Rejected, Throttled, Unanswered, Unauthorized, Unavailable, UpstreamError
from flaskapp.upstreams.lighthouse.claims import UpstreamITF
from sandbox.faults import Control
from sandbox.upstreams.cast import ITF_CAST
from sandbox.upstreams.keys import OLD_KEY
from sandbox.upstreams.serve import Upstreams
from tests.contract.clients import (
    CUT_SECONDS,
    QUICK_STRIKES,
    STRIKES,
    Strike,
    clients_for,
    settled,
    write_nothing_first,
)

ITF, TOKEN = "intent-to-file", "token"
ADA = "1012300001V654001"
# The connection of the token call is still open, so the next call does not meet a refused connection.
ONCE_CONNECTED = [strike for strike in STRIKES if strike.kind != "refuse"]
ICN_OF = {veteran.itf: veteran.icn for veteran in ITF_CAST}


def read(clients: Clients, icn: str = ADA, itf_type: str = "compensation") -> UpstreamITF | None:
    return clients.lighthouse_claims.active_itf(icn, itf_type)


def create(clients: Clients, icn: str = ADA, itf_type: str = "compensation", ssn: str = "") -> UpstreamITF:
    return clients.lighthouse_claims.create_itf(icn, itf_type, write_nothing_first, ssn)


def test_an_itf_is_created_and_read_again(clients: Clients) -> None:
    assert read(clients) is None
    made = create(clients)
    assert read(clients) == made
    assert (made.type, made.status) == ("compensation", "active")
    assert abs(made.created_at - datetime.now(UTC)) < timedelta(seconds=10)
    assert timedelta(days=364) < made.expires_at - made.created_at < timedelta(days=367)


@pytest.mark.parametrize(("itf_type", "ssn"), [("pension", ""), ("survivor", "666000123")])
def test_every_type_has_an_itf_of_its_own(clients: Clients, itf_type: str, ssn: str) -> None:
    assert create(clients, itf_type=itf_type, ssn=ssn).type == itf_type
    assert read(clients) is None


@pytest.mark.parametrize("holding", ["new", "existing"])
def test_a_second_one_is_a_duplicate_and_the_first_keeps_counting(
    clients: Clients, control: Control, holding: str
) -> None:
    control.turn("lighthouse", duplicate_as=holding)
    made = create(clients)
    assert create(clients).status == "duplicate"
    held = read(clients)
    assert held is not None and held.created_at == made.created_at


def test_one_filed_elsewhere_is_found_with_its_dates(clients: Clients) -> None:
    held = read(clients, ICN_OF["active"])
    assert held is not None and held.status == "active"
    assert timedelta(days=99) < datetime.now(UTC) - held.created_at < timedelta(days=101)


@pytest.mark.parametrize("habit", ["expired", "used"])
def test_expired_and_used_ones_look_like_none_and_a_new_one_is_created(clients: Clients, habit: str) -> None:
    assert read(clients, ICN_OF[habit]) is None
    assert create(clients, ICN_OF[habit]).status == "active"


@pytest.mark.parametrize(
    ("icn", "itf_type", "ssn", "code"),
    [
        (ICN_OF["unknown"], "compensation", "", "404"),
        (ADA, "compensation", "12", "422"),
        (ADA, "survivor", "", "422"),
    ],
)
def test_what_the_api_refuses_is_rejected(clients: Clients, icn: str, itf_type: str, ssn: str, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        create(clients, icn, itf_type, ssn)
    assert caught.value.code == code and icn not in caught.value.detail


def test_an_unknown_type_is_our_fault_and_does_not_count_as_no_itf(clients: Clients) -> None:
    for call in (create, read):
        with pytest.raises(Unavailable) as caught:
            call(clients, itf_type="burial")
        assert caught.value.http_status == 400


@pytest.mark.parametrize("status", ["expired", "incomplete", "canceled"])
def test_a_status_that_confirms_nothing_leaves_a_create_open(clients: Clients, control: Control, status: str) -> None:
    control.turn("lighthouse", create_status=status)
    with pytest.raises(Unanswered):
        create(clients)


@pytest.mark.parametrize("family", ["kong", "gateway"])
def test_a_404_of_the_gateway_never_looks_like_no_itf(upstreams: Upstreams, control: Control, family: str) -> None:
    control.turn("lighthouse", error_family=family)
    clients = clients_for(upstreams, LIGHTHOUSE_BASE_URL=f"{upstreams['lighthouse']}/typo")
    with pytest.raises(Unavailable):
        read(clients)
    with pytest.raises(Unavailable):
        create(clients)


@pytest.mark.parametrize(
    ("family", "status", "written", "looked_up"),
    [
        # Only Kong's shape says in words of the contract that a request is too large.
        ("kong", 413, Rejected, Rejected),
        ("api", 413, Unavailable, Unavailable),
        ("gateway", 413, Unavailable, Unavailable),
        *((family, status, Unanswered, Unavailable) for family in ("api", "kong", "gateway") for status in (500, 503)),
    ],
)
def test_every_error_family_is_understood(
    clients: Clients,
    control: Control,
    family: str,
    status: int,
    written: type[UpstreamError],
    looked_up: type[UpstreamError],
) -> None:
    control.turn("lighthouse", error_family=family)
    control.set("lighthouse", "status", status=status, operation=ITF)
    with pytest.raises(written) as caught:
        create(clients)
    assert caught.value.http_status == status and not caught.value.detail.startswith("no message")
    with pytest.raises(looked_up):
        read(clients)


@pytest.mark.parametrize("strike", ONCE_CONNECTED, ids=str)
def test_a_create_reports_what_a_fault_did(clients: Clients, control: Control, strike: Strike) -> None:
    read(clients)
    control.set("lighthouse", strike.kind, **strike.fields)
    started = time.monotonic()
    with pytest.raises(strike.write) as caught:
        create(clients)
    assert time.monotonic() - started < CUT_SECONDS
    assert type(caught.value) is strike.write and caught.value.retry_after == strike.retry_after
    settled(control, "lighthouse", ITF)
    control.clear("lighthouse")
    assert (read(clients) is not None) == strike.worked


@pytest.mark.parametrize("strike", QUICK_STRIKES, ids=str)
def test_a_read_never_guesses_during_a_fault(clients: Clients, control: Control, strike: Strike) -> None:
    create(clients)
    control.set("lighthouse", strike.kind, **strike.fields)
    with pytest.raises(strike.read) as caught:
        read(clients)
    assert type(caught.value) is strike.read


def test_the_gateways_window_says_when_to_try_again(clients: Clients, control: Control) -> None:
    control.turn("lighthouse", minute_limit=1)
    assert read(clients) is None
    with pytest.raises(Throttled) as caught:
        create(clients)
    assert caught.value.retry_after is not None and 0 < caught.value.retry_after <= 60


def test_a_wrong_content_type_is_no_fault(clients: Clients, control: Control) -> None:
    control.set("lighthouse", "content_type")
    assert create(clients) == read(clients)


@pytest.mark.parametrize("family", ["api", "gateway"])
def test_a_token_that_died_early_is_replaced_once_and_one_itf_created(
    clients: Clients, control: Control, family: str
) -> None:
    control.turn("lighthouse", error_family=family)
    control.set("lighthouse", "expire", times=1)
    assert create(clients).status == "active"
    assert [entry["status"] for entry in control.received("lighthouse", ITF)] == [401, 200]
    assert len(control.received("lighthouse", TOKEN)) == 2


def test_tokens_that_keep_dying_are_unauthorized_after_one_repeat_a_minute(clients: Clients, control: Control) -> None:
    control.set("lighthouse", "expire")
    with pytest.raises(Unauthorized):
        create(clients)
    with pytest.raises(Unauthorized):
        read(clients)
    assert len(control.received("lighthouse", ITF)) == 3


@pytest.mark.parametrize("strike", QUICK_STRIKES, ids=str)
def test_without_a_token_nothing_is_created(clients: Clients, control: Control, strike: Strike) -> None:
    control.set("lighthouse", strike.kind, **strike.fields)
    with pytest.raises(strike.read) as caught:
        create(clients)
    assert type(caught.value) is strike.read and caught.value.upstream == "lighthouse_auth"
    assert control.received("lighthouse", ITF) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LIGHTHOUSE_CLIENT_ID", "somebody-else"),
        ("LIGHTHOUSE_AUDIENCE", "https://elsewhere.invalid"),
        ("LIGHTHOUSE_PRIVATE_KEY", OLD_KEY),
    ],
)
def test_credentials_lighthouse_does_not_know_are_unauthorized(upstreams: Upstreams, name: str, value: str) -> None:
    with pytest.raises(Unauthorized) as caught:
        read(clients_for(upstreams, **{name: value}))
    assert caught.value.upstream == "lighthouse_auth"
