"""The fake Lighthouse: read, create, validate (contract: benefits 2.1), and its refusals (contract: benefits 2.2)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from sandbox.faults import Control, Refused
from sandbox.upstreams.itfs import year_after
from sandbox.upstreams.scenarios import with_habit, with_itf
from sandbox.upstreams.serve import Upstreams
from tests.contract.lighthouse_wire import Caller, attributes, error, when

ADA, BEN = with_habit("ok"), with_habit("refused")
ICN = ADA.icn


@pytest.fixture
def caller(http: requests.Session, upstreams: Upstreams) -> Caller:
    return Caller(http, upstreams)


def held(control: Control, **query: str) -> list[dict[str, Any]]:
    return list(control.call("GET", "lighthouse", "itfs", params=query))


def plant(control: Control, **fields: Any) -> dict[str, Any]:
    return dict(control.call("POST", "lighthouse", "itfs", json={"icn": ICN, **fields}))


def test_a_first_create_is_active_from_now_and_for_about_a_year(caller: Caller) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    created = attributes(caller.create(ICN))
    began, ends = when(created["creationDate"]), when(created["expirationDate"])
    assert before <= began <= datetime.now(UTC)
    assert timedelta(0) <= year_after(began) - ends <= timedelta(hours=2)
    assert (created["type"], created["status"]) == ("compensation", "active")


def test_a_read_gives_what_was_created(caller: Caller) -> None:
    created = caller.create(ICN).json()
    assert caller.read(ICN).json() == created


def test_dates_come_with_or_without_milliseconds_but_always_the_same_way(caller: Caller, control: Control) -> None:
    whole = {"created_at": "2031-02-03T04:05:06-06:00", "expires_at": "2099-02-03T04:05:06-06:00"}
    control.call("POST", "lighthouse", "itfs", json=[{"icn": who.icn, **whole} for who in (ADA, BEN)])
    dates = [attributes(caller.read(who.icn))["creationDate"] for who in (ADA, BEN, ADA, BEN)]
    assert set(dates[:2]) == {"2031-02-03T04:05:06-06:00", "2031-02-03T04:05:06.000-06:00"}
    assert dates[2:] == dates[:2]


@pytest.mark.parametrize("written", ["compensation", "Compensation", "PENSION", "survivor"])
def test_a_type_may_be_written_in_any_case(caller: Caller, written: str) -> None:
    created = caller.create(ICN, type=written, claimantSsn="123-45-6789")
    assert attributes(created)["type"] == written.lower()
    assert caller.read(ICN, written.upper()).json() == created.json()


def test_types_and_people_are_independent(caller: Caller) -> None:
    caller.create(ICN)
    for icn, kind in ((ICN, "pension"), (BEN.icn, "compensation")):
        assert caller.read(icn, kind).status_code == 404
        assert attributes(caller.create(icn, type=kind))["status"] == "active"


def test_no_date_is_taken_from_a_request(caller: Caller) -> None:
    dates = dict.fromkeys(("creationDate", "receivedDate", "effectiveDate", "received_date"), "2001-01-01T00:00:00Z")
    created = attributes(caller.create(ICN, **dates))
    assert when(created["creationDate"]).year > 2001


def test_its_own_clock_dates_and_expires(caller: Caller, control: Control) -> None:
    control.turn("lighthouse", clock_offset_seconds=3 * 86_400)
    created = attributes(caller.create(ICN))
    assert timedelta(days=2) < when(created["creationDate"]) - datetime.now(UTC) < timedelta(days=4)
    control.turn("lighthouse", clock_offset_seconds=400 * 86_400)
    assert caller.read(ICN).status_code == 404


# -- duplicates ---------------------------------------------------------------


def test_a_second_create_is_a_record_of_its_own_called_duplicate(caller: Caller, control: Control) -> None:
    plant(control, age_days=30)
    first, second = caller.read(ICN).json()["data"], caller.create(ICN)
    duplicate = attributes(second)
    assert (duplicate["status"], second.json()["data"]["id"] != first["id"]) == ("duplicate", True)
    assert when(duplicate["creationDate"]) - when(first["attributes"]["creationDate"]) > timedelta(days=29)
    assert caller.read(ICN).json()["data"] == first
    assert [itf["status"] for itf in held(control)[:2]] == ["active", "duplicate"]


def test_a_duplicate_can_be_answered_as_the_record_on_file(caller: Caller, control: Control) -> None:
    control.turn("lighthouse", duplicate_as="existing")
    first, second = caller.create(ICN).json()["data"], caller.create(ICN).json()["data"]
    assert second == first | {"attributes": first["attributes"] | {"status": "duplicate"}}
    assert caller.read(ICN).json()["data"] == first
    assert len(held(control, icn=ICN)) == 1


def test_of_simultaneous_creates_one_is_active(caller: Caller) -> None:
    with ThreadPoolExecutor(8) as hands:
        statuses = [attributes(answer)["status"] for answer in hands.map(caller.create, [ICN] * 16)]
    assert sorted(statuses) == ["active"] + ["duplicate"] * 15


@pytest.mark.parametrize("word", ["incomplete", "claim_recieved", "expired", "something_new"])
def test_a_create_can_answer_any_word(caller: Caller, control: Control, word: str) -> None:
    control.turn("lighthouse", create_status=word)
    assert attributes(caller.create(ICN))["status"] == word
    assert caller.read(ICN).status_code == 404


# -- what looks the same to a read ---------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "expired"},
        {"status": "used"},
        {"status": "duplicate"},
        {"status": "incomplete"},
        {"status": "active", "age_days": 400},
        {"status": "active", "expires_at": "2001-01-01T00:00:00-06:00"},
    ],
)
def test_an_itf_that_is_over_used_or_not_active_reads_like_none(
    caller: Caller, control: Control, fields: dict[str, Any]
) -> None:
    nothing = caller.read(ICN)
    assert error(nothing) == (404, "Resource not found", "No active 'C' intent to file found.")
    plant(control, **fields)
    assert (caller.read(ICN).status_code, caller.read(ICN).content) == (404, nothing.content)
    assert attributes(caller.create(ICN))["status"] == "active"


def test_the_first_active_one_is_read(caller: Caller, control: Control) -> None:
    plant(control, status="used")
    second, _ = plant(control, age_days=20), plant(control, age_days=50)
    assert caller.read(ICN).json()["data"]["id"] == second["id"]


@pytest.mark.parametrize(
    ("habit", "read", "on_file"),
    [("active", 200, ["active"]), ("expired", 404, ["expired"]), ("used", 404, ["claim_recieved"])],
)
def test_people_with_earlier_itfs_have_them_on_file(
    caller: Caller, control: Control, habit: str, read: int, on_file: list[str]
) -> None:
    person = with_itf(habit)
    assert [itf["status"] for itf in held(control, icn=person.icn)] == on_file
    assert caller.read(person.icn).status_code == read
    assert [itf["status"] for itf in held(control, icn=person.icn)] == on_file
    word = "duplicate" if read == 200 else "active"
    assert attributes(caller.create(person.icn))["status"] == word


def test_an_itf_filed_elsewhere_is_a_hundred_days_old(caller: Caller) -> None:
    began = when(attributes(caller.read(with_itf("active").icn))["creationDate"])
    assert timedelta(days=99) < datetime.now(UTC) - began < timedelta(days=101)


# -- refusals ------------------------------------------------------------------


@pytest.mark.parametrize("icn", [with_itf("unknown").icn, "9999999999V999999"])
@pytest.mark.parametrize("path", ["", "/validate"])
def test_an_unknown_veteran_is_not_found(caller: Caller, icn: str, path: str) -> None:
    body = {"data": {"attributes": {"type": "compensation"}}}
    assert error(caller.post(icn, body, path)) == (404, "Resource not found", "Veteran ID not found")
    assert error(caller.read(icn))[0] == 404


@pytest.mark.parametrize("path", ["", "/validate"])
@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ([], 400, "Request body is not in the correct format."),
        ({}, 400, "Request body is not in the correct format."),
        ({"data": {}}, 400, "Request body is not in the correct format."),
        ({"data": {"attributes": "compensation"}}, 400, "Request body is not in the correct format."),
        ({"data": {"attributes": {}}}, 400, "is not valid for type"),
        ({"data": {"attributes": {"type": "burial"}}}, 400, "burial is not valid for type"),
        ({"data": {"attributes": {"type": "pension", "claimantSsn": "12345"}}}, 422, "Invalid claimantSsn parameter"),
        ({"data": {"attributes": {"type": "survivor"}}}, 422, "cannot be blank"),
        ({"data": {"attributes": {"type": "survivor", "claimantSsn": ADA.ssn}}}, 422, "the same as veteran SSN"),
    ],
)
def test_a_malformed_body_is_refused(
    caller: Caller, control: Control, path: str, body: Any, status: int, words: str
) -> None:
    answered, _, detail = error(caller.post(ICN, body, path))
    assert (answered, words in detail) == (status, True)
    assert held(control, icn=ICN) == []


@pytest.mark.parametrize("ssn", ["", None, "123456789", "123-45-6789"])
def test_an_ssn_is_nine_digits_or_absent(caller: Caller, ssn: str | None) -> None:
    assert caller.create(ICN, claimantSsn=ssn).status_code == 200


def test_an_unknown_type_cannot_be_read(caller: Caller) -> None:
    assert error(caller.read(ICN, "burial")) == (400, "invalid value for type", "burial is not valid for type")


def test_validate_files_nothing(caller: Caller, control: Control) -> None:
    answer = caller.post(ICN, {"data": {"attributes": {"type": "compensation"}}}, "/validate")
    assert answer.status_code == 200
    assert answer.json()["data"] == {"type": "intent_to_file_validation", "attributes": {"status": "valid"}}
    assert held(control, icn=ICN) == []


@pytest.mark.parametrize(
    "knob", [{"duplicate_as": "twin"}, {"error_family": "addams"}, {"minute": 3}], ids=lambda knob: next(iter(knob))
)
def test_a_knob_that_makes_no_sense_is_refused(control: Control, knob: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=next(iter(knob))):
        control.turn("lighthouse", **knob)
