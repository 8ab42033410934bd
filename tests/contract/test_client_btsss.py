"""The BTSSS client against the fake: every outcome of the contract, every fault, and a token that dies early."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from flaskapp.upstreams import Upstreams as Clients
from flaskapp.upstreams.btsss import CLAIM_APPROVED
from flaskapp.upstreams.errors import Duplicate, Rejected, Unanswered, Unauthorized, UpstreamError
from sandbox.faults import Control
from sandbox.upstreams.serve import Upstreams
from tests.contract.clients import (
    CUT_SECONDS,
    STRIKES,
    TODAY,
    Strike,
    clients_for,
    config_for,
    settled,
    write_nothing_first,
)

SUBMIT, STATUS = "submitclaim", "GetClaimsStatus"
ADA, ELENA = "1012300001V654001", "1012300005V654005"


def submit(clients: Clients, icn: str = ADA, facility: str = "vista") -> str | None:
    return clients.btsss.submit_claim(icn, TODAY, facility, write_nothing_first).claim_number


def test_a_claim_is_filed_and_found_again(clients: Clients) -> None:
    number = submit(clients)
    (found,) = clients.btsss.claims_on(ADA, TODAY, "vista")
    assert (found.claim_number, found.station) == (number, "983")
    assert found.claim_status in CLAIM_APPROVED
    assert abs(found.last_modified_at - datetime.now(UTC)) < timedelta(seconds=10)
    assert found.appointment_at is not None and found.appointment_at.tzinfo is UTC


def test_the_older_form_of_a_200_has_its_number_too(clients: Clients, control: Control) -> None:
    control.turn("btsss", number_in="value")
    number = submit(clients)
    assert [claim.claim_number for claim in clients.btsss.claims_on(ADA, TODAY, "vista")] == [number]


def test_a_200_without_a_number_is_a_filed_claim(clients: Clients, control: Control) -> None:
    control.turn("btsss", number_in="nowhere")
    assert submit(clients) is None
    assert len(clients.btsss.claims_on(ADA, TODAY, "vista")) == 1


def test_an_oracle_health_claim_has_its_own_client_number(clients: Clients, control: Control) -> None:
    submit(clients, ELENA, "OH")
    (received,) = control.received("btsss", SUBMIT)
    assert received["body"]["ClientNumber"] == "0043"


def test_nothing_filed_is_an_empty_list(clients: Clients) -> None:
    assert clients.btsss.claims_on(ADA, TODAY, "vista") == []


def test_several_stations_on_one_day_are_all_found(clients: Clients, control: Control) -> None:
    for station in ("983", "537"):
        planted = {"icn": ADA, "date": TODAY.isoformat(), "station": station}
        control.call("POST", "btsss", "claims", json=planted)
    assert {claim.station for claim in clients.btsss.claims_on(ADA, TODAY, "vista")} == {"983", "537"}


@pytest.mark.parametrize(
    ("outcome", "kind", "code"),
    [
        ("duplicate", Duplicate, "CLM_002_CLAIM_EXISTS"),
        ("multiple", Rejected, "CLM_001_MULTIPLE_APPTS"),
        ("not_found", Rejected, "CLM_003_APPOINTMENT_NOT_FOUND"),
        ("refused", Rejected, "CLM_003_APPOINTMENT_NOT_FOUND"),
        ("unauthorized", Unauthorized, "CLM_020_INVALID_AUTH"),
        ("timeout", Unanswered, "CLM_011_CLAIM_TIMEOUT_ERROR"),
        ("error", Unanswered, None),
    ],
)
def test_every_outcome_of_the_contract_has_its_class(
    clients: Clients, control: Control, outcome: str, kind: type[UpstreamError], code: str | None
) -> None:
    control.call("POST", "btsss", "outcomes", json={"icn": ADA, "outcome": outcome})
    with pytest.raises(kind) as caught:
        submit(clients)
    assert type(caught.value) is kind and caught.value.code == code


def test_a_second_claim_for_one_appointment_is_a_duplicate(clients: Clients) -> None:
    submit(clients)
    with pytest.raises(Duplicate):
        submit(clients)


@pytest.mark.parametrize("strike", STRIKES, ids=str)
def test_a_submit_reports_what_a_fault_did(clients: Clients, control: Control, strike: Strike) -> None:
    control.set("btsss", strike.kind, **strike.fields)
    started = time.monotonic()
    with pytest.raises(strike.write) as caught:
        submit(clients)
    assert time.monotonic() - started < CUT_SECONDS
    assert type(caught.value) is strike.write and caught.value.retry_after == strike.retry_after
    settled(control, "btsss", SUBMIT)
    control.clear("btsss")
    assert len(clients.btsss.claims_on(ADA, TODAY, "vista")) == strike.worked


@pytest.mark.parametrize("strike", STRIKES, ids=str)
def test_a_look_up_never_guesses_during_a_fault(clients: Clients, control: Control, strike: Strike) -> None:
    submit(clients)
    control.set("btsss", strike.kind, **strike.fields)
    with pytest.raises(strike.read) as caught:
        clients.btsss.claims_on(ADA, TODAY, "vista")
    assert type(caught.value) is strike.read and caught.value.retry_after == strike.retry_after


def test_a_wrong_content_type_is_no_fault(clients: Clients, control: Control) -> None:
    control.set("btsss", "content_type")
    number = submit(clients)
    assert [claim.claim_number for claim in clients.btsss.claims_on(ADA, TODAY, "vista")] == [number]


def test_a_token_that_died_early_is_replaced_once_and_the_claim_filed_once(clients: Clients, control: Control) -> None:
    clients.btsss.claims_on(ADA, TODAY, "vista")
    control.set("btsss", "expire", times=1)
    number = submit(clients)
    assert [claim.claim_number for claim in clients.btsss.claims_on(ADA, TODAY, "vista")] == [number]
    assert [entry["status"] for entry in control.received("btsss", SUBMIT)] == [401, 200]
    assert len(control.received("veis")) == 2


def test_a_look_ups_dead_token_is_replaced_too(clients: Clients, control: Control) -> None:
    control.set("btsss", "expire", times=1)
    assert clients.btsss.claims_on(ADA, TODAY, "vista") == []
    assert len(control.received("veis")) == 2


def test_tokens_that_keep_dying_are_unauthorized_after_one_repeat(clients: Clients, control: Control) -> None:
    control.set("btsss", "expire")
    with pytest.raises(Unauthorized):
        submit(clients)
    assert len(control.received("btsss", SUBMIT)) == 2


def test_a_wrong_subscription_key_is_unauthorized(upstreams: Upstreams) -> None:
    with pytest.raises(Unauthorized):
        submit(clients_for(upstreams, BTSSS_SUBSCRIPTION_KEYS="wrong"))


@pytest.mark.parametrize("strike", STRIKES, ids=str)
def test_without_a_token_nothing_is_submitted(clients: Clients, control: Control, strike: Strike) -> None:
    control.set("veis", strike.kind, **strike.fields)
    with pytest.raises(strike.read) as caught:
        submit(clients)
    assert type(caught.value) is strike.read and caught.value.retry_after == strike.retry_after
    assert caught.value.upstream == "veis"
    assert control.received("btsss", SUBMIT) == []


def test_wrong_veis_credentials_are_unauthorized(upstreams: Upstreams) -> None:
    with pytest.raises(Unauthorized):
        submit(clients_for(upstreams, VEIS_CLIENT_SECRET="wrong"))


def test_veis_answers_with_a_lifetime(upstreams: Upstreams, control: Control) -> None:
    control.turn("veis", expires_in=120)
    clients = clients_for(upstreams)
    assert clients.veis.fetch_token().expires_in == 120
    assert config_for(upstreams).veis_tenant in control.received("veis")[0]["path"]
