"""Answers and pages of the real world, each with its public source."""

from __future__ import annotations

import runpy
import uuid
from dataclasses import replace
from datetime import date, datetime
from types import SimpleNamespace
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest

from flaskapp import clock
from flaskapp.check_in.service import Identity
from flaskapp.travel_claims.service import ClaimWork
from flaskapp.travel_pay import reads as travel_pay_reads
from flaskapp.travel_pay.places import ZONES
from flaskapp.travel_pay.reads import all_pages
from flaskapp.travel_pay.shapes import appointment_item
from flaskapp.upstreams import Upstreams
from flaskapp.upstreams.btsss import BTSSSClient
from flaskapp.upstreams.errors import Rejected, Unavailable
from flaskapp.upstreams.transport.http import HTTP
from flaskapp.upstreams.travel_pay.values import read_appointment
from flaskapp.web.errors import Problem
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
        ("459GA", "Pacific/Honolulu", "2026-11-20T18:00:00Z"),
        ("506GA", "America/New_York", "2026-11-20T13:00:00Z"),
        ("437GJ", "America/Denver", "2026-11-20T15:00:00Z"),
        ("999GA", None, None),
        ("672GA", "America/St_Thomas", "2026-11-20T12:00:00Z"),
        ("983GC", "America/Denver", "2026-11-20T15:00:00Z"),
    ],
)
def test_a_clinic_has_its_hospitals_clock_or_one_of_its_own(station: str, zone: Any, start: Any) -> None:
    """vets-website, `getTimezoneByFacilityId` and its specs: without `start` the page takes each visit for one to come,
    and nobody in Guam, Pago Pago, Saipan and on Maui can file."""
    told = {"id": "1", "appointmentDateTime": "2026-11-20T08:00:00Z", "facilityId": station}
    shown = appointment_item(read_appointment(told))["attributes"]
    assert (shown["location"]["attributes"]["timezone"]["time_zone_id"], shown["start"]) == (zone, start)


def test_every_station_of_the_pages_serves_an_instant_at_which_its_own_clock_shows_the_visit() -> None:
    """vets-website src/applications/vaos/utils/timezones.json@67db8a51: 171 stations, without those of 612, which all
    have the clock of 612."""
    assert len(ZONES) == 171
    for station in (*ZONES, *(f"{number}ZZ" for number in ZONES if len(number) == 3), "612GD"):
        told = {"id": "1", "appointmentDateTime": "2026-07-20T21:30:00Z", "facilityId": station}
        shown = appointment_item(read_appointment(told))["attributes"]
        zone = ZoneInfo(shown["location"]["attributes"]["timezone"]["time_zone_id"])
        there = datetime.fromisoformat(shown["start"]).astimezone(zone)
        assert (shown["location_id"], f"{there:%Y-%m-%dT%H:%M:%S}") == (station, "2026-07-20T21:30:00")
        assert datetime.fromisoformat(shown["local_start_time"]) == there


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
    assert all_found((1, "a"), (2, "b"), (3, "c")) == (["a", "b", "c"], True)


def all_found(*pages: tuple[int, str]) -> tuple[list[str], bool]:
    """The ids found on a day of three claims, and whether they are all; of each page its number and its one claim."""
    day = date(2031, 3, 4)
    answers = [
        {"totalRecordCount": 3, "pageNumber": number, "pageSize": 50, "success": True, "data": [{**SUMMARY, "id": id}]}
        for number, id in pages
    ]

    def ask(call: Any) -> Any:
        try:
            return call(30.0)
        except Unavailable as error:
            raise Problem(502) from error

    limit: Any = SimpleNamespace(call=ask)
    with serving(*(whole(200, answer) for answer in answers)) as server:
        client = Bench(server).reads

        def read_page(number: int, seconds: float) -> Any:
            return client.search_claims(TRAVELER, day, day, number, 50, total_seconds=seconds)

        found, is_whole = all_pages(limit, read_page)
    return [item.id for page in found for item in page.items], is_whole


def test_a_page_that_was_not_requested_is_not_shown_as_the_next() -> None:
    """The same claims twice, "Data retrieved successfully.", and the others nowhere."""
    assert all_found((1, "a"), (1, "b")) == (["a"], False)
    assert all_found((1, "a"), (2, "a")) == (["a"], False)
    assert all_found((1, "a"), (2, "b"), (3, "a")) == (["a", "b"], False)


@pytest.mark.parametrize("page", [None, 1])
def test_a_claim_that_is_listed_twice_is_shown_once_and_another_is_missing(
    monkeypatch: pytest.MonkeyPatch, page: int | None
) -> None:
    """Without days, too, and of one page alone."""
    limit: Any = SimpleNamespace(call=lambda call: call(30.0))
    day = date(2031, 3, 4) if page else None
    monkeypatch.setattr(travel_pay_reads, "traveler", lambda account_id, limit: TRAVELER)
    for data, whole_list in (([SUMMARY, {**SUMMARY, "id": "b"}], True), ([SUMMARY, SUMMARY], False)):
        answer = {"totalRecordCount": 2, "pageNumber": 1, "success": True, "data": data}
        with serving(whole(200, answer)) as server:
            client = SimpleNamespace(travel_pay=Bench(server).reads)
            monkeypatch.setattr(travel_pay_reads, "upstreams", lambda client=client: client)
            found = travel_pay_reads.claims(uuid.uuid4(), day, day, page, 50, limit)
        assert ([item["id"] for item in found.items], found.whole) == (
            [each["id"] for each in data][: 1 + whole_list],
            whole_list,
        )


def test_a_search_that_finds_other_days_did_not_search_for_this_one() -> None:
    day, other = date(2031, 3, 4), {**SUMMARY, "id": "b", "appointmentDateTime": "2024-01-05T09:30:00Z"}
    undated = {**SUMMARY, "id": "c", "appointmentDateTime": None}
    with serving(whole(200, {"totalRecordCount": 3, "success": True, "data": [SUMMARY, other, undated]})) as server:
        page = Bench(server).reads.search_claims(TRAVELER, day, day, 1, 50, total_seconds=30)
    assert ([claim.id for claim in page.items], page.unreadable) == ([CLAIM_ID, "c"], 1)


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
