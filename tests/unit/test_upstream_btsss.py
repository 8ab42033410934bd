"""The BTSSS client: which answers mean filed, which refused, and which leave it open (contract: travel 4.1)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest

from flaskapp.upstreams.btsss import (
    CLAIM_APPROVED,
    CLAIM_NOT_APPROVED,
    BTSSSClient,
    FiledClaim,
    SubmittedClaim,
    subscription_headers,
)
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
from flaskapp.upstreams.transport.http import HTTP
from tests.unit.loopback import Body, Loopback, Reply, raw, reset, serving, whole
from tests.unit.upstream_settings import Tokens, settings

ICN = "1012345678V123456"
DAY = date(2025, 3, 7)
YES = whole(200, {"claimNumber": "TC202503000000042"})
DATED = "[3/7/2025 2:00:00 PM]: "
OWN = {"currentDate": "[3/7/2025 2:00:00 PM]"}


class Bench:
    """A client, the server that it calls, and the count of its writes."""

    def __init__(self, server: Loopback) -> None:
        self.server = server
        self.tokens = Tokens()
        self.writes = 0
        config = settings(btsss_base_url=f"{server.url}/EC/ClaimIngestSvc", btsss_total_seconds=30)
        self.client = BTSSSClient(config, HTTP(10), self.tokens)

    def before_write(self) -> None:
        assert len(self.server.received) == self.writes
        self.writes += 1

    def submit(self, *replies: Reply, facility: str = "vista") -> SubmittedClaim:
        self.server.replies[:] = replies
        return self.client.submit_claim(ICN, DAY, facility, self.before_write)

    def look_up(self, *replies: Reply) -> list[FiledClaim]:
        self.server.replies[:] = replies
        return self.client.claims_on(ICN, DAY, "vista")


@pytest.fixture
def bench() -> Iterator[Bench]:
    with serving(YES) as server:
        yield Bench(server)


@pytest.mark.parametrize(("facility", "number"), [("vista", "0042"), ("oh", "0043"), ("OH", "0043"), ("", "0042")])
def test_a_claim_is_sent_as_the_contract_says(bench: Bench, facility: str, number: str) -> None:
    assert bench.submit(YES, facility=facility) == SubmittedClaim("TC202503000000042")
    (sent,) = bench.server.received
    assert sent.line == "POST /EC/ClaimIngestSvc/api/ClaimIngest/submitclaim HTTP/1.1"
    assert sent.headers["authorization"] == "Bearer token-1"
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["ocp-apim-subscription-key"] == "key-1"
    assert sent.json() == {
        "ClientNumber": number,
        "ClaimantID": ICN,
        "ClaimantIDType": "icn",
        "MileageExpense": {"TripType": "RoundTrip"},
        "Appointment": {"AppointmentDateTime": "2025-03-07"},
    }


def test_two_subscription_keys_are_sent_as_e_and_s() -> None:
    assert subscription_headers(("e", "s")) == {
        "Ocp-Apim-Subscription-Key-E": "e",
        "Ocp-Apim-Subscription-Key-S": "s",
    }


def test_a_claim_number_counts_whatever_the_content_type(bench: Bench) -> None:
    reply = whole(200, '{"claimNumber": " TC1 "}', Content_Type="text/html")
    assert bench.submit(reply) == SubmittedClaim("TC1")


WRAPPED = {"formatters": [], "contentTypes": [], "declaredType": None, "statusCode": 200}


@pytest.mark.parametrize(
    ("body", "number"),
    [
        ({"value": {"claimNumber": "TC2"}, **WRAPPED}, "TC2"),
        ({"claimNumber": "TC1", "value": {"claimNumber": "TC2"}}, "TC1"),
        ({"claimNumber": " ", "value": {"claimNumber": " TC2 "}}, "TC2"),
        ({"claimNumber": ""}, None),
        ({"claimNumber": None}, None),
        ({"claimNumber": 42}, None),
        ({}, None),
        ({"value": None, **WRAPPED}, None),
        ({"value": "TC2", **WRAPPED}, None),
        ({"value": {"claimNumber": None}, **WRAPPED}, None),
    ],
)
def test_a_200_of_btsss_is_a_filed_claim_wherever_its_number_is_or_without_one(
    bench: Bench, body: Body, number: str | None
) -> None:
    assert bench.submit(whole(200, body)) == SubmittedClaim(number)
    assert bench.writes == 1


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, {"message": DATED + "Multiple Appointments found"}, Rejected, "CLM_001_MULTIPLE_APPTS"),
        (400, {"message": DATED + "This appointment already has a claim."}, Duplicate, "CLM_002_CLAIM_EXISTS"),
        (400, {"message": "A claim has already been created"}, Duplicate, "CLM_002_CLAIM_EXISTS"),
        (401, {"message": "already has a claim"}, Duplicate, "CLM_002_CLAIM_EXISTS"),
        (400, {"message": "multiple appointments; already has a claim"}, Rejected, "CLM_001_MULTIPLE_APPTS"),
        (404, {"message": "Appointment not found."}, Rejected, "CLM_003_APPOINTMENT_NOT_FOUND"),
        (400, {"message": "Gateway TIMEOUT"}, Unanswered, "CLM_011_CLAIM_TIMEOUT_ERROR"),
        (408, {"message": "slow"}, Unanswered, "CLM_011_CLAIM_TIMEOUT_ERROR"),
        (408, "<html>", Unanswered, "CLM_011_CLAIM_TIMEOUT_ERROR"),
        (400, OWN | {"message": "ClientNumber is not known."}, Unexplained, "CLM_010_CLAIM_SUBMISSION_ERROR"),
        (400, {"message": "Bad request"}, Unavailable, "CLM_030_UNKNOWN_SERVER_ERROR"),
        (404, {"message": "no such thing"}, Unavailable, "CLM_030_UNKNOWN_SERVER_ERROR"),
        (409, "", Unanswered, "CLM_030_UNKNOWN_SERVER_ERROR"),
        (422, {"message": "cannot"}, Unavailable, "CLM_030_UNKNOWN_SERVER_ERROR"),
        (400, "<html>Bad request</html>", Unavailable, "CLM_030_UNKNOWN_SERVER_ERROR"),
        (404, "<html>already has a claim</html>", Unavailable, "CLM_030_UNKNOWN_SERVER_ERROR"),
        (413, "<html>", Unavailable, "CLM_030_UNKNOWN_SERVER_ERROR"),
        (200, "<html>TC202503000000042</html>", Unanswered, "CLM_030_UNKNOWN_SERVER_ERROR"),
        (200, '{"claimNumber": "TC2025', Unanswered, "CLM_030_UNKNOWN_SERVER_ERROR"),
        (200, "", Unanswered, "CLM_030_UNKNOWN_SERVER_ERROR"),
        (200, [], Unanswered, "CLM_030_UNKNOWN_SERVER_ERROR"),
        (200, {"message": "no Route matched"}, Unanswered, "CLM_030_UNKNOWN_SERVER_ERROR"),
        (200, {"errors": []}, Unanswered, "CLM_030_UNKNOWN_SERVER_ERROR"),
        (200, {"success": False}, Unanswered, "CLM_030_UNKNOWN_SERVER_ERROR"),
        (200, {"statusCode": 200, "value": {"message": "Unauthorized"}}, Unanswered, "CLM_030_UNKNOWN_SERVER_ERROR"),
        (200, {"value": None, "statusCode": 500}, Unanswered, "CLM_030_UNKNOWN_SERVER_ERROR"),
        (204, "", Unanswered, "CLM_030_UNKNOWN_SERVER_ERROR"),
        (302, "", Unanswered, "CLM_030_UNKNOWN_SERVER_ERROR"),
        (500, {"message": "already has a claim"}, Unanswered, None),
        (503, "<html>", Unanswered, None),
        (429, {"message": "slow down"}, Throttled, None),
    ],
)
def test_every_answer_to_a_submit_has_one_meaning(
    bench: Bench, status: int, body: Body, kind: type[UpstreamError], code: str | None
) -> None:
    with pytest.raises(kind) as caught:
        bench.submit(whole(status, body))
    assert type(caught.value) is kind
    assert (caught.value.http_status, caught.value.code) == (status, code)
    assert (bench.writes, bench.tokens.replaced) == (1, [])


def test_a_refusals_detail_is_redacted(bench: Bench) -> None:
    with pytest.raises(Unavailable) as caught:
        bench.submit(whole(400, OWN | {"message": f"{ICN} has TC202503000000042"}))
    assert caught.value.detail == "[icn] has [claim number]"


@pytest.mark.parametrize("reply", [reset, raw(b""), raw(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{")])
def test_a_lost_answer_to_a_submit_is_unanswered(bench: Bench, reply: Reply) -> None:
    with pytest.raises(Unanswered):
        bench.submit(reply)


REFUSALS = {
    "401": whole(401, {"statusCode": 401, "message": "Unauthorized. Access token is missing or invalid."}),
    "401 of the gateway": whole(401, "<html>no</html>"),
    "401 without a reason": whole(401, {"message": "no"}),
    "403": whole(403, "<html>Forbidden</html>"),
    "400 that says unauthorized": whole(400, {"message": "Unauthorized"}),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_refused_token_is_replaced_and_the_claim_sent_once_more(bench: Bench, refusal: Reply) -> None:
    assert bench.submit(refusal, YES) == SubmittedClaim("TC202503000000042")
    assert bench.tokens.replaced == ["token-1"]
    assert [sent.headers["authorization"] for sent in bench.server.received] == ["Bearer token-1", "Bearer token-2"]
    assert bench.writes == 2


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_second_refusal_is_unauthorized(bench: Bench, refusal: Reply) -> None:
    with pytest.raises(Unauthorized):
        bench.submit(refusal)
    assert len(bench.server.received) == bench.writes == 2


def test_what_before_write_raises_passes_through_and_nothing_is_sent(bench: Bench) -> None:
    class NoTimeLeftError(Exception):
        pass

    def refuse() -> None:
        raise NoTimeLeftError

    with pytest.raises(NoTimeLeftError):
        bench.client.submit_claim(ICN, DAY, "vista", refuse)
    assert bench.server.received == []


def element(**changes: Any) -> dict[str, Any]:
    whole_element = {
        "aptDateTime": "2025-03-07T14:00:00.000Z",
        "aptId": "a",
        "claimNum": "TC202503000000042",
        "claimStatus": "InManualReview",
        "claimLastModDateTime": "2025-03-07T15:30:00.000Z",
        "facilityStationNum": "983",
    }
    return {name: value for name, value in {**whole_element, **changes}.items() if value != "absent"}


FOUND = FiledClaim(
    claim_number="TC202503000000042",
    claim_status="InManualReview",
    station="983",
    last_modified_at=datetime(2025, 3, 7, 15, 30, tzinfo=UTC),
    appointment_at=datetime(2025, 3, 7, 14, tzinfo=UTC),
)


def test_a_look_up_queries_the_day_and_reads_every_element(bench: Bench) -> None:
    found = bench.look_up(whole(200, [element(), element(facilityStationNum="984", claimStatus="absent")]))
    assert found[0] == FOUND
    assert (found[1].station, found[1].claim_status) == ("984", "")
    (sent,) = bench.server.received
    assert sent.line == "POST /EC/ClaimIngestSvc/api/ClaimIngest/V1/GetClaimsStatus HTTP/1.1"
    assert sent.json() == {
        "clientNumber": "0042",
        "vetIdType": "icn",
        "vetId": ICN,
        "startRangeDate": "2025-03-07",
        "endRangeDate": "2025-03-07",
    }


def test_no_claims_are_an_empty_list(bench: Bench) -> None:
    assert bench.look_up(whole(200, [])) == []


def test_an_element_without_an_appointment_time_is_still_a_claim(bench: Bench) -> None:
    assert bench.look_up(whole(200, [element(aptDateTime="absent")]))[0].appointment_at is None


@pytest.mark.parametrize(
    "changes",
    [
        {"claimNum": "absent"},
        {"claimNum": ""},
        {"claimNum": 42},
        {"facilityStationNum": "absent"},
        {"facilityStationNum": None},
        {"claimLastModDateTime": "absent"},
        {"claimLastModDateTime": "2025-03-07T15:30:00"},
        {"claimLastModDateTime": "yesterday"},
        {"aptDateTime": "noon"},
    ],
    ids=str,
)
def test_a_look_up_never_guesses_at_an_element(bench: Bench, changes: dict[str, object]) -> None:
    with pytest.raises(Unavailable):
        bench.look_up(whole(200, [element(), element(**changes)]))


@pytest.mark.parametrize(
    "reply",
    [
        whole(200, {}),
        whole(200, "<html>"),
        whole(200, "[{"),
        whole(200, ["text"]),
        whole(200, ""),
        whole(404, {"message": "Appointment not found."}),
        whole(500, {"message": "x"}),
        whole(408, {"message": "x"}),
        whole(302, []),
        reset,
    ],
)
def test_a_look_up_without_a_clear_answer_is_unavailable(bench: Bench, reply: Reply) -> None:
    with pytest.raises(Unavailable):
        bench.look_up(reply)


def test_a_look_up_whose_token_is_refused_is_made_once_more(bench: Bench) -> None:
    assert bench.look_up(whole(401, {}), whole(200, [element()])) == [FOUND]
    assert bench.tokens.replaced == ["token-1"]
    with pytest.raises(Unauthorized):
        bench.look_up(whole(403, "no"))


def test_no_status_counts_both_ways() -> None:
    assert not CLAIM_APPROVED & CLAIM_NOT_APPROVED
    assert {"In-Process", "InProcess", "PreApprovedForPayment"} <= CLAIM_APPROVED
    assert (len(CLAIM_APPROVED), len(CLAIM_NOT_APPROVED)) == (9, 8)
