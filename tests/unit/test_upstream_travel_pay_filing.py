"""The filing at Travel Pay: which answers mean done, refused, done before, or open (contract: travel 5.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flaskapp.upstreams.errors import (
    Duplicate,
    Rejected,
    Throttled,
    Unanswered,
    Unauthorized,
    Unavailable,
    Unexplained,
    UpstreamError,
)
from flaskapp.upstreams.travel_pay.values import UpstreamAppointment
from tests.unit.loopback import Body, Reply, raw, reset, serving, silence, whole
from tests.unit.travel_pay import (
    ADA,
    APPOINTMENT,
    BY_BTSSS,
    BY_GATEWAY,
    CLAIM_ID,
    NO_ENDPOINT,
    NO_ROUTE,
    NOT_FOUND,
    Bench,
    envelope,
)
from tests.unit.upstream_settings import settings

SUBMITTED = {"claimId": CLAIM_ID.upper(), "status": "ClaimSubmitted"}


@pytest.fixture
def bench() -> Iterator[Bench]:
    with serving(whole(200, envelope(None))) as server:
        yield Bench(server)


def find(bench: Bench, *details: Any) -> UpstreamAppointment:
    return bench.filing.find_or_add_appointment(ADA, "2031-03-04T09:30:00", "983", *details)


def create(bench: Bench) -> str:
    return bench.filing.create_claim(ADA, "a1", "Travel for March 4", bench.before_write)


def add(bench: Bench) -> str:
    return bench.filing.add_mileage(ADA, CLAIM_ID, "2031-03-04", bench.before_write)


def submit(bench: Bench) -> str:
    return bench.filing.submit_begun_claim(ADA, CLAIM_ID, bench.before_write)


def refusal(status: int, message: str) -> Reply:
    return whole(status, envelope(None, status, message))


def test_an_appointment_is_found_by_its_wall_clock_and_station(bench: Bench) -> None:
    found = find(bench.answering(whole(200, envelope([APPOINTMENT, {"id": "a2"}]))))
    assert (found.id, found.associated_claim_id) == ("a1", None)
    (sent,) = bench.server.received
    assert sent.line == "POST /api/v3/appointments/find-or-add HTTP/1.1"
    assert sent.json() == {"appointmentDateTime": "2031-03-04T09:30:00Z", "facilityStationNumber": "983"}


def at(when: str | None, **fields: Any) -> dict[str, Any]:
    return {"id": "a9", "appointmentDateTime": when, **fields}


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ([at("2031-01-01T09:30:00Z"), APPOINTMENT], "a1"),
        ([at("2031-03-04T14:30:00.000Z"), at(None), at("soon"), "a8", {"id": "a7"}, APPOINTMENT], "a1"),
        ([at("2031-03-04T09:30:00.000Z")], "a9"),
        ([at("2031-03-04T09:30:00")], "a9"),
        ([at("2031-03-04T09:30:00-05:00")], "a9"),
        ([APPOINTMENT, at("2031-03-04T09:30:00Z", associatedClaimId="c1")], "a9"),
        ([APPOINTMENT, at("2031-01-01T09:30:00Z", associatedClaimId="c1")], "a1"),
        (APPOINTMENT, "a1"),
        ({"appointmentId": "a6", "appointmentDateTime": "2031-03-04T09:30:00Z"}, "a6"),
    ],
)
def test_of_several_appointments_the_one_at_the_requested_wall_clock_counts(
    bench: Bench, data: Any, found: str
) -> None:
    assert find(bench.answering(whole(200, envelope(data)))).id == found


@pytest.mark.parametrize(
    "data",
    [
        [],
        [at("2031-01-01T09:30:00Z")],
        [at("2031-03-04T14:30:00Z"), at("2031-03-04")],
        at("2031-01-01T09:30:00Z"),
        {"appointmentId": "a6"},
    ],
)
def test_an_answer_about_other_appointments_only_is_unclear(bench: Bench, data: Any) -> None:
    with pytest.raises(Unavailable) as caught:
        find(bench.answering(whole(200, envelope(data))))
    assert caught.value.detail == "no appointment at the requested time and place"


def test_known_details_of_an_appointment_are_sent_and_a_name_is_never_empty(bench: Bench) -> None:
    bench.answering(whole(200, envelope([APPOINTMENT])))
    find(bench, "Other", "Eye clinic", False)
    find(bench, None, "", None)
    with_details, without = (received.json() for received in bench.server.received)
    assert (with_details["appointmentType"], with_details["appointmentName"], with_details["isComplete"]) == (
        "Other",
        "Eye clinic",
        False,
    )
    assert set(without) == {"appointmentDateTime", "facilityStationNumber"}


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (whole(200, envelope([])), Unavailable),
        (whole(200, envelope(None)), Unavailable),
        (whole(200, envelope("a1")), Unavailable),
        (whole(200, envelope([{**APPOINTMENT, "id": ""}])), Unavailable),
        (refusal(400, "Invalid appointment date format"), Rejected),
        (refusal(400, "The client number is not known."), Unavailable),
        (refusal(409, "Already exists."), Unavailable),
        (whole(500, ""), Unavailable),
        (reset, Unavailable),
    ],
)
def test_finding_an_appointment_is_never_unanswered(bench: Bench, reply: Reply, kind: type[UpstreamError]) -> None:
    with pytest.raises(kind) as caught:
        find(bench.answering(reply))
    assert type(caught.value) is kind


def test_a_claim_is_created_as_the_contract_says(bench: Bench) -> None:
    assert create(bench.answering(whole(200, envelope({"claimId": CLAIM_ID})))) == CLAIM_ID
    (sent,) = bench.server.received
    assert sent.line == "POST /api/v3/claims HTTP/1.1" and bench.writes == 1
    assert sent.json() == {"appointmentId": "a1", "claimName": "Travel for March 4", "claimantType": "Veteran"}


def test_mileage_is_added_as_the_contract_says(bench: Bench) -> None:
    assert add(bench.answering(whole(201, envelope({"expenseId": "e1"}, 201)))) == "e1"
    (sent,) = bench.server.received
    assert sent.line == "POST /api/v3/expenses/mileage HTTP/1.1" and bench.writes == 1
    assert sent.json() == {
        "claimId": CLAIM_ID,
        "dateIncurred": "2031-03-04",
        "description": "mileage",
        "tripType": "RoundTrip",
    }


def test_a_claim_is_submitted_without_a_body(bench: Bench) -> None:
    assert submit(bench.answering(whole(200, envelope(SUBMITTED)))) == "ClaimSubmitted"
    (sent,) = bench.server.received
    assert sent.line == f"PATCH /api/v3/claims/{CLAIM_ID}/submit HTTP/1.1"
    assert sent.body == b"" and bench.writes == 1


WRITES = [create, add, submit]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        (whole(200, envelope(None)), Unanswered, None),
        (whole(200, envelope({})), Unanswered, None),
        (whole(200, envelope({"claimId": " ", "expenseId": 7, "status": "Saved"})), Unanswered, None),
        (whole(200, {**envelope({"claimId": CLAIM_ID, "expenseId": "e1"}), "success": False}), Unanswered, None),
        (whole(200, "<html>"), Unanswered, None),
        (whole(302, envelope(SUBMITTED)), Unanswered, None),
        (refusal(408, "Timeout."), Unanswered, "408"),
        (whole(500, {"errors": [{"error": {"code": "X", "message": "broken"}}]}), Unanswered, None),
        (whole(503, ""), Unanswered, None),
        (reset, Unanswered, None),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), Unanswered, None),
        (refusal(400, "Invalid appointment date format"), Unexplained, "400"),
        (refusal(422, "Invalid appointment ID"), Unavailable, "422"),
        (refusal(400, "The client number is not known."), Unexplained, "400"),
        (whole(400, {"message": "Bad request"}), Unavailable, "400"),
        (refusal(403, "Not yours."), Unavailable, "403"),
        (whole(404, NO_ENDPOINT), Unavailable, "not_found"),
        (whole(400, NO_ENDPOINT), Unexplained, "not_found"),
        (refusal(404, "Not found."), Unavailable, "404"),
        (refusal(415, "Unsupported media type."), Unavailable, "415"),
        (whole(400, {"errors": [{"error": {"code": "TP_1", "message": "m"}}]}), Unexplained, "TP_1"),
        (refusal(413, "Too large."), Unavailable, "413"),
        (whole(413, "<html>"), Unavailable, "413"),
        (refusal(409, "Conflict."), Unanswered, "409"),
        (whole(404, NO_ROUTE), Unavailable, "404"),
        (whole(403, {"statusCode": 403, "message": "Out of call volume quota."}), Unavailable, "403"),
        (whole(400, "<html>"), Unavailable, "400"),
        (whole(429, "", Ratelimit_Reset="7"), Throttled, None),
    ],
)
def test_only_a_clear_refusal_is_a_refusal(
    bench: Bench, write: Callable[[Bench], str], reply: Reply, kind: type[UpstreamError], code: str | None
) -> None:
    with pytest.raises(kind) as caught:
        write(bench.answering(reply))
    assert type(caught.value) is kind and caught.value.upstream == "travel_pay"
    assert code in (None, caught.value.code) and len(bench.server.received) == 1


@pytest.mark.parametrize(
    "body",
    [NOT_FOUND, envelope(None, 404, "Claim not found"), {"error": {"code": "CLAIM_NOT_FOUND", "message": "No."}}],
)
def test_only_a_call_about_one_claim_can_hear_that_it_is_not_there(bench: Bench, body: Body) -> None:
    with pytest.raises(Rejected):
        submit(bench.answering(whole(404, body)))
    for write in (create, add):
        with pytest.raises(Unavailable):
            write(bench.answering(whole(404, body)))


@pytest.mark.parametrize(
    ("write", "message", "kind"),
    [
        (create, "A claim has Already Been Created for this appointment.", Duplicate),
        (create, "The claim already exists.", Duplicate),
        (create, "Duplicate header of a client.", Unexplained),
        (create, "Invalid appointment ID", Rejected),
        (find, "Invalid appointment date format", Rejected),
        (find, "The appointment has already been created.", Duplicate),
        (find, "Invalid appointment ID", Unavailable),
        (create, "The claim has already been submitted.", Duplicate),
        (submit, "The claim has already been submitted.", Duplicate),
        (submit, "The claim has already been created.", Unexplained),
        (submit, "Invalid appointment ID", Unexplained),
        (add, "The claim has already been submitted.", Duplicate),
        (add, "Invalid appointment ID", Unexplained),
        (add, "The expense already exists.", Duplicate),
    ],
)
def test_what_was_done_before_is_a_duplicate_of_that_step_only(
    bench: Bench, write: Callable[[Bench], str], message: str, kind: type[UpstreamError]
) -> None:
    with pytest.raises(kind) as caught:
        write(bench.answering(refusal(400, message)))
    assert type(caught.value) is kind


def test_the_answer_of_another_claims_submit_confirms_nothing(bench: Bench) -> None:
    with pytest.raises(Unanswered):
        submit(bench.answering(whole(200, envelope({"claimId": "c2", "status": "ClaimSubmitted"}))))


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("body", [BY_GATEWAY, BY_BTSSS, ""])
def test_a_write_with_a_refused_token_is_made_once_more_and_announced_again(
    bench: Bench, write: Callable[[Bench], str], body: Body
) -> None:
    yes = whole(200, envelope({**SUBMITTED, "expenseId": "e1"}))
    assert write(bench.answering(whole(401, body), yes))
    assert bench.writes == 2
    with pytest.raises(Unauthorized):
        write(bench.answering(whole(401, body)))
    assert bench.writes == 4


def test_an_error_of_before_write_stops_it_before_anything_is_sent(bench: Bench) -> None:
    def lost_the_grant() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        bench.filing.create_claim(ADA, "a1", "Travel", lost_the_grant)
    assert bench.server.received == []


def test_a_refusal_names_nobody(bench: Bench) -> None:
    with pytest.raises(Rejected) as caught:
        create(bench.answering(refusal(400, f"Invalid appointment ID: {ADA.email} ({ADA.icn}) has no TC0928098230498")))
    assert caught.value.detail == "Invalid appointment ID: [e-mail] ([icn]) has no [claim number]"


def test_a_refusal_does_not_repeat_what_somebody_wrote_about_the_appointment(bench: Bench) -> None:
    with pytest.raises(Rejected) as caught:
        find(
            bench.answering(refusal(400, "Invalid appointment date: Appointment with Ada Marlow.")),
            None,
            "Appointment with Ada Marlow",
        )
    assert caught.value.detail == "Invalid appointment date: [withheld]."
    with pytest.raises(Rejected) as caught:
        find(bench.answering(refusal(400, "Invalid appointment date, message.")), None, "message")
    assert caught.value.detail == "Invalid appointment date, message."


def test_the_limit_of_jobs_holds() -> None:
    with serving(silence) as server:
        bench = Bench(server)
        filing = type(bench.filing)(
            settings(travel_pay_base_url=server.url, travel_pay_total_seconds=1.0), bench.filing._http, bench.auth
        )
        with pytest.raises(Unanswered) as caught:
            filing.submit_begun_claim(ADA, CLAIM_ID, bench.before_write)
    assert caught.value.timed_out
