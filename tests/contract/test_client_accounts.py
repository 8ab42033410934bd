"""The account service's client against its fake (docs/assumptions.md), and the published keys in use."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from flaskapp.upstreams import Upstreams as Clients
from flaskapp.upstreams.accounts import Person
from flaskapp.upstreams.errors import Unauthorized, Unavailable
from sandbox.faults import Control
from sandbox.upstreams.cast import DEFAULT_CAST, ITF_CAST
from sandbox.upstreams.serve import Upstreams
from tests.contract.clients import QUICK_STRIKES, Strike, clients_for

ADA, TESS = DEFAULT_CAST[0], ITF_CAST[-1]


def test_an_account_gives_its_person(clients: Clients) -> None:
    person = Person(
        ADA.icn, "Ada", ADA.ssn, participant_id=ADA.participant_id, file_number=ADA.file_number, email=ADA.email
    )
    assert clients.accounts.find(ADA.account) == person
    assert clients.accounts.find(ADA.account.upper()) == person


def test_an_account_may_have_no_identified_person(clients: Clients) -> None:
    found = clients.accounts.find(TESS.account)
    assert found is not None and found.icn is None


def test_an_unknown_account_is_none(clients: Clients) -> None:
    assert clients.accounts.find(str(uuid.uuid4())) is None


def test_another_services_404_never_looks_like_an_unknown_account(upstreams: Upstreams) -> None:
    with pytest.raises(Unavailable):
        clients_for(upstreams, ACCOUNTS_BASE_URL=upstreams["lighthouse"]).accounts.find(ADA.account)


def test_a_wrong_key_is_unauthorized(upstreams: Upstreams) -> None:
    with pytest.raises(Unauthorized):
        clients_for(upstreams, ACCOUNTS_API_KEY="wrong").accounts.find(ADA.account)


@pytest.mark.parametrize("strike", QUICK_STRIKES, ids=str)
def test_during_a_fault_no_account_counts_as_unknown(clients: Clients, control: Control, strike: Strike) -> None:
    control.set("accounts", strike.kind, **strike.fields)
    with pytest.raises(strike.read) as caught:
        clients.accounts.find(ADA.account)
    assert type(caught.value) is strike.read and caught.value.retry_after == strike.retry_after


def fits(control: Control, keys: Sequence[RSAPublicKey]) -> bool:
    """Whether one of these keys signed a token issued now."""
    token = control.call("POST", "sign_in", "tokens", json={"account": ADA.account})["access_token"]
    fitting = 0
    for key in keys:
        try:
            jwt.decode(token, key, algorithms=["RS256"], options={"verify_aud": False})
        except jwt.InvalidSignatureError:
            continue
        fitting += 1
    return fitting == 1


def fetched(clients: Clients) -> list[RSAPublicKey]:
    clients.sign_in_keys.fetch_within(60)
    return clients.sign_in_keys.current()


def test_a_token_is_signed_by_one_of_the_published_keys(clients: Clients, control: Control) -> None:
    keys = fetched(clients)
    assert len(keys) == 2 and fits(control, keys)
    assert len(control.received("sign_in", "GET")) == 1


def test_a_rotated_key_is_found_by_a_process_that_fetches_again(
    upstreams: Upstreams, clients: Clients, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched(clients)
    control.turn("sign_in", rotate="both")
    assert not fits(control, clients.sign_in_keys.current())
    monkeypatch.setattr("flaskapp.upstreams.sign_in_keys.AGAIN_SECONDS", 0.0)
    assert fits(control, fetched(clients))
    assert fits(control, fetched(clients_for(upstreams)))


@pytest.mark.parametrize("strike", QUICK_STRIKES, ids=str)
def test_during_a_fault_known_keys_stay_and_a_new_process_gets_an_error(
    upstreams: Upstreams, clients: Clients, control: Control, monkeypatch: pytest.MonkeyPatch, strike: Strike
) -> None:
    known = fetched(clients)
    monkeypatch.setattr("flaskapp.upstreams.sign_in_keys.AGAIN_SECONDS", 0.0)
    control.set("sign_in", strike.kind, **strike.fields)
    assert fetched(clients) == known
    with pytest.raises(Unavailable):
        fetched(clients_for(upstreams))
