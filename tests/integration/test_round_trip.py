"""Whatever a GET of ours serves, the page may post back: each pair, for every person whom the sandbox knows.

The pages' own arithmetic is done here as they do it (contract: frontend 2.4, 4.1, 5.2, 5.3).
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from flaskapp.intent_to_file.states import TYPES
from sandbox.upstreams.cast import EVERYBODY, FACILITIES, Appointment, Veteran
from tests.integration import travel_pay_steps as steps
from tests.integration.form526_steps import filer
from tests.integration.itf_steps import sign_in
from tests.integration.test_check_in_demographics import CONFIRM, DEMOGRAPHICS
from tests.integration.travel_pay_reading import APPOINTMENTS_URL
from tests.integration.travel_pay_steps import CLAIMS_URL, FIND, traveling
from tests.product import ADA, Product

CAMEL = {"X-Key-Inflection": "camel"}
# Travel pay needs somebody whom VA knows, with an e-mail address (docs/front-end.md).
TRAVELERS = [each for each in EVERYBODY if each.identified and each.email]
FAR = {
    "last_name": "Farland",
    "facility_type": "oh",
    "appointments": [
        {"station": "668", "start": "17:30", "time_zone": "America/Los_Angeles", "day": "2026-11-29"},
        {"station": "668", "start": "08:00", "time_zone": "Pacific/Guam", "day": "2026-12-02"},
        {"station": "668", "start": "19:00", "time_zone": "America/Los_Angeles", "day": "2026-12-04"},
    ],
}


def everybody(product: Product) -> list[Veteran]:
    """The cast, and somebody whose days are others in UTC."""
    added = product.control.call("POST", "lorota", "veterans", json=FAR)
    far = product.fakes.fakes.cast.by_uuid(added["uuid"])
    assert far is not None
    return [*EVERYBODY, far]


def forms_of(appointment: dict[str, Any]) -> list[tuple[str, str]]:
    """What today's and earlier pages post of an appointment, each with the facility's day."""
    start = appointment["startTime"]
    if "timezone" not in appointment:
        return [(text, start[:10]) for text in (start, start[:10])]
    local = datetime.fromisoformat(start).astimezone(ZoneInfo(appointment["timezone"]))
    texts = (
        start,
        start.replace("+00:00", "Z"),
        local.isoformat(timespec="milliseconds"),
        f"{local:%Y-%m-%dT%H:%M:%S}",
        f"{local:%Y-%m-%d}",
    )
    return [(text, f"{local:%Y-%m-%d}") for text in texts]


def test_check_in_appointments_and_travel_claims(product: Product) -> None:
    people = everybody(product)
    for veteran in people:
        client = product.sign_in(veteran)
        url = f"/check_in/v2/patient_check_ins/{veteran.uuid}"
        payload = client.get(url, headers=CAMEL).get_json()["payload"]
        kinds = {appointment["stationNo"] for appointment in payload["appointments"]}
        assert kinds, veteran.name
        assert confirmed(client, veteran) == 200, veteran.name
        for appointment in payload["appointments"]:
            assert checked_in(client, veteran, appointment) == 200, veteran.name
            for text, day in forms_of(appointment):
                response = product.ask(client, veteran, text)
                assert (response.status_code, veteran.name, text) == (202, veteran.name, text), response.text
                assert response.get_json()["data"]["appointment_date"] == day, (veteran.name, text)
    told = {each["body"]["uuid"]: each["body"]["patientDfn"] for each in product.control.received("chip", CONFIRM)}
    assert told == {each.uuid: f"78{each.icn[5:10]}" for each in people}


def confirmed(client: Any, veteran: Veteran) -> int:
    """The `status` that the page waits for after it has sent what the person confirmed."""
    answers = {"demographicsUpToDate": True, "nextOfKinUpToDate": True, "emergencyContactUpToDate": False}
    body = {"demographics": {"demographicConfirmations": {"uuid": veteran.uuid, **answers}}}
    status: int = client.patch(f"{DEMOGRAPHICS}/{veteran.uuid}", json=body, headers=CAMEL).get_json()["status"]
    return status


def checked_in(client: Any, veteran: Veteran, appointment: dict[str, Any]) -> int:
    """The `status` that the page waits for after it has posted the appointment's number back."""
    posted = {"uuid": veteran.uuid, "appointmentIen": appointment["appointmentIen"], "isTravelEnabled": True}
    response = client.post("/check_in/v2/patient_check_ins/", json={"patientCheckIns": posted}, headers=CAMEL)
    status: int = response.get_json()["status"]
    return status


@pytest.mark.parametrize(
    ("start", "allowed", "refused"),
    [
        ("2026-11-29T17:30:00.000+00:00", ["2026-11-28", "2026-11-29T17:30:00Z", "2026-11-30"], "2026-12-01"),
        (None, [datetime.now(UTC).date().isoformat()], "2026-06-01"),
    ],
)
def test_an_appointment_without_a_zone_or_a_start_allows_the_days_on_which_it_may_be(
    product: Product, start: str | None, allowed: list[str], refused: str
) -> None:
    """LoROTA writes some numbers as numbers (contract: travel 1.9); CHIP gets a text."""
    written = {"appointmentIEN": 4567, "stationNo": 668, "icn": ADA.icn, "patientDFN": "1", "startTime": start}
    payload = {"appointments": [written], "type": "OH", "address": "x", "patientCellPhone": ADA.phone}
    data = json.dumps({"id": ADA.uuid, "scope": "read.full", "payload": payload})
    headers = {"Content-Type": "application/json"}
    product.control.set("lorota", "answer", status=200, body=data, headers=headers, operation="GET /data")
    client = product.sign_in()
    url = f"/check_in/v2/patient_check_ins/{ADA.uuid}"
    (shown,) = client.get(url, headers=CAMEL).get_json()["payload"]["appointments"]
    assert [checked_in(client, ADA, shown), checked_in(client, ADA, {"appointmentIen": 4567})] == [200, 200]
    sent = [each["body"]["appointmentIEN"] for each in product.control.received("chip", "actions/check-in")]
    assert [shown["appointmentIen"], *sent] == ["4567"] * 3
    answers = [product.ask(client, ADA, text) for text in (*allowed, refused, "1900-01-01", "2199-12-31")]
    assert [each.status_code for each in answers] == [*[202] * len(allowed), 422, 422, 422]


@pytest.mark.parametrize("date", ["1900-01-01", "2026-11-28T17:30:00", "2027-02-03T01:30:00Z", "2199-12-31"])
def test_a_day_without_an_appointment_is_refused_with_what_to_do(product: Product, date: str) -> None:
    client = product.sign_in()
    response = product.ask(client, ADA, date)
    (entry,) = response.get_json()["errors"]
    assert (response.status_code, entry["status"], entry["code"]) == (422, "422", "NO_SUCH_APPOINTMENT")
    assert "request travel pay for an appointment that it shows" in entry["detail"]
    assert entry["source"]["pointer"] == "/travel_claims/appointment_date"
    # The claim of that day is here already, or the session is from before appointments were kept.
    product.rows("UPDATE check_in_sessions SET appointments = NULL RETURNING 1")
    claim_id = product.ask(client, ADA, date).get_json()["data"]["id"]
    assert product.ask(product.sign_in(), ADA, date).get_json()["data"]["id"] == claim_id


def test_appointments_and_travel_pay_claims(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock that the page cuts out, the whole local time and the instant are one claim, for the appointment
    that was served: Travel Pay adds none. One is at a clinic that the pages know by its hospital alone."""
    monkeypatch.setitem(FACILITIES, "459GA", "Example Island VA Clinic")
    first = TRAVELERS[0]
    islander = replace(first, appointments=(*first.appointments, Appointment("462", "459GA", "21:00")))
    product.fakes.fakes.cast.add(islander)
    for veteran in (islander, *TRAVELERS[1:]):
        person = traveling(product, veteran)
        listed = person.read(APPOINTMENTS_URL, _include="facilities,travel_pay_claims")["data"]
        days = [each["attributes"]["localStartTime"][:10] for each in listed]
        for day in {*days[:1], *days[-1:]}:
            of_day = person.read(APPOINTMENTS_URL, start=day, end=day)["data"]
            assert [each["id"] for each in of_day] == [
                each["id"] for each, at in zip(listed, days, strict=True) if at == day
            ]
        free = [each for each in listed if "claim" not in each["attributes"]["travelPayClaim"]]
        # Every older appointment has a claim.
        assert len(free) == len(veteran.appointments) - (veteran.habit == "filed"), veteran.name
        for each in free:
            one = person.read(f"{APPOINTMENTS_URL}/{each['id']}", _include="facilities,travel_pay_claims")["data"]
            assert one == each
            found = one["attributes"]
            place = {"facilityStationNumber": found["location"]["id"]}
            place["facilityName"] = found["location"]["attributes"]["name"]
            assert found["start"].endswith("Z") and found["locationId"] == found["location"]["id"], veteran.name
            instants = [datetime.fromisoformat(found[name]) for name in ("start", "localStartTime")]
            assert instants[0] == instants[1], veteran.name
            texts = (found["localStartTime"][:19], found["localStartTime"], found["start"])
            answers = [person.post(text, **place) for text in texts]
            assert [answer.status_code for answer in answers] == [202] * 3, veteran.name
            (claim_id,) = {answer.get_json()["id"] for answer in answers}
            shown = person.read(f"{CLAIMS_URL}/{claim_id}")
            assert (shown["claimId"], shown["appointmentDate"]) == (claim_id, texts[0])
            again = person.read(f"{APPOINTMENTS_URL}/{each['id']}", _include="travel_pay_claims")["data"]
            assert again["attributes"]["travelPayClaim"]["claim"]["id"] == claim_id
    before = product.control.call("GET", "travel_pay", "appointments")
    product.work()
    assert len(product.control.received("travel_pay", FIND)) >= len(TRAVELERS) - 1
    assert len(product.control.call("GET", "travel_pay", "appointments")) == len(before)
    asked = {row["appointment_id"] for row in steps.rows(product)}
    assert asked <= {each["id"] for each in before}


def test_whoever_is_no_traveler_is_told_why(product: Product) -> None:
    """A claim is accepted from somebody without an e-mail address: it may be added by the time that it is filed."""
    told = {}
    for veteran in EVERYBODY:
        if veteran not in TRAVELERS:
            person = traveling(product, veteran)
            lists = person.get(APPOINTMENTS_URL), person.get(CLAIMS_URL, start_date="2000-01-01", end_date="2099-12-31")
            refusals = {(each.status_code, each.get_json()["errors"][0]["code"]) for each in lists}
            told[veteran.name] = (refusals, person.post().status_code)
    assert told == {"Tess Moreau": ({(403, "NO_ICN")}, 403), "Yara Holm": ({(403, "NO_EMAIL")}, 202)}


def test_claims_and_their_documents_are_found_by_the_ids_that_are_listed(product: Product) -> None:
    for veteran in TRAVELERS:
        person = traveling(product, veteran)
        for item in person.read(CLAIMS_URL, start_date="2000-01-01", end_date="2099-12-31")["data"][:20]:
            shown = person.read(f"{CLAIMS_URL}/{item['id']}")
            assert (shown["claimId"], shown["claimNumber"]) == (item["id"], item["claimNumber"])
            for document in shown["documents"]:
                path = f"{CLAIMS_URL}/{item['id']}/documents/{document['documentId']}"
                assert person.get(path).status_code == 200, (veteran.name, document)


def refusal_of_itf(veteran: Veteran, itf_type: str) -> int | None:
    """The HTTP status with which a POST is refused. Compensation waits for whoever cannot be filed for today."""
    if itf_type == "compensation":
        return None
    if not veteran.identified:
        return 403
    # Lighthouse wants the SSN of a survivor, and everybody here is the veteran.
    return 422 if itf_type == "survivor" else 404 if veteran.itf == "unknown" else None


@pytest.mark.parametrize("itf_type", TYPES)
def test_an_intent_to_file_is_one_object_in_get_and_post(product: Product, itf_type: str) -> None:
    for veteran in EVERYBODY:
        person, refusal = sign_in(product, veteran), refusal_of_itf(veteran, itf_type)
        person.get(f"/{itf_type}")
        posted = person.post(itf_type)
        if refusal is not None:
            (entry,) = posted.get_json()["errors"]
            assert (posted.status_code, entry["status"], veteran.name) == (refusal, str(refusal), veteran.name)
            assert person.get(f"/{itf_type}").status_code == (403 if refusal == 403 else 404), veteran.name
            continue
        assert posted.status_code == (202 if itf_type == "compensation" else 200), veteran.name
        created = posted.get_json()["data"]["attributes"]["intentToFile"]
        (listed,) = person.shown(f"/{itf_type}")
        assert set(listed) == set(created), veteran.name
        assert {name: listed[name] for name in ("id", "status", "type")} == {
            name: created[name] for name in ("id", "status", "type")
        }
        assert created["type"] == itf_type, veteran.name


def test_an_uploads_guid_is_the_confirmation_code_of_an_attachment(product: Product) -> None:
    filed = []
    for veteran in EVERYBODY:
        person = filer(product, veteran)
        attachment = person.attach()
        if not veteran.identified:
            # Known from here on: a form of somebody who was never looked up is accepted, and looked up then.
            assert person.signed.get("/pension").status_code == 403, veteran.name
            assert person.submit(attachment).status_code == 403, veteran.name
            continue
        filed.append((person, attachment["confirmationCode"], person.file(attachment)))
    assert len(filed) == len(EVERYBODY) - 1
    evidence = "SELECT count(*) = :people FROM form526_document_submissions WHERE kind = 'evidence'"
    product.work(until=lambda: product.value(evidence, people=len(filed)))
    for person, guid, form in filed:
        assert guid in {each["guid"] for each in person.documents(form)}, person.signed.veteran.name
