"""A check-in's data and the check-in itself (contract: travel 1.3), as the pages read them (contract: frontend 2.3)."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.upstreams.scenarios import with_habit
from tests.product import ADA, Product

CAMEL = {"X-Key-Inflection": "camel"}
CHECK_INS = "/check_in/v2/patient_check_ins"
NOBODY = {"permissions": "read.none", "status": "success", "uuid": ADA.uuid}
# What the pages read of an appointment, whatever kind of facility it is at.
BOTH = {
    "appointmentIen",
    "facility",
    "stationNo",
    "clinicIen",
    "clinicName",
    "clinicFriendlyName",
    "clinicStopCodeName",
    "clinicPhoneNumber",
    "clinicLocation",
    "doctorName",
    "kind",
    "status",
    "facilityAddress",
    "startTime",
}
PAYLOAD = {"address", "appointments", "demographics", "patientDemographicsStatus", "setECheckinStartedCalled"}
DAY_OF = BOTH | {"checkInWindowStart", "checkInWindowEnd", "eligibility"}
TRAVEL_ONLY = BOTH | {"timezone"}


def check_in(client: Any, path: str = f"{CHECK_INS}/", uuid: str = ADA.uuid, **changes: Any) -> Any:
    body = {
        "uuid": uuid,
        "appointmentIen": "460",
        "setECheckinStartedCalled": True,
        "isTravelEnabled": True,
        "travelSubmitted": False,
    }
    return client.post(path, json={"patientCheckIns": body | changes}, headers=CAMEL)


@pytest.mark.parametrize(("veteran", "keys"), [(ADA, DAY_OF), (with_habit("ok", "oh"), TRAVEL_ONLY)])
def test_the_payload_has_what_the_pages_read(product: Product, veteran: Any, keys: set[str]) -> None:
    client = product.sign_in(veteran)
    response = client.get(f"{CHECK_INS}/{veteran.uuid}?reload=true", headers=CAMEL)
    payload = response.get_json()["payload"]
    assert response.content_type == "application/json"
    assert set(payload["appointments"][0]) == keys
    assert payload["appointments"][0]["appointmentIen"] == veteran.appointments[0].ien
    assert set(payload) == PAYLOAD
    if veteran is ADA:
        assert payload["setECheckinStartedCalled"] is False
        assert payload["demographics"]["nextOfKin1"]["relationship"] == "SIBLING"
        assert set(payload["patientDemographicsStatus"]) >= {"demographicsNeedsUpdate"}
    else:
        assert "\n" in payload["address"]
        assert payload["demographics"] == payload["patientDemographicsStatus"] == {}


def test_without_the_header_the_payload_is_in_snake_case(product: Product) -> None:
    payload = product.sign_in().get(f"{CHECK_INS}/{ADA.uuid}").get_json()["payload"]
    assert payload["set_e_checkin_started_called"] is False
    assert payload["appointments"][0]["appointment_ien"] == "460"
    assert payload["demographics"]["next_of_kin1"]["phone"] == "5555550160"


@pytest.mark.parametrize("veteran", [ADA, with_habit("ok", "oh")])
def test_internal_identifiers_are_not_sent_to_the_page(product: Product, veteran: Any) -> None:
    text = product.sign_in(veteran).get(f"{CHECK_INS}/{veteran.uuid}", headers=CAMEL).text
    assert veteran.icn not in text
    assert not [name for name in ("patientDFN", "edipi", "icn") if f'"{name}"' in text]


def test_a_stranger_gets_the_read_none_object(product: Product) -> None:
    """Which of the two calls answers 401 is as the pages know it (contract: travel 1.2, 1.3)."""
    other = with_habit("ok", "oh")
    for client in (product.app.test_client(), product.sign_in(other)):
        for response, status in ((client.get(f"{CHECK_INS}/{ADA.uuid}"), 401), (check_in(client), 200)):
            assert (response.status_code, response.get_json()) == (status, NOBODY)
    assert product.control.received("chip") == []


def test_data_that_cannot_be_read_is_a_502(product: Product) -> None:
    client = product.sign_in()
    for fault in ("refuse", "html", "throttle"):
        product.control.set("lorota", fault)
        response = client.get(f"{CHECK_INS}/{ADA.uuid}")
        product.control.clear("lorota")
        assert (response.status_code, response.get_json()["errors"][0]["status"]) == (502, "502"), fault


def test_a_token_that_lorota_no_longer_knows_ends_the_session_and_the_page_asks_again_who_it_is(
    product: Product,
) -> None:
    client, session = product.sign_in(), f"/check_in/v2/sessions/{ADA.uuid}"
    product.fakes.fakes.lorota.tokens.reset()
    other = product.sign_in()
    assert client.get(session).get_json()["permissions"] == "read.full"
    ended = client.get(f"{CHECK_INS}/{ADA.uuid}")
    assert (ended.status_code, ended.get_json()) == (401, NOBODY)
    assert (client.get(session).get_json(), check_in(client).get_json()) == (NOBODY, NOBODY)
    assert other.get(f"{CHECK_INS}/{ADA.uuid}").get_json()["id"] == ADA.uuid


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    "body", ['{"message": "Forbidden"}', '{"error": "no match for route"}', '{"error": "Not Found"}']
)
def test_a_refusal_of_our_own_key_takes_nobodys_session_away(product: Product, status: int, body: str) -> None:
    client = product.sign_in()
    refusal = {"body": body, "headers": {"Content-Type": "application/json"}}
    product.control.set("lorota", "answer", status=status, operation="GET /data", **refusal)
    response = client.get(f"{CHECK_INS}/{ADA.uuid}")
    assert (response.status_code, response.get_json()["errors"][0]["status"]) == (503, "503")
    assert int(response.headers["Retry-After"]) > 0
    product.control.clear("lorota")
    assert client.get(f"{CHECK_INS}/{ADA.uuid}").get_json()["id"] == ADA.uuid


def test_checking_in_returns_what_chip_says(product: Product) -> None:
    client = product.sign_in()
    for path in (CHECK_INS, f"{CHECK_INS}/"):
        response = check_in(client, path)
        assert (response.status_code, response.get_json()) == (200, {"data": "Checkin successful", "status": 200})
    received = product.control.received("chip", "POST /actions/check-in")[0]
    assert received["body"] == {"appointmentIEN": "460", "isTravelEnabled": True, "travelSubmitted": False}


def test_what_chip_does_not_do_is_an_error_that_the_page_reads(product: Product) -> None:
    """A refusal of our own token is not the person's 401: their page would send them to sign in again."""
    client = product.sign_in()
    for kind, status, told, code in (
        ("status", 401, 502, "502"),
        ("status", 403, 502, "502"),
        ("status", 404, 502, "502"),
        ("empty", 404, 404, "CHIP-API_404"),
        ("status", 409, 502, "CHIP-API_409"),
        ("empty", 500, 502, "CHIP-API_500"),
        ("empty", 504, 502, "CHIP-API_504"),
    ):
        product.control.set("chip", kind, status=status, operation="check-in", times=1)
        response = check_in(client)
        (entry,) = response.get_json()["errors"]
        assert (response.status_code, entry["code"], entry["status"]) == (told, code, str(told)), (kind, status)


def test_chips_own_400_is_passed_on(product: Product) -> None:
    client = product.sign_in()
    product.control.set("chip", "status", status=400, operation="check-in")
    assert check_in(client).get_json() == {"data": {"title": "Bad Request", "status": "400"}, "status": 400}


def test_a_chip_that_is_down_is_a_502(product: Product) -> None:
    client = product.sign_in()
    product.control.set("chip", "refuse")
    response = check_in(client)
    product.control.clear("chip")
    assert (response.status_code, response.get_json()["errors"][0]["status"]) == (502, "502")


def test_a_check_in_without_its_appointment_names_the_field(product: Product) -> None:
    response = check_in(product.sign_in(), appointmentIen="")
    (entry,) = response.get_json()["errors"]
    assert (response.status_code, entry["source"]["pointer"]) == (422, "/patientCheckIns/appointmentIen")
