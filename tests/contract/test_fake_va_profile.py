"""The fake VA Profile against its assumed interface (docs/assumptions.md)."""

from __future__ import annotations

import pytest
import requests

from sandbox.faults import Control, Refused
from sandbox.upstreams.cast import Veteran
from sandbox.upstreams.scenarios import with_habit, with_travel_pay, without_email
from sandbox.upstreams.serve import Upstreams

ADA = with_habit("ok")


def find(http: requests.Session, upstreams: Upstreams, icn: str, key: str | None = None) -> requests.Response:
    headers = {"x-api-key": key or upstreams.fakes.settings.va_profile_api_key}
    return http.get(f"{upstreams['va_profile']}/contact-information/{icn}", headers=headers)


@pytest.mark.parametrize("person", [ADA, without_email(), with_travel_pay("contacts_differ")], ids=lambda who: who.name)
def test_it_says_how_to_reach_a_person(http: requests.Session, upstreams: Upstreams, person: Veteran) -> None:
    answer = find(http, upstreams, person.icn)
    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"icn", "email", "mobilePhone", "homePhone", "mailingAddress"}
    assert (body["icn"], body["email"], body["mobilePhone"]) == (person.icn, person.email, person.phone)
    assert set(body["mailingAddress"]) == {
        "addressLine1",
        "addressLine2",
        "city",
        "stateCode",
        "zipCode",
        "countryCode",
    }


def test_an_unknown_person_is_not_found(http: requests.Session, upstreams: Upstreams) -> None:
    answer = find(http, upstreams, "1V1")
    assert (answer.status_code, answer.json()) == (404, {"error": "Person not found"})


def test_an_unknown_path_is_answered_differently(http: requests.Session, upstreams: Upstreams) -> None:
    answer = http.get(f"{upstreams['va_profile']}/typo/{ADA.icn}")
    assert (answer.status_code, answer.json()) == (404, {"message": "Not Found"})


def test_a_wrong_key_is_forbidden(http: requests.Session, upstreams: Upstreams) -> None:
    answer = find(http, upstreams, ADA.icn, "wrong")
    assert (answer.status_code, answer.json()) == (403, {"error": "Forbidden"})


def test_details_can_be_changed_and_are_forgotten(
    http: requests.Session, upstreams: Upstreams, control: Control
) -> None:
    before = find(http, upstreams, ADA.icn).json()
    control.call("PATCH", "va_profile", f"contacts/{ADA.icn}", json={"mobilePhone": None, "mailingAddress": None})
    assert find(http, upstreams, ADA.icn).json() == before | {"mobilePhone": None, "mailingAddress": None}
    with pytest.raises(Refused, match="only its details"):
        control.call("PATCH", "va_profile", f"contacts/{ADA.icn}", json={"fax": "1"})
    control.reset()
    assert find(http, upstreams, ADA.icn).json() == before


def test_a_fault_is_answered_in_its_own_words(http: requests.Session, upstreams: Upstreams, control: Control) -> None:
    control.set("va_profile", "status", times=1)
    answer = find(http, upstreams, ADA.icn)
    assert (answer.status_code, answer.json()) == (503, {"error": "Service Unavailable"})
