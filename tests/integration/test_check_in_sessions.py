"""Signing in to a check-in (contract: frontend 2.1), with the outcomes that the pages read (contract: frontend 2.2)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flaskapp.check_in.service import identity_of
from jobs import housekeeping
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.product import ADA, Product, eventually

CAMEL = {"X-Key-Inflection": "camel"}
SESSIONS = "/check_in/v2/sessions"


def permissions(level: str, uuid: str = ADA.uuid) -> dict[str, str]:
    return {"permissions": level, "status": "success", "uuid": uuid}


def sign_in(product: Product, path: str = f"{SESSIONS}/", **changes: Any) -> Any:
    session = {"uuid": ADA.uuid, "dob": ADA.dob, "lastName": ADA.last_name, "checkInType": "preCheckIn"}
    return product.app.test_client().post(path, json={"session": session | changes}, headers=CAMEL)


def test_somebody_unknown_may_read_nothing(product: Product) -> None:
    response = product.app.test_client().get(f"{SESSIONS}/{ADA.uuid}?checkInType=preCheckIn", headers=CAMEL)
    assert (response.status_code, response.get_json()) == (200, permissions("read.none"))


def test_a_signed_in_person_may_read_their_own_check_in_and_no_other(product: Product) -> None:
    client = product.sign_in()
    other = ADA.uuid.replace("1", "2")
    assert client.get(f"{SESSIONS}/{ADA.uuid}").get_json() == permissions("read.full")
    assert client.get(f"{SESSIONS}/{other}").get_json() == permissions("read.none", other)


def test_signing_in_answers_at_once_on_either_address(product: Product) -> None:
    for path in (SESSIONS, f"{SESSIONS}/"):
        response = sign_in(product, path)
        assert (response.status_code, response.get_json()) == (200, permissions("read.full"))


def test_the_cookie_cannot_be_read_by_scripts_or_sent_by_other_sites(product: Product) -> None:
    cookie = sign_in(product).headers["Set-Cookie"]
    assert cookie.startswith("cie_session=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert product.rows("SELECT 1 FROM check_in_sessions WHERE token_digest = :token", token=cookie[12:55]) == []


def test_a_name_is_compared_without_case_and_blanks(product: Product) -> None:
    assert sign_in(product, lastName=f" {ADA.last_name.upper()} ").status_code == 200


def test_a_session_ends_after_twelve_hours(product: Product) -> None:
    client = product.sign_in()
    product.move_clock(timedelta(hours=12, seconds=1))
    assert client.get(f"{SESSIONS}/{ADA.uuid}").get_json() == permissions("read.none")
    assert product.ask(client).status_code == 401


def test_a_malformed_id_is_an_error_in_a_200(product: Product) -> None:
    response = product.app.test_client().get(f"{SESSIONS}/{ADA.uuid.upper().replace('-', 'X')}")
    assert (response.status_code, response.get_json()["error"]) == (200, True)


def test_a_wrong_name_is_refused_until_no_attempts_are_left(product: Product) -> None:
    answers = [sign_in(product, lastName="Nobody") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 410]
    errors = [answer.get_json()["errors"][0] for answer in answers]
    assert (errors[0]["status"], errors[0]["code"]) == ("401", "LOROTA-API_401")
    assert answers[0].headers["WWW-Authenticate"] == 'Token realm="Application"'
    assert (errors[3]["status"], errors[3]["code"]) == ("410", "CIE-VETS-API_410")
    assert set(errors[0]) >= {"title", "detail", "code", "status"}
    asked = len(product.control.received("lorota"))
    assert sign_in(product).get_json()["errors"][0]["status"] == "410", "the right name comes too late"
    assert len(product.control.received("lorota")) == asked
    ben = DEFAULT_CAST[1]
    answers = [sign_in(product, uuid=ben.uuid, dob=ben.dob, lastName=name) for name in ("Nobody", ben.last_name)]
    assert [answer.status_code for answer in answers] == [401, 200]
    product.move_clock(timedelta(days=7, seconds=1))
    assert sign_in(product).status_code == 200
    assert tries(product) == [(1, 1)]
    housekeeping.retain()
    assert tries(product) == []


def tries(product: Product) -> list[tuple[int, int]]:
    return [tuple(row) for row in product.rows("SELECT wrong, taken FROM check_in_tries")]


def test_only_wrong_answers_count(product: Product) -> None:
    """A right one takes none of them back: else somebody else could guess three times after each visit."""
    sign_in(product, lastName="Nobody")
    for fault in ("refuse", "html"):
        product.control.set("lorota", fault)
        assert {sign_in(product).status_code for _ in range(4)} == {502}
        product.control.clear("lorota")
    assert sign_in(product).status_code == 200
    assert {sign_in(product, uuid=ADA.uuid.replace("1", "2")).status_code for _ in range(4)} == {404}
    assert tries(product) == [(1, 1)]
    assert [sign_in(product, lastName="Nobody").status_code for _ in range(3)] == [401, 401, 410]


def test_tries_at_once_are_no_more_than_tries_one_by_one(product: Product) -> None:
    """While as many are on their way as are left, another is asked to wait, and not told that the link is closed."""
    product.control.set("lorota", "hold")
    with ThreadPoolExecutor(3) as browsers:
        guesses = [browsers.submit(sign_in, product, lastName=f"Guess{number}") for number in range(3)]
        eventually(lambda: len(product.control.received("lorota", "POST /token")) == 3)
        waits = sign_in(product)
        assert (waits.status_code, waits.get_json()["errors"][0]["status"]) == (429, "429")
        assert waits.headers["Retry-After"] == "5" and "X-RateLimit-Reset" in waits.headers
        product.control.clear("lorota")
        assert {guess.result().status_code for guess in guesses} == {401}
    assert sign_in(product).status_code == 410


def test_a_try_whose_process_died_is_free_again(product: Product) -> None:
    product.rows(
        "INSERT INTO check_in_tries (uuid, wrong, taken, taken_at, expires_at) VALUES (:uuid, 2, 3,"
        " outbox_now() - interval '3 minutes', outbox_now() + interval '1 day') RETURNING 1",
        uuid=ADA.uuid,
    )
    assert sign_in(product).status_code == 200
    assert tries(product) == [(2, 2)]


def test_a_wrong_date_of_birth_is_no_match(product: Product) -> None:
    assert sign_in(product, dob="1900-01-01").get_json()["errors"][0]["status"] == "401"


def test_an_unknown_link_counts_as_expired(product: Product) -> None:
    response = sign_in(product, uuid="0c4f6d1e-0000-4000-8000-0000000000aa")
    assert response.status_code == 404
    assert response.get_json()["errors"][0]["status"] == "404"
    assert response.get_json()["errors"][0]["code"] == "CIE-VETS-API_404"


def test_a_malformed_field_is_named_and_lorota_is_not_called(product: Product) -> None:
    for wrong in ({"uuid": "x"}, {"dob": "12.04.1951"}, {"dob": "1951-02-30"}, {"lastName": ""}):
        response = sign_in(product, **wrong)
        (entry,) = response.get_json()["errors"]
        assert (response.status_code, entry["status"]) == (422, "422")
        assert entry["source"]["pointer"] == f"/session/{next(iter(wrong))}"
    assert product.control.received("lorota") == []


def test_a_failing_lorota_is_a_502_and_no_session_is_kept(product: Product) -> None:
    for fault in ("refuse", "drop", "html", "throttle"):
        product.control.set("lorota", fault)
        response = sign_in(product)
        product.control.clear("lorota")
        assert (response.status_code, response.get_json()["errors"][0]["status"]) == (502, "502"), fault
        assert "Set-Cookie" not in response.headers
    assert product.value("SELECT count(*) FROM check_in_sessions") == 0


def test_signing_in_works_while_lorota_withholds_the_data(product: Product) -> None:
    product.control.set("lorota", "status", operation="GET /data")
    client = product.sign_in()
    refused = product.ask(client)
    assert (refused.status_code, refused.get_json()["errors"][0]["code"]) == (409, "CHECK_IN_NOT_LOADED")
    product.control.clear("lorota")
    assert client.get(f"/check_in/v2/patient_check_ins/{ADA.uuid}").status_code == 200
    assert product.ask(client).status_code == 202


def test_an_oracle_health_facility_is_recognized_in_any_case(product: Product) -> None:
    product.fakes.fakes.cast.add(replace(ADA, facility_type="OH"))
    product.ask(product.sign_in())
    product.work()
    assert product.phone()[0]["template"] == "oh.created"


@pytest.mark.parametrize(
    "data",
    [
        {"icn": "i", "patientCellPhone": "p", "stationNo": "983", "facilityType": "OH", "appointments": []},
        {"icn": "i", "mobilePhone": "p", "facilityType": "oh", "appointments": [{"stationNo": 983}]},
        {
            "demographics": {"icn": "i", "mobilePhone": "p"},
            "facilityType": "OH",
            "appointments": [{"icn": "other", "stationNo": 983}],
        },
        {"patientCellPhone": "p", "type": "OH", "appointments": [{"icn": "i", "stationNo": "983"}, {"stationNo": "1"}]},
        {
            "demographics": {"icn": None, "mobilePhone": "other"},
            "patientCellPhone": " p ",
            "facilityType": None,
            "type": "OH",
            "appointments": [{"icn": "i", "stationNo": "983"}],
        },
    ],
)
def test_a_person_is_known_wherever_lorota_says_it(data: dict[str, Any]) -> None:
    """Recorded data differ by facility in where they have each attribute (contract: travel 1.9)."""
    found = identity_of(data)
    assert found is not None and (found.icn, found.phone, found.station, found.facility) == ("i", "p", "983", "oh")


@pytest.mark.parametrize(
    "data",
    [
        {"appointments": []},
        {"appointments": [{"stationNo": "983"}]},
        {"appointments": [{"icn": "i"}]},
        {"demographics": [], "appointments": [{"icn": {}, "stationNo": True}]},
    ],
)
def test_nobody_is_known_without_icn_and_station(data: dict[str, Any]) -> None:
    assert identity_of(data) is None
