"""The ITF client: which answers hold an ITF, which say there is none, and which leave it open (contract: benefits
2.1)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from flaskapp.upstreams.errors import Rejected, Throttled, Unanswered, Unauthorized, Unavailable, UpstreamError
from flaskapp.upstreams.lighthouse.claims import UpstreamITF
from tests.unit.lighthouse import CREATED, EXPIRES, HELD, ICN, NOW, PATH, Bench, api_error, itf
from tests.unit.loopback import Body, Reply, raw, reset, serving, silence, whole

NO_ROUTE = api_error("There are no routes matching your request", code="411", status="404")
KONG = {"message": "no Route matched with those values"}
TOKEN_REFUSED = {"status": 401, "error": "Invalid token.", "path": f"/v2/veterans/{ICN}/intent-to-file"}


@pytest.fixture
def bench() -> Iterator[Bench]:
    with serving(whole(200, itf())) as server:
        yield Bench(server)


def test_an_itf_is_read_by_icn_and_type(bench: Bench) -> None:
    assert bench.read(whole(200, itf())) == HELD
    (sent,) = bench.server.received
    assert sent.line == f"GET {PATH}/compensation HTTP/1.1"
    assert sent.headers["authorization"] == "Bearer token-1"
    assert sent.headers["accept"] == "application/json"
    assert sent.body == b""


@pytest.mark.parametrize("ssn", ["", "123456789"])
def test_an_itf_is_created_as_the_contract_says(bench: Bench, ssn: str) -> None:
    assert bench.create(whole(200, itf()), ssn=ssn) == HELD
    (sent,) = bench.server.received
    assert sent.line == f"POST {PATH} HTTP/1.1"
    assert sent.headers["content-type"] == "application/json"
    assert sent.json() == {
        "data": {"type": "intent_to_file", "attributes": {"type": "compensation", "claimantSsn": ssn}}
    }
    assert bench.writes == 1


@pytest.mark.parametrize(
    ("written", "timestamp"),
    [
        ("2031-02-03T04:05:06.789-06:00", datetime(2031, 2, 3, 10, 5, 6, 789_000, tzinfo=UTC)),
        ("2031-02-03T04:05:06-05:00", datetime(2031, 2, 3, 9, 5, 6, tzinfo=UTC)),
        ("2031-02-03T04:05:06Z", datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)),
    ],
)
def test_dates_are_read_with_their_offset(bench: Bench, written: str, timestamp: datetime) -> None:
    found = bench.read(whole(200, itf(creationDate=written, expirationDate="2032-02-03T04:05:05.000-06:00")))
    assert found is not None and found.created_at == timestamp and found.created_at.tzinfo is UTC


@pytest.mark.parametrize("status", ["duplicate", "Active", "DUPLICATE"])
def test_a_duplicate_is_an_itf_with_the_dates_that_upstream_holds(bench: Bench, status: str) -> None:
    assert bench.create(whole(200, itf(status=status, type="Compensation"))) == UpstreamITF(
        "700421", "compensation", status.lower(), CREATED, EXPIRES
    )


@pytest.mark.parametrize(
    "reply",
    [
        whole(404, api_error("No active 'C' intent to file found.")),
        whole(404, api_error("any words at all", code="404", status="404"), Content_Type="text/html"),
        whole(200, itf(status="expired")),
        whole(200, itf(status="claim_recieved", expirationDate="absent")),
        whole(200, itf(status="duplicate")),
        whole(200, itf(expirationDate=(NOW - timedelta(seconds=5)).isoformat())),
    ],
)
def test_an_itf_that_does_not_count_is_none(bench: Bench, reply: Reply) -> None:
    assert bench.read(reply) is None


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, "<html>Not Found</html>", Unavailable),
        (404, "", Unavailable),
        (404, KONG, Unavailable),
        (404, NO_ROUTE, Unavailable),
        (404, {"errors": []}, Unavailable),
        (404, {"errors": "none"}, Unavailable),
        (404, ["none"], Unavailable),
        (400, api_error(), Unavailable),
        (422, api_error(), Unavailable),
        (400, "<html>", Unavailable),
        (408, "", Unavailable),
        (302, "", Unavailable),
        (204, "", Unavailable),
        (201, itf(), Unavailable),
        (429, {"message": "API rate limit exceeded"}, Throttled),
        (500, itf(), Unavailable),
        (502, api_error(), Unavailable),
        (504, "<html>", Unavailable),
    ],
)
def test_no_other_answer_looks_like_no_itf(bench: Bench, status: int, body: Body, kind: type[UpstreamError]) -> None:
    with pytest.raises(kind) as caught:
        bench.read(whole(status, body))
    assert type(caught.value) is kind and caught.value.http_status == status


NONSENSE = [
    "<html>active</html>",
    "",
    "[",
    [],
    {},
    {"data": None},
    {"data": []},
    {"data": {"id": "1"}},
    itf(id=""),
    itf(id=700421),
    itf(type="pension"),
    itf(type="absent"),
    itf(status="absent"),
    itf(status=None),
    itf(status=""),
    itf(creationDate="absent"),
    itf(creationDate="2031-02-03T04:05:06.000+0000"),
    itf(creationDate="2031-02-03"),
    itf(expirationDate=None),
    itf(expirationDate="2033-02-03T04:05:06"),
    itf(creationDate=EXPIRES.isoformat()),
    itf(creationDate=(EXPIRES + timedelta(days=1)).isoformat()),
]


@pytest.mark.parametrize("body", NONSENSE)
def test_an_answer_that_makes_no_sense_is_no_answer(bench: Bench, body: Body) -> None:
    with pytest.raises(Unanswered) as created:
        bench.create(whole(200, body))
    with pytest.raises(Unavailable) as read:
        bench.read(whole(200, body))
    assert (read.value.http_status, created.value.http_status) == (200, 200)


@pytest.mark.parametrize("status", ["expired", "incomplete", "claim_recieved", "canceled", "pending", "valid"])
def test_a_create_answered_with_any_other_status_is_unanswered(bench: Bench, status: str) -> None:
    with pytest.raises(Unanswered):
        bench.create(whole(200, itf(status=status)))


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, api_error("Request body is not in the correct format."), Unavailable, "400"),
        (404, api_error("The path is not known", title="Resource not found"), Unavailable, "404"),
        (404, api_error("Veteran ID not found"), Rejected, "404"),
        (413, {"message": "Request size limit exceeded"}, Rejected, "413"),
        (422, api_error("Invalid claimantSsn parameter", code="422", status="422"), Rejected, "422"),
        (422, api_error("Veteran cannot file for type 'survivor'", code="SURVIVOR_SSN"), Rejected, "SURVIVOR_SSN"),
        (422, api_error("consumer not subscribed"), Unavailable, "422"),
        (422, api_error(code=f"no {ICN}"), Unavailable, "no [icn]"),
        (400, {"errors": ["text"]}, Unavailable, "400"),
        (409, api_error(), Unanswered, "409"),
        (415, api_error(), Unavailable, "415"),
        (404, KONG, Unavailable, "404"),
        (404, NO_ROUTE, Unavailable, "411"),
        (404, "<html>Veteran ID not found</html>", Unavailable, "404"),
        (400, "<html>", Unavailable, "400"),
        (413, "", Unavailable, "413"),
        (422, '"text"', Unavailable, "422"),
        (408, "", Unanswered, "408"),
        (201, itf(), Unanswered, "201"),
        (204, "", Unanswered, "204"),
        (302, "", Unanswered, "302"),
        (500, api_error(), Unanswered, None),
        (503, {"message": "unavailable"}, Unanswered, None),
        (504, "<html>", Unanswered, None),
        (429, {"message": "API rate limit exceeded"}, Throttled, None),
    ],
)
def test_every_answer_to_a_create_has_one_meaning(
    bench: Bench, status: int, body: Body, kind: type[UpstreamError], code: str | None
) -> None:
    with pytest.raises(kind) as caught:
        bench.create(whole(status, body))
    assert type(caught.value) is kind
    assert (caught.value.http_status, caught.value.code) == (status, code)
    assert (bench.writes, bench.tokens.replaced) == (1, [])


@pytest.mark.parametrize("reply", [reset, raw(b""), raw(b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{")])
def test_a_lost_answer_leaves_a_create_open_and_a_read_undone(bench: Bench, reply: Reply) -> None:
    with pytest.raises(Unanswered):
        bench.create(reply)
    with pytest.raises(Unavailable):
        bench.read(reply)


REFUSALS = {
    "401": whole(401, api_error("Not authorized.")),
    "401 of the gateway": whole(401, TOKEN_REFUSED),
    "400 of the gateway": whole(400, TOKEN_REFUSED),
    "401 without a body": whole(401),
    "403": whole(403, api_error("Forbidden")),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_refused_token_is_replaced_and_the_call_made_once_more(bench: Bench, refusal: Reply) -> None:
    assert bench.create(refusal, whole(200, itf())) == HELD
    assert bench.tokens.replaced == ["token-1"] and bench.writes == 2
    assert [sent.headers["authorization"] for sent in bench.server.received] == ["Bearer token-1", "Bearer token-2"]
    assert bench.read(refusal, whole(200, itf())) == HELD
    assert bench.tokens.replaced == ["token-1", "token-2"]


def test_a_refused_token_that_stays_is_not_sent_once_more(bench: Bench) -> None:
    bench.tokens.scarce = True
    with pytest.raises(Unauthorized):
        bench.create(whole(401))
    assert len(bench.server.received) == bench.writes == 1


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_second_refusal_is_unauthorized(bench: Bench, refusal: Reply) -> None:
    with pytest.raises(Unauthorized):
        bench.create(refusal)
    assert len(bench.server.received) == bench.writes == 2
    with pytest.raises(Unauthorized):
        bench.read(refusal)
    assert len(bench.server.received) == 4


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"RateLimit_Reset": "43"}, 43),
        (429, {"Retry_After": "7", "RateLimit_Reset": "43"}, 7),
        (429, {}, None),
        (503, {"RateLimit_Reset": "43"}, None),
        (503, {"Retry_After": "9", "RateLimit_Reset": "43"}, 9),
    ],
)
def test_the_rate_limits_window_counts_only_for_a_429(
    bench: Bench, status: int, headers: dict[str, str], seconds: float | None
) -> None:
    with pytest.raises(UpstreamError) as caught:
        bench.read(whole(status, {"message": "API rate limit exceeded"}, **headers))
    assert caught.value.retry_after == seconds


def test_an_error_of_before_write_passes_through_and_nothing_is_sent(bench: Bench) -> None:
    class NoTimeLeftError(Exception):
        pass

    def refuse() -> None:
        raise NoTimeLeftError

    with pytest.raises(NoTimeLeftError):
        bench.client.create_itf(ICN, "compensation", refuse)
    assert bench.server.received == []


def test_a_person_who_waits_has_a_shorter_limit(bench: Bench) -> None:
    bench.server.replies[:] = [silence]
    started = time.monotonic()
    with pytest.raises(Unanswered):
        bench.client.create_itf(ICN, "pension", bench.before_write, total_seconds=1.0)
    with pytest.raises(Unavailable):
        bench.client.active_itf(ICN, "pension", total_seconds=1.0)
    # The server ends the connection after ten seconds.
    assert time.monotonic() - started < 9


def test_an_icn_cannot_leave_its_part_of_the_path(bench: Bench) -> None:
    bench.read(whole(404, api_error()), icn="../1?x#y")
    assert bench.server.received[0].line.startswith(
        "GET /services/claims/v2/veterans/..%2F1%3Fx%23y/intent-to-file/compensation "
    )


def test_neither_logs_nor_errors_name_the_person(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(Unavailable) as caught:
        bench.create(whole(422, api_error(f"{ICN} is not 123456789")), ssn="123456789")
    assert caught.value.detail == "[icn] is not [number]"
    with pytest.raises(Unavailable):
        bench.read(reset)
    said = "".join(str(record.__dict__) for record in caplog.records) + str(caught.value)
    assert "create_itf" in said and "active_itf" in said
    assert ICN not in said and "123456789" not in said
