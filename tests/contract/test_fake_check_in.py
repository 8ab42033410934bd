"""The fakes of LoROTA and CHIP against their contract (contract: travel 1.9), and the cast behind both."""

from __future__ import annotations

import re
import time
from typing import Any

import jwt
import pytest
import requests

from sandbox.faults import Control, Refused
from sandbox.upstreams.cast import DEFAULT_CAST, EVERYBODY, Veteran
from sandbox.upstreams.keys import OLD_KEY, private_key
from sandbox.upstreams.scenarios import with_habit
from sandbox.upstreams.serve import Upstreams

ADA = with_habit("ok")
CONFIRMED = {
    "demographicsNeedsUpdate": False,
    "demographicsConfirmedAt": "2031-03-04T14:30:00+00:00",
    "nextOfKinNeedsUpdate": True,
    "nextOfKinConfirmedAt": "2031-03-04T14:30:00+00:00",
    "emergencyContactNeedsUpdate": False,
    "emergencyContactConfirmedAt": "2031-03-04T14:30:00+00:00",
}


class CheckIn:
    """Raw calls to both services, correct by default."""

    def __init__(self, http: requests.Session, upstreams: Upstreams) -> None:
        self.http, self.urls, self.known = http, upstreams, upstreams.fakes.settings

    def lorota_headers(self, **changes: str) -> dict[str, str]:
        return {"x-api-key": self.known.lorota_api_key, "x-apigw-api-id": self.known.lorota_api_id} | changes

    def claims(self, pem: str | None = None, **changes: Any) -> str:
        """The signed claims about a check-in; a claim changed to None is left out."""
        now = int(time.time())
        claims = {"aud": "lorota", "iss": self.known.lorota_issuer, "sub": ADA.uuid, "scopes": ["read.full"]}
        given = {**claims, "iat": now, "exp": now + 86_400, **changes}
        held = {name: value for name, value in given.items() if value is not None}
        return jwt.encode(held, private_key(pem or self.known.lorota_client_key), algorithm="RS256")

    def identify(self, headers: dict[str, str] | None = None, **changes: Any) -> requests.Response:
        body = {"dob": ADA.dob, "lastName": ADA.last_name} | changes
        sent = self.lorota_headers(**{"x-lorota-claims": self.claims(), **(headers or {})})
        return self.http.post(f"{self.urls['lorota']}/token", json=body, headers=sent)

    def identify_at(self, uuid: str, **changes: Any) -> requests.Response:
        return self.identify({"x-lorota-claims": self.claims(sub=uuid)}, **changes)

    def data(self, uuid: str, token: str, **headers: str) -> requests.Response:
        sent = self.lorota_headers(Authorization=f"Bearer {token}", **headers)
        return self.http.get(f"{self.urls['lorota']}/data/{uuid}", headers=sent)

    def data_of(self, veteran: Veteran) -> dict[str, Any]:
        token = self.identify_at(veteran.uuid, dob=veteran.dob, lastName=veteran.last_name).json()["token"]
        return dict(self.data(veteran.uuid, token).json())

    def chip_token(self, user: tuple[str, str] | None = None, api_id: str | None = None) -> requests.Response:
        auth = user or (self.known.chip_username, self.known.chip_password)
        headers = {"x-apigw-api-id": api_id or self.known.chip_api_id}
        return self.http.post(f"{self.urls['chip']}/token", auth=auth, headers=headers)

    def check_in(self, uuid: str, token: str | None = None, **changes: Any) -> requests.Response:
        token = token or self.chip_token().json()["token"]
        body = {"appointmentIEN": "460", "isTravelEnabled": True, "travelSubmitted": True} | changes
        headers = {"Authorization": f"Bearer {token}", "x-apigw-api-id": self.known.chip_api_id}
        return self.http.post(f"{self.urls['chip']}/actions/check-in/{uuid}", json=body, headers=headers)

    def confirm(self, token: str | None = None, **changes: Any) -> requests.Response:
        token = token or self.chip_token().json()["token"]
        body = {"patientDfn": "418", "stationNo": "983", "uuid": ADA.uuid, "demographicConfirmations": CONFIRMED}
        headers = {"Authorization": f"Bearer {token}", "x-apigw-api-id": self.known.chip_api_id}
        url = f"{self.urls['chip']}/actions/confirm-demographics"
        return self.http.post(url, json=body | changes, headers=headers)


@pytest.fixture
def services(http: requests.Session, upstreams: Upstreams) -> CheckIn:
    return CheckIn(http, upstreams)


def test_the_cast_is_well_formed_and_nobody_is_there_twice() -> None:
    assert len(DEFAULT_CAST) >= 12
    for veteran in EVERYBODY:
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", veteran.uuid)
        assert re.fullmatch(r"\d{10}V\d{6}", veteran.icn)
        assert re.fullmatch(r"\+1555555\d{4}", veteran.phone or "")
        assert re.fullmatch(r"\d{9}", veteran.ssn or "")
    for name in ("uuid", "account", "icn", "phone", "email", "ssn"):
        assert len({getattr(veteran, name) for veteran in EVERYBODY}) == len(EVERYBODY)
    assert {veteran.facility_type for veteran in DEFAULT_CAST} == {"vista", "oh"}


@pytest.mark.parametrize("name", [ADA.last_name, ADA.last_name.upper(), f"  {ADA.last_name} "])
def test_the_right_answers_get_a_token_in_any_case_of_the_name(services: CheckIn, name: str) -> None:
    answer = services.identify(lastName=name)
    assert answer.status_code == 200
    assert services.data(ADA.uuid, answer.json()["token"]).status_code == 200


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"dob": "1951-04-13"}, "dob"),
        ({"lastName": "Marlowe"}, "lastName"),
        ({"lastName": "Marlowe", "dob": "1951-04-13"}, "lastName or dob"),
    ],
)
def test_a_wrong_answer_names_what_does_not_match(services: CheckIn, wrong: dict[str, str], named: str) -> None:
    answer = services.identify(**wrong)
    expected = {"error": f"{named} does not match with current record"}
    assert (answer.status_code, answer.json()) == (401, expected)


def test_wrong_answers_are_not_counted(services: CheckIn) -> None:
    assert {services.identify(dob="1900-01-01").status_code for _ in range(5)} == {401}
    assert services.identify().status_code == 200


def test_an_unknown_link_is_not_found(services: CheckIn) -> None:
    answer = services.identify_at("00000000-0000-4000-8000-000000000000")
    assert (answer.status_code, answer.json()) == (401, {"error": "uuid not found"})


@pytest.mark.parametrize("name", ["x-api-key", "x-apigw-api-id"])
def test_a_caller_who_is_not_known_is_forbidden(services: CheckIn, name: str) -> None:
    token = services.identify().json()["token"]
    for answer in (services.identify({name: "wrong"}), services.data(ADA.uuid, token, **{name: "wrong"})):
        assert (answer.status_code, answer.json()) == (403, {"message": "Forbidden"})


WRONG_CLAIMS: dict[str, dict[str, Any]] = {
    "signed by another key": {"pem": OLD_KEY},
    "for somebody else": {"aud": "chip"},
    "of somebody else": {"iss": "somebody"},
    "ended": {"exp": int(time.time()) - 1},
    "not begun": {"iat": int(time.time()) + 3600},
    "without a scope": {"scopes": None},
    "with another scope": {"scopes": ["read.none"]},
    "about nobody": {"sub": None},
    "without an end": {"exp": None},
}


@pytest.mark.parametrize("changes", WRONG_CLAIMS.values(), ids=WRONG_CLAIMS)
def test_claims_are_checked(services: CheckIn, changes: dict[str, Any]) -> None:
    answer = services.identify({"x-lorota-claims": services.claims(**changes)})
    assert (answer.status_code, answer.json()) == (401, {"message": "Unauthorized"})


def test_without_claims_nobody_is_identified(services: CheckIn) -> None:
    assert services.identify({"x-lorota-claims": ""}, uuid=ADA.uuid).status_code == 401


def test_a_token_opens_only_its_own_data(services: CheckIn) -> None:
    token = services.identify().json()["token"]
    other = next(veteran for veteran in DEFAULT_CAST if veteran.uuid != ADA.uuid)
    assert services.data(other.uuid, token).status_code == 401
    assert services.data("00000000-0000-4000-8000-000000000000", token).status_code == 404
    assert services.data(ADA.uuid, "made-up").status_code == 401


def test_an_expired_token_opens_nothing(services: CheckIn, control: Control) -> None:
    token = services.identify().json()["token"]
    control.set("lorota", "expire", operation="/data/", times=1)
    assert [services.data(ADA.uuid, token).status_code for _ in range(2)] == [401, 401]


def test_the_data_of_a_day_of_check_in_have_the_recorded_shape(services: CheckIn) -> None:
    data = services.data_of(ADA)
    assert (data["id"], data["scope"], set(data)) == (ADA.uuid, "read.full", {"id", "scope", "payload"})
    payload = data["payload"]
    assert set(payload) == {
        "appointments",
        "demographics",
        "patientDemographicsStatus",
        "setECheckinStartedCalled",
    }
    assert (payload["demographics"]["icn"], payload["demographics"]["mobilePhone"]) == (ADA.icn, ADA.phone)
    assert payload["setECheckinStartedCalled"] is False
    assert payload["appointments"][0]["stationNo"] == int(ADA.station)


def test_the_data_of_an_oracle_health_check_in_have_the_recorded_shape(services: CheckIn) -> None:
    elena = with_habit("ok", "oh")
    payload = services.data_of(elena)["payload"]
    assert set(payload) == {"appointments", "address", "patientCellPhone", "type"}
    assert (payload["patientCellPhone"], payload["type"]) == (elena.phone, "OH")
    assert "\n" in payload["address"]
    assert (payload["appointments"][0]["icn"], payload["appointments"][0]["stationNo"]) == (elena.icn, elena.station)


SHARED_FIELDS = {
    "appointmentIEN",
    "patientDFN",
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


def test_an_appointment_for_the_day_has_local_times_and_a_window(services: CheckIn) -> None:
    (appointment,) = services.data_of(ADA)["payload"]["appointments"]
    assert set(appointment) == SHARED_FIELDS | {"checkInWindowStart", "checkInWindowEnd", "eligibility"}
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}T09:30:00", appointment["startTime"])
    assert re.search(r"T\d{2}:\d{2}:\d{2}\.000-0[67]:00$", appointment["checkInWindowStart"])
    assert appointment["eligibility"] == "ELIGIBLE"
    assert set(appointment["facilityAddress"]) == {"street1", "street2", "street3", "city", "state", "zip"}


def test_an_oracle_health_appointment_has_utc_times_and_a_zone(services: CheckIn) -> None:
    (appointment,) = services.data_of(with_habit("ok", "oh"))["payload"]["appointments"]
    assert set(appointment) == SHARED_FIELDS | {"timezone", "icn", "edipi"}
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.000\+00:00", appointment["startTime"])
    assert appointment["timezone"] == "America/New_York"


def test_a_fresh_veteran_is_known_everywhere(services: CheckIn, control: Control) -> None:
    added = control.call("POST", "lorota", "veterans", json={"last_name": "Fresh", "facility_type": "oh"})
    token = services.identify_at(added["uuid"], dob=added["dob"], lastName="fresh").json()["token"]
    payload = services.data(added["uuid"], token).json()["payload"]
    assert payload["appointments"][0]["icn"] == added["icn"]
    assert services.check_in(added["uuid"]).status_code == 200


def test_many_veterans_can_be_added_at_once(control: Control) -> None:
    before = len(control.call("GET", "lorota", "veterans"))
    added = control.call("POST", "lorota", "veterans", json=[{} for _ in range(50)])
    assert len({veteran["icn"] for veteran in added}) == 50
    listed = control.call("GET", "lorota", "veterans")
    assert len(listed) == before + 50


@pytest.mark.parametrize("wrong", [{"shoe_size": 9}, {"habit": "sings"}, {"itf": "sings"}])
def test_a_veteran_that_makes_no_sense_is_refused(control: Control, wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=next(iter(wrong))):
        control.call("POST", "lorota", "veterans", json=wrong)


def test_a_check_in_is_acknowledged_in_bare_text_that_is_called_json(services: CheckIn) -> None:
    answer = services.check_in(ADA.uuid)
    assert (answer.status_code, answer.text) == (200, "Checkin successful")
    assert answer.headers["Content-Type"] == "application/json"


def test_a_check_in_with_an_unknown_link_is_not_found_and_says_nothing(services: CheckIn) -> None:
    answer = services.check_in("00000000-0000-4000-8000-000000000000")
    assert (answer.status_code, answer.content) == (404, b"")
    assert answer.headers["Content-Type"] == "application/json"


def test_a_check_in_with_a_dead_token_is_unauthorized(services: CheckIn) -> None:
    assert services.check_in(ADA.uuid, token="made-up").status_code == 401


@pytest.mark.parametrize("wrong", [{"appointmentIEN": ""}, {"isTravelEnabled": "yes"}, {"travelSubmitted": None}])
def test_a_malformed_check_in_is_refused(services: CheckIn, wrong: dict[str, Any]) -> None:
    assert services.check_in(ADA.uuid, **wrong).status_code == 400


def test_confirmed_details_come_back_as_recorded(services: CheckIn) -> None:
    answer = services.confirm()
    attributes = {"id": 5, "patientDfn": "418", **CONFIRMED, "insuranceVerificationNeeded": None}
    assert (answer.status_code, answer.json()) == (200, {"data": {"id": "418", "attributes": attributes}})


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"token": "made-up"}, 401),
        ({"uuid": "00000000-0000-4000-8000-000000000000"}, 404),
        ({"patientDfn": None}, 400),
        ({"stationNo": 983}, 400),
        ({"demographicConfirmations": None}, 400),
        ({"demographicConfirmations": CONFIRMED | {"nextOfKinNeedsUpdate": "no"}}, 400),
        ({"demographicConfirmations": CONFIRMED | {"nextOfKinConfirmedAt": "2031-03-04T14:30:00"}}, 400),
        ({"demographicConfirmations": {"demographicsNeedsUpdate": False}}, 400),
    ],
)
def test_confirmed_details_that_are_malformed_are_refused(
    services: CheckIn, changes: dict[str, Any], status: int
) -> None:
    assert services.confirm(**changes).status_code == status


def test_chip_requires_its_password_and_its_gateway_id(services: CheckIn) -> None:
    assert services.chip_token(user=("surefile", "wrong")).status_code == 401
    assert services.chip_token(api_id="wrong").status_code == 403
