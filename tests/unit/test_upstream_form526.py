"""The 526 service's client (docs/assumptions.md): a claim counts only when named, and is missing only when it says
so."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from flaskapp.upstreams.errors import (
    Duplicate,
    Rejected,
    Throttled,
    Unanswered,
    Unauthorized,
    Unavailable,
    UpstreamError,
)
from flaskapp.upstreams.form526 import Form526Client
from flaskapp.upstreams.transport.http import HTTP
from tests.unit.loopback import Body, Loopback, Reply, raw, reset, serving, whole
from tests.unit.upstream_settings import settings

REFERENCE, ICN = "0a1b2c3d-1111-4222-8333-444455556666", "1012345678V123456"
FORM = {"veteran": {"name": "Ada"}, "form0781": None}
HELD = {"reference": REFERENCE, "claimId": 600123456}


# As all APIs of Lighthouse say which part of a request breaks a rule.
def at(*pointers: Any) -> dict[str, Any]:
    error = {"title": "Unprocessable entity", "detail": "The property does not match", "status": "422"}
    return {"errors": [error | {"source": {"pointer": each}} for each in pointers]}


NOT_BELOW_THE_FORM = (
    "/",
    "/reference",
    "/icn",
    "/headers/x-api-key",
    "form526",
    "/form526",
    "/form526/",
    "/form5267/a",
    7,
)


def api_error(detail: str = "no", code: str = "REFUSED", status: str = "422") -> dict[str, Any]:
    return {"errors": [{"title": "made up", "detail": detail, "code": code, "status": status}]}


class Bench:
    def __init__(self, server: Loopback) -> None:
        self.server, self.writes = server, 0
        self.client = Form526Client(settings(form526_base_url=server.url, form526_total_seconds=30), HTTP(10))

    def before_write(self) -> None:
        assert len(self.server.received) == self.writes
        self.writes += 1

    def submit(self, reply: Reply) -> int:
        self.server.replies[:] = [reply]
        return self.client.submit(REFERENCE, ICN, FORM, self.before_write)

    def find(self, reply: Reply, reference: str = REFERENCE) -> int | None:
        self.server.replies[:] = [reply]
        return self.client.find(reference)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with serving(whole(200, HELD)) as server:
        yield Bench(server)


def test_a_form_is_submitted_under_our_reference(bench: Bench) -> None:
    assert bench.submit(whole(201, {"claimId": 600123456})) == 600123456
    (sent,) = bench.server.received
    assert sent.line == "POST /submissions HTTP/1.1"
    assert (sent.headers["x-api-key"], sent.headers["content-type"]) == ("form526-key", "application/json")
    assert sent.json() == {"reference": REFERENCE, "icn": ICN, "form526": FORM}
    assert bench.writes == 1


def test_a_submission_is_found_by_its_reference(bench: Bench) -> None:
    assert bench.find(whole(200, HELD)) == 600123456
    assert bench.find(whole(200, {**HELD, "reference": REFERENCE.upper(), "claimId": "7"})) == 7
    assert bench.server.received[0].line == f"GET /submissions/{REFERENCE} HTTP/1.1"
    assert bench.server.received[0].headers["x-api-key"] == "form526-key"


def test_a_submission_unknown_to_the_service_is_none(bench: Bench) -> None:
    assert bench.find(whole(404, api_error("No submission has the reference x.", "NOT_FOUND", "404"))) is None


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (409, api_error("Duplicate", "DUPLICATE", "409"), Duplicate, "DUPLICATE"),
        (409, "<html>", Unanswered, "409"),
        (422, api_error(f"No veteran has this ICN: {ICN}"), Rejected, "REFUSED"),
        (422, at("/form526/disabilities/0", "/form526/veteran"), Rejected, "422"),
        (422, at("/form526/veteran", "/reference"), Unavailable, "422"),
        (422, {"errors": [*at("/form526/veteran")["errors"], "quota"]}, Unavailable, "422"),
        *((422, at(each), Unavailable, "422") for each in NOT_BELOW_THE_FORM),
        (422, api_error(f"{ICN} serves still"), Unavailable, "REFUSED"),
        (409, api_error("Conflict of consumers", "409", "409"), Unanswered, "409"),
        (400, {"errors": []}, Unavailable, "400"),
        (413, api_error("The form is too large."), Rejected, "REFUSED"),
        (413, "", Unavailable, "413"),
        (400, "<html>", Unavailable, "400"),
        (404, api_error(status="404"), Unavailable, "REFUSED"),
        (404, "<html>", Unavailable, "404"),
        (401, api_error(), Unauthorized, "REFUSED"),
        (403, "", Unauthorized, "403"),
        (408, "", Unanswered, "408"),
        (200, {"claimId": 600123456}, Unanswered, "200"),
        (202, "", Unanswered, "202"),
        (302, "", Unanswered, "302"),
        (429, {"message": "slow down"}, Throttled, None),
        (500, api_error(), Unanswered, None),
        (504, "<html>", Unanswered, None),
    ],
)
def test_every_answer_to_a_submission_has_one_meaning(
    bench: Bench, status: int, body: Body, kind: type[UpstreamError], code: str | None
) -> None:
    with pytest.raises(kind) as caught:
        bench.submit(whole(status, body))
    assert type(caught.value) is kind
    assert (caught.value.http_status, caught.value.code) == (status, code)
    assert ICN not in caught.value.detail


@pytest.mark.parametrize("named", ["1a1b2c3d-1111-4222-8333-444455556666", None, 7])
def test_an_answer_about_another_submission_is_no_answer(bench: Bench, named: Any) -> None:
    with pytest.raises(Unanswered):
        bench.submit(whole(201, {**HELD, "reference": named}))
    assert bench.submit(whole(201, {**HELD, "reference": REFERENCE.upper()})) == HELD["claimId"]


@pytest.mark.parametrize("claim", [None, "", "x", 0, -1, 1.5, True, [600123456], 2**63])
@pytest.mark.parametrize("shape", ["claimId", "claim_id"])
def test_an_answer_that_names_no_claim_is_no_answer(bench: Bench, shape: str, claim: Any) -> None:
    with pytest.raises(Unanswered):
        bench.submit(whole(201, {shape: claim}))
    with pytest.raises(Unavailable):
        bench.find(whole(200, {"reference": REFERENCE, shape: claim}))


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (whole(404, "<html>"), Unavailable),
        (whole(404, {"message": "no Route matched"}), Unavailable),
        (whole(404, {"errors": ["none"]}), Unavailable),
        (whole(400, api_error()), Unavailable),
        (whole(404, api_error("The path is not known")), Unavailable),
        (whole(403, api_error()), Unauthorized),
        (whole(409, "<html>"), Unavailable),
        (whole(408), Unavailable),
        (whole(204), Unavailable),
        (whole(302), Unavailable),
        (whole(429, {}), Throttled),
        (whole(500, HELD), Unavailable),
        (whole(200, "<html>"), Unavailable),
        (whole(200, []), Unavailable),
        (whole(200, {"claimId": 600123456}), Unavailable),
        (whole(200, {**HELD, "reference": "1a1b2c3d-1111-4222-8333-444455556666"}), Unavailable),
        (reset, Unavailable),
    ],
)
def test_no_other_answer_looks_like_no_submission(bench: Bench, reply: Reply, kind: type[UpstreamError]) -> None:
    with pytest.raises(kind) as caught:
        bench.find(reply)
    assert type(caught.value) is kind


@pytest.mark.parametrize("reply", [reset, raw(b""), raw(b"HTTP/1.1 201 OK\r\nContent-Length: 400\r\n\r\n{")])
def test_a_lost_answer_leaves_a_submission_open(bench: Bench, reply: Reply) -> None:
    with pytest.raises(Unanswered):
        bench.submit(reply)


def test_an_error_of_before_write_passes_through_and_nothing_is_sent(bench: Bench) -> None:
    def refuse() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        bench.client.submit(REFERENCE, ICN, FORM, refuse)
    assert bench.server.received == []


def test_a_reference_cannot_leave_its_part_of_the_path(bench: Bench) -> None:
    with pytest.raises(Unavailable):
        bench.find(whole(404, ""), reference="../x?y")
    assert bench.server.received[0].line == "GET /submissions/..%2Fx%3Fy HTTP/1.1"


def test_neither_logs_nor_errors_name_the_person(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(Rejected) as caught:
        bench.submit(whole(422, api_error(f"No veteran has this ICN: {ICN} is not 123456789")))
    with pytest.raises(Unavailable):
        bench.find(reset)
    said = "".join(str(record.__dict__) for record in caplog.records) + str(caught.value) + caught.value.detail
    assert "submit" in said and "find" in said
    assert ICN not in said and "123456789" not in said and "Ada" not in said
