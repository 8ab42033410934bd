"""Answers and pages of the real world, each with its public source."""

from __future__ import annotations

import runpy
import uuid
from dataclasses import replace
from datetime import date
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flaskapp import clock
from flaskapp.check_in.service import Identity
from flaskapp.travel_claims.service import ClaimWork
from flaskapp.travel_pay.reads import all_pages
from flaskapp.travel_pay.shapes import appointment_item
from flaskapp.upstreams import Upstreams
from flaskapp.upstreams.btsss import BTSSSClient
from flaskapp.upstreams.errors import Rejected, Unavailable
from flaskapp.upstreams.transport.http import HTTP
from flaskapp.upstreams.travel_pay.values import read_appointment
from jobs.engine.spec import Call, EarlierWrites, Found
from jobs.travel_claims import look_up_claim
from sandbox.upstreams.cast import Appointment
from tests.integration.test_notifications_callbacks import body, post, sent_notification
from tests.product import ADA, APPOINTMENT_DATE, Product
from tests.unit.loopback import serving, whole
from tests.unit.travel_pay import ADA as TRAVELER
from tests.unit.travel_pay import CLAIM_ID, Bench, Tokens
from tests.unit.upstream_settings import settings

SUMMARY = {"id": CLAIM_ID, "claimStatus": "InProcess", "appointmentDateTime": "2031-03-04T09:30:00Z"}


def test_a_submitted_claim_need_not_name_its_status() -> None:
    """vets-api spec/support/vcr_cassettes/travel_pay/submit/success.yml@062a7973: the recorded success is `claimId`."""
    with serving(whole(200, {"data": {"claimId": CLAIM_ID}})) as server:
        bench = Bench(server)
        bench.filing.submit_begun_claim(TRAVELER, CLAIM_ID, bench.before_write)


@pytest.mark.parametrize(
    ("station", "zone", "start"),
    [
        ("459", "Pacific/Honolulu", "2026-11-20T18:00:00Z"),
        ("459GE", "Pacific/Guam", "2026-11-19T22:00:00Z"),
        ("459GF", "Pacific/Pago_Pago", "2026-11-20T19:00:00Z"),
        ("459GH", "Pacific/Saipan", "2026-11-19T22:00:00Z"),
        ("459GA", None, None),
        ("672GA", "America/St_Thomas", "2026-11-20T12:00:00Z"),
        ("983GC", "America/Denver", "2026-11-20T15:00:00Z"),
    ],
)
def test_the_clinics_of_the_pacific_have_clocks_of_their_own(station: str, zone: Any, start: Any) -> None:
    """vets-website, the specs of `getTimezoneByFacilityId`: without `start` the page takes each visit for one to come,
    and nobody in Guam, Pago Pago and Saipan can file."""
    told = {"id": "1", "appointmentDateTime": "2026-11-20T08:00:00Z", "facilityId": station}
    shown = appointment_item(read_appointment(told))["attributes"]
    assert (shown["location"]["attributes"]["timezone"]["time_zone_id"], shown["start"]) == (zone, start)


def test_a_search_need_not_say_how_many_there_are() -> None:
    """vets-api spec/support/vcr_cassettes/travel_pay/200_search_claims_by_appt_date_range.yml@698e1493."""
    answer = {"statusCode": 200, "message": "found", "success": True, "data": [SUMMARY]}
    day = date(2031, 3, 4)
    with serving(whole(200, answer)) as server:
        page = Bench(server).reads.search_claims(TRAVELER, day, day, 1, 50, total_seconds=30)
    assert [claim.id for claim in page.items] == [CLAIM_ID]


def test_pages_that_hold_less_than_they_say_are_read_to_the_end() -> None:
    """vets-api spec/support/vcr_cassettes/travel_pay/206_search_claims_partial_response.yml@e17ad7a4: three claims in
    all, `pageSize` 50, and one claim on each page."""
    day = date(2031, 3, 4)
    pages = [
        {"totalRecordCount": 3, "pageNumber": number, "pageSize": 50, "success": True, "data": [SUMMARY]}
        for number in (1, 2, 3)
    ]
    limit: Any = SimpleNamespace(call=lambda call: call(30.0))
    with serving(*(whole(200, page) for page in pages)) as server:
        client = Bench(server).reads

        def read_page(number: int, seconds: float) -> Any:
            return client.search_claims(TRAVELER, day, day, number, 50, total_seconds=seconds)

        found, is_whole = all_pages(limit, read_page)
    assert ([page.page for page in found], is_whole) == ([1, 2, 3], True)


def test_only_recorded_words_refuse_an_appointment_for_good() -> None:
    """vets-api spec/support/vcr_cassettes/check_in/travel_claim/claims_create_400.yml@7c46eb83: the one recorded
    refusal of a claim that is no duplicate. The same envelope in other words may be about our own settings."""
    for said, kind in (("Invalid appointment ID", Rejected), ("The client number is not known.", Unavailable)):
        refusal = {"statusCode": 400, "message": said, "success": False, "data": None}
        with serving(whole(400, refusal)) as server, pytest.raises(kind):
            bench = Bench(server)
            bench.filing.create_claim(TRAVELER, "a1", "Travel", bench.before_write)


def test_the_cookies_of_a_whole_domain_fit_into_a_request() -> None:
    """va.gov-team issue 89412: people met the limit of 8,192 bytes with the cookies of va.gov; a browser sends all of
    a domain's cookies in one field."""
    assert runpy.run_path("gunicorn.conf.py")["limit_request_field_size"] >= 16_384


def test_a_case_tells_the_reason_that_a_callback_gave(product: Product) -> None:
    """notification-api app/constants.py@742080a7: among the reasons is that the person has died."""
    reference = sent_notification(product).id
    reason = "Undeliverable - Individual is deceased"
    content = body(reference, "permanent-failure") | {"status_reason": reason}
    assert post(product, content).status_code == 200
    assert product.value("SELECT details ->> 'why' FROM cases") == reason


def test_btsss_gets_the_time_that_tells_two_appointments_of_a_day_apart(product: Product) -> None:
    """va.gov-team issues 61043 and 63318, vets-website pull request 25295: BTSSS needs it to process the claim; without
    it a day with two appointments is refused (`CLM_001_MULTIPLE_APPTS`), and that is final."""
    product.ask(product.sign_in(ADA), ADA, f"{APPOINTMENT_DATE}T09:30:00")
    product.work()
    sent = product.submits()[0]["body"]["Appointment"]["AppointmentDateTime"]
    assert sent.startswith(f"{APPOINTMENT_DATE}T09:30")


def test_a_claim_of_the_same_facility_is_found_under_its_longer_number() -> None:
    """va.gov-team issue 65628: BTSSS knows a facility by its Sta6a, such as 500GC; check-in's `stationNo` is the number
    500 (vets-api spec/support/vcr_cassettes/check_in/lorota/data/data_200.yml@37cd1fbb). After a lost reply our own
    claim is then never found, and the person hears after a day that nobody knows."""
    now = clock.now()
    filed = {
        "claimNum": "TC202503000000042",
        "claimStatus": "ClaimSubmitted",
        "claimLastModDateTime": now.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "facilityStationNum": "500GC",
    }
    with serving(whole(200, [filed])) as server:
        config = settings(btsss_base_url=server.url)
        client: Any = SimpleNamespace(btsss=BTSSSClient(config, HTTP(10), Tokens()))
        work = ClaimWork(uuid.uuid4(), "pending", Identity("1012345678V123456", None, "500", "vista"), now.date())
        earlier = EarlierWrites(first_write_at=now, why="unanswered", ever_unknown=True, confirmable=True)
        finding = look_up_claim(Call(cast(Upstreams, client), config, lambda: None), work, earlier)
    assert isinstance(finding, Found)


def test_two_facilities_on_one_day_are_two_claims(product: Product) -> None:
    """va.gov-team issues 60843 and 91489: one claim a day and facility. Today both requests answer with one claim, at
    the first station, and the other facility's is never filed."""
    afternoon = Appointment(ien="461", station="442", start="13:00")
    traveller = replace(ADA, appointments=(ADA.appointments[0], afternoon))
    product.fakes.fakes.cast.add(traveller)
    client = product.sign_in(traveller)
    answers = [product.ask(client, traveller, f"{APPOINTMENT_DATE}T{time}:00") for time in ("09:30", "13:00")]
    assert len({answer.get_json()["data"]["id"] for answer in answers}) == 2


@pytest.mark.parametrize("typed", ["O\N{RIGHT SINGLE QUOTATION MARK}Brien", "O\N{MODIFIER LETTER APOSTROPHE}Brien"])
def test_a_name_with_a_phones_apostrophe_is_the_persons(product: Product, typed: Any) -> None:
    """va.gov-team issue 63321: people with an apostrophe could not check in. Phones type a curly one; VistA has the
    plain one. Three mismatches lock the person out for days."""
    person = replace(ADA, last_name="O'Brien")
    product.fakes.fakes.cast.add(person)
    session = {"uuid": person.uuid, "dob": person.dob, "last_name": typed}
    answer = product.app.test_client().post("/check_in/v2/sessions", json={"session": session})
    assert answer.status_code == 200
