"""Answers about something else than was asked: another day, another station, another notification. None is believed."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from flaskapp.accounts.service import Identity as AccountIdentity
from flaskapp.check_in.service import Identity
from flaskapp.travel_claims.service import ClaimWork
from flaskapp.travel_pay.appointments import claim_of
from flaskapp.travel_pay.service import ClaimWork as TravelPayWork
from flaskapp.travel_pay.service import RequestedAppointment
from flaskapp.travel_pay.shapes import listed
from flaskapp.upstreams.btsss import BTSSSClient
from flaskapp.upstreams.errors import Unanswered, Unavailable
from flaskapp.upstreams.transport.http import Answer
from flaskapp.upstreams.travel_pay.filing import appointment_at
from flaskapp.upstreams.travel_pay.values import read_appointment, read_claim, read_summary
from flaskapp.upstreams.va_notify import Sent, VANotifyClient
from jobs.engine.spec import Call, EarlierWrites, Found, NotFound, Unclear
from jobs.travel_claims import look_up_claim
from jobs.travel_pay import look_for_claim
from tests.unit.test_upstream_strangers import CONFIG, ICN, SMS, Scripted
from tests.unit.upstream_settings import Tokens

DAY = date(2031, 3, 4)
ID = "7d0f2c1e-5a34-4d0b-9b57-1c2f3a4b5c6d"
OTHER_ID = "99999999-5a34-4d0b-9b57-1c2f3a4b5c6d"


def says(status: int, body: Any) -> Scripted:
    return Scripted(Answer(status, {"Content-Type": "application/json"}, json.dumps(body).encode()))


def look_up(*listed: tuple[str, str]) -> Any:
    """The finding, after a lost submit for DAY at station 983, for a list of these appointment times and stations."""
    claims = [
        {
            "claimNum": f"TC{number}",
            "claimStatus": "ClaimSubmitted",
            "aptDateTime": at,
            "claimLastModDateTime": "2031-03-04T18:00:00.000Z",
            "facilityStationNum": station,
        }
        for number, (at, station) in enumerate(listed)
    ]
    upstreams: Any = SimpleNamespace(btsss=BTSSSClient(CONFIG, says(200, claims), Tokens()))
    person = Identity(ICN, None, listed[0][1], "vista")
    work = ClaimWork(uuid.uuid4(), "pending", person, DAY)
    first = datetime(2031, 3, 4, 17, 59, tzinfo=UTC)
    earlier = EarlierWrites(first_write_at=first, why="unanswered", ever_unknown=True, confirmable=True)
    return look_up_claim(Call(upstreams, CONFIG, lambda: None), work, earlier)


def test_a_claim_of_another_day_is_not_the_requested_one() -> None:
    """BTSSS's `Z` may be UTC or nothing: at 983 (Denver) the evening of the 4th is the 5th in UTC."""
    assert isinstance(look_up(("2031-03-04T09:30:00.000Z", "983")), Found)
    assert isinstance(look_up(("2031-03-05T02:00:00.000Z", "983")), Found)
    assert look_up(("2031-03-05T16:30:00.000Z", "983")) == NotFound()
    # Nobody knows the zone of 999.
    assert isinstance(look_up(("2031-03-05T02:00:00.000Z", "999")), Unclear)
    both = look_up(("2031-03-03T16:30:00.000Z", "983"), ("2031-03-04T16:30:00.000Z", "983"))
    assert both.answer.filed.claim_number == "TC1"
    with pytest.raises(Unavailable, match="btsss"):
        look_up(("2031-03-04T09:30:00.000Z", "983"), ("2024-01-05T09:00:00.000Z", "983"))


def test_a_claim_that_btsss_lists_twice_is_one() -> None:
    claim = {"claimNum": "TC1", "claimStatus": "Saved", "claimLastModDateTime": "2031-03-04T18:00:00.000Z"}
    claim |= {"facilityStationNum": "983"}
    twice = BTSSSClient(CONFIG, says(200, [claim, claim]), Tokens()).claims_on(ICN, DAY, "vista")
    assert [each.claim_number for each in twice] == ["TC1"]
    differing = BTSSSClient(CONFIG, says(200, [claim, claim | {"claimStatus": "Denied"}]), Tokens())
    assert len(differing.claims_on(ICN, DAY, "vista")) == 2


def test_a_list_whose_pages_lead_nowhere_is_not_read_for_ever() -> None:
    """VANotify's list, asked for what is older, answers with the same page again."""
    entry = {"reference": None, "template": {"id": "t"}, "created_at": "2031-03-04T09:30:00.000000Z"}
    page = {"notifications": [entry | {"id": ID}, entry | {"id": ID}], "links": {"next": "there"}}
    found = VANotifyClient(CONFIG, says(200, page)).list_since(datetime(2031, 3, 4, tzinfo=UTC))
    assert next(found).id == ID
    with pytest.raises(Unavailable):
        next(found)


@pytest.mark.parametrize("links", [{"next": "there"}, ["there"], None])
def test_an_empty_page_that_leads_on_ends_no_list(links: Any) -> None:
    found = VANotifyClient(CONFIG, says(200, {"notifications": [], "links": links})).list_since(
        datetime(2031, 3, 4, tzinfo=UTC)
    )
    with pytest.raises(Unavailable):
        list(found)


def begun(**told: Any) -> Any:
    """The finding, after a lost create for an appointment that names a claim which tells this of itself."""
    requested = RequestedAppointment(datetime(2031, 3, 4, 9, 30), "983")
    person = AccountIdentity(ICN, email="ada@example.test")
    work = TravelPayWork(uuid.uuid4(), uuid.uuid4(), "pending", "claim", person, requested, "a1", None)
    appointment = read_appointment({"id": "a1", "associatedClaimId": ID})
    detail = read_claim({"claimId": ID, "claimStatus": "Saved", "createdOn": "2031-03-05T09:00:00Z", **told})
    filing = SimpleNamespace(find_or_add_appointment=lambda *given: appointment)
    reads = SimpleNamespace(claim=lambda *given, **limits: detail)
    first = datetime(2031, 3, 5, 8, 59, tzinfo=UTC)
    earlier = EarlierWrites(first_write_at=first, why="unanswered", ever_unknown=True, confirmable=True)
    upstreams: Any = SimpleNamespace(travel_pay_filing=filing, travel_pay=reads)
    return look_for_claim(Call(upstreams, CONFIG, lambda: None), work, earlier)


def test_a_claim_that_is_told_of_another_appointment_is_not_ours() -> None:
    for told in ({}, {"appointmentDate": "2031-03-04T09:30:00Z"}, {"appointmentDate": "2031-03-05T02:30:00Z"}):
        assert begun(**told).answer.ours, told
    assert begun(appointment={"id": "A1"}).answer.ours
    for told in ({"appointmentDate": "2024-01-05"}, {"appointment": {"id": "a2"}}):
        assert begun(**told) == Unclear("the claim is another appointment's")


@pytest.mark.parametrize(
    ("at", "shown"),
    [("2031-03-04T09:30:00Z", True), ("2031-03-04", True), (None, True), ("2031-03-04T14:00:00Z", False)],
)
def test_a_listed_claim_for_another_time_is_not_shown_as_the_appointments(at: str | None, shown: bool) -> None:
    """Nor with its status: the appointment names the claim, and whether that is this one is not known."""
    told = {"id": "a1", "appointmentDateTime": "2031-03-04T09:30:00Z", "associatedClaimId": ID}
    claim = listed(read_summary({"id": ID, "claimStatus": "Denied", "appointmentDateTime": at}))
    found = claim_of(read_appointment(told), {ID: claim}, [])
    assert (found["metadata"]["success"], "claim_status" in found["claim"]) == (shown, shown)


def test_a_notification_with_another_id_or_reference_is_not_ours() -> None:
    delivered = {"id": ID, "reference": "ours", "status": "delivered", "completed_at": None}
    found = VANotifyClient(CONFIG, says(200, delivered)).get(ID.upper(), "ours")
    assert found is not None and found.status == "delivered"
    for wrong in ({"id": OTHER_ID}, {"reference": "somebody-else"}, {"reference": None}):
        with pytest.raises(Unavailable):
            VANotifyClient(CONFIG, says(200, delivered | wrong)).get(ID, "ours")


def test_a_receipt_for_another_notification_leaves_ours_to_be_looked_up() -> None:
    for receipt in ({"id": ID, "reference": SMS["reference"]}, {"id": ID}):
        assert VANotifyClient(CONFIG, says(201, receipt)).send_sms(sender_id="s", icn=ICN, **SMS) == Sent(ID)
    with pytest.raises(Unanswered):
        other = says(201, {"id": ID, "reference": "somebody-else"})
        VANotifyClient(CONFIG, other).send_sms(sender_id="s", icn=ICN, **SMS)


def test_an_appointment_at_another_station_is_not_the_requested_one() -> None:
    """A key that is no station number cannot be compared; some name the facility (500) where others name the place."""

    def at(number: str, **facility: str) -> dict[str, str]:
        return {"id": number, "appointmentDateTime": "2031-03-04T09:30:00Z", **facility}

    def chosen(station: str, *answered: dict[str, str]) -> str | None:
        found = appointment_at(list(answered), "2031-03-04T09:30:00", station)
        return found.id if found is not None else None

    other = at("other", facilityId="442", associatedClaimId="somebody's")
    assert chosen("983", other) is None
    assert chosen("983", other, at("ours", facilityId="983")) == "ours"
    assert chosen("983", at("ours", facilityStationNumber="442")) is None
    assert chosen("500", at("ours", facilityId="500GC")) == "ours"
    assert chosen("500GD", at("ours", facilityId="500GC")) is None
    assert chosen("983", at("ours", facilityId="46ac2b1a-20d4-eb11-8235-001dd80493e7")) == "ours"
    assert chosen("983", at("ours")) == "ours"
