"""The fake account service against its assumed interface (docs/assumptions.md)."""

from __future__ import annotations

import uuid

import pytest
import requests

from sandbox.faults import Control
from sandbox.upstreams.cast import Veteran
from sandbox.upstreams.scenarios import with_file_number_only, with_habit, without_benefit_ids, without_icn
from sandbox.upstreams.serve import Upstreams

ADA = with_habit("ok")


def find(http: requests.Session, upstreams: Upstreams, account: str, key: str | None = None) -> requests.Response:
    headers = {"x-api-key": key or upstreams.fakes.settings.accounts_api_key}
    return http.get(f"{upstreams['accounts']}/accounts/{account}", headers=headers)


@pytest.mark.parametrize(("person", "icn"), [(ADA, ADA.icn), (without_icn(), None)])
def test_an_account_belongs_to_somebody(
    http: requests.Session, upstreams: Upstreams, person: Veteran, icn: str | None
) -> None:
    answer = find(http, upstreams, person.account)
    assert answer.status_code == 200
    assert answer.json() == {
        "id": person.account,
        "icn": icn,
        "firstName": person.first_name,
        "ssn": person.ssn,
        "participantId": person.participant_id,
        "fileNumber": person.file_number,
        "email": person.email,
    }
    assert find(http, upstreams, person.account.upper()).json() == answer.json()


def test_somebody_may_have_only_a_file_number_or_neither_id(http: requests.Session, upstreams: Upstreams) -> None:
    people = (ADA, with_file_number_only(), without_benefit_ids())
    found = [find(http, upstreams, person.account).json() for person in people]
    known = [(bool(each["participantId"]), bool(each["fileNumber"])) for each in found]
    assert known == [(True, True), (False, True), (False, False)]


def test_an_unknown_account_is_not_found(http: requests.Session, upstreams: Upstreams) -> None:
    for account in (str(uuid.uuid4()), ADA.uuid, "x"):
        answer = find(http, upstreams, account)
        assert (answer.status_code, answer.json()) == (404, {"error": "Account not found"})


def test_an_unknown_path_is_answered_differently(http: requests.Session, upstreams: Upstreams) -> None:
    answer = http.get(f"{upstreams['accounts']}/typo/accounts/{ADA.account}")
    assert (answer.status_code, answer.json()) == (404, {"message": "Not Found"})


def test_a_wrong_key_is_forbidden(http: requests.Session, upstreams: Upstreams) -> None:
    answer = find(http, upstreams, ADA.account, "wrong")
    assert (answer.status_code, answer.json()) == (403, {"error": "Forbidden"})


def test_a_new_person_has_an_account_at_once(http: requests.Session, upstreams: Upstreams, control: Control) -> None:
    added = control.call("POST", "lorota", "veterans", json={"identified": False, "first_name": "Uma"})
    person = find(http, upstreams, added["account"]).json()
    assert (person["icn"], person["firstName"]) == (None, "Uma")


def test_a_fault_is_answered_in_its_own_words(http: requests.Session, upstreams: Upstreams, control: Control) -> None:
    control.set("accounts", "status", times=1)
    answer = find(http, upstreams, ADA.account)
    assert (answer.status_code, answer.json()) == (503, {"error": "Service Unavailable"})
