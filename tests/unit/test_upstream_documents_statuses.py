"""Lighthouse's statuses of documents: read one id at a time, and never taken for more than they say (contract: benefits
4.3)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from flaskapp.upstreams.errors import Rejected, Throttled, Unauthorized, Unavailable, UpstreamError
from flaskapp.upstreams.lighthouse.documents import DocumentStatus, NoneKnown, Statuses
from tests.unit.documents import BASE, BGS, CE, ENDED, NONE_KNOWN, STARTED, Bench, answered, api_error, entry
from tests.unit.loopback import Body, Reply, reset, serving, silence, whole

STARTED_AT = datetime(2030, 1, 1, 0, 0, 0, 123_000, UTC)
ENDED_AT = datetime(2030, 1, 1, 0, 10, 0, 456_000, UTC)
NOBODY: frozenset[int] = frozenset()


@pytest.fixture
def bench() -> Iterator[Bench]:
    with serving(silence) as server:
        yield Bench(server)


def only(statuses: Statuses, request_id: int = 9001) -> DocumentStatus:
    assert set(statuses.found) == {request_id}
    return statuses.found[request_id]


def test_statuses_are_queried_by_number(bench: Bench) -> None:
    bench.ask(whole(200, answered(entry(9001), entry(9002))), ids=(9001, 9002, 9001))
    (sent,) = bench.server.received
    assert sent.line == f"POST {BASE}/uploads/status HTTP/1.1"
    assert sent.headers["authorization"] == "Bearer token-1"
    assert sent.json() == {"data": {"requestIds": [9001, 9002]}}


def test_without_documents_nothing_is_queried(bench: Bench) -> None:
    assert bench.client.statuses([]) == Statuses({}, NOBODY, NOBODY)
    assert bench.server.received == []


def test_one_answer_can_hold_every_ending(bench: Bench) -> None:
    running = entry(9002, "IN_PROGRESS", "IN_PROGRESS", "NOT_STARTED", time={"startTime": STARTED, "endTime": None})
    fault = {"detail": "gave up on 1012345678V123456", "step": BGS}
    failed = entry(9003, "FAILED", "SUCCESS", "FAILED", error=fault)
    answer = answered(entry(9001), running, failed, missing=(9004,))
    assert bench.ask(whole(200, answer), ids=(9001, 9002, 9003, 9004)) == Statuses(
        {
            9001: DocumentStatus("success", STARTED_AT, ENDED_AT, None, {CE: "SUCCESS", BGS: "SUCCESS"}, None),
            9002: DocumentStatus("in_progress", STARTED_AT, None, None, {CE: "IN_PROGRESS", BGS: "NOT_STARTED"}, None),
            9003: DocumentStatus(
                "failed", STARTED_AT, ENDED_AT, BGS, {CE: "SUCCESS", BGS: "FAILED"}, "gave up on [icn]"
            ),
        },
        frozenset({9004}),
        NOBODY,
    )


@pytest.mark.parametrize(
    ("ids", "answer", "found", "not_found", "unreadable"),
    [
        ((1, 2), answered(entry(1), entry(2), missing="absent"), {1, 2}, set(), set()),
        ((1, 2), answered(entry("1"), missing=("2",)), {1}, {2}, set()),
        ((1, 2), answered(entry(1), missing=None), {1}, set(), {2}),
        ((1, 2), answered(entry(1), missing=({"id": 2}, None, [])), {1}, set(), {2}),
        ((1, 2), answered(entry(1), missing=(1, 2)), set(), {2}, {1}),
        ((1, 2), answered(entry(1), entry(1), entry("1"), missing=(2,)), {1}, {2}, set()),
        ((1, 2), answered(entry(1), entry(1, "FAILED", "FAILED"), entry(1), entry(2)), {2}, set(), {1}),
        ((1, 2), answered(entry(1, status="absent"), entry(1), entry(2)), {2}, set(), {1}),
        ((1, 2), answered(entry(1, status=None), entry(2, steps=None, time=[])), {2}, set(), {1}),
        ((1, 2), answered(None, 1, "1", [], {}, entry("x"), entry(None), entry(True), entry(2)), {2}, set(), {1}),
        ((1, 2), answered(entry(3), missing=(4,)), set(), set(), {1, 2}),
        ((1, 2), {"data": {"statuses": {"1": entry(1)}, "requestIdsNotFound": 2}}, set(), set(), {1, 2}),
        ((1, 2), {"data": {}}, set(), set(), {1, 2}),
        ((1, 2), {"data": [entry(1)]}, set(), set(), {1, 2}),
        ((1, 2), {"statuses": [entry(1)]}, set(), set(), {1, 2}),
        ((1, 2), [entry(1)], set(), set(), {1, 2}),
        ((1, 2), "1", set(), set(), {1, 2}),
    ],
)
def test_no_entry_spoils_another_and_none_is_lost(
    bench: Bench, ids: tuple[int, ...], answer: Body, found: set[int], not_found: set[int], unreadable: set[int]
) -> None:
    got = bench.ask(whole(200, answer), ids=ids)
    assert (set(got.found), got.not_found, got.unreadable) == (found, not_found, unreadable)


@pytest.mark.parametrize("word", ["success", "Success", " SUCCESS", "SUCCESSFUL", "COMPLETE", "QUEUED", ""])
def test_a_word_other_than_the_three_is_unknown(bench: Bench, word: str) -> None:
    assert only(bench.ask(whole(200, answered(entry(9001, word, "FAILED"))), ids=(9001,))).failed_step is None
    assert only(bench.ask(whole(200, answered(entry(9001, word))), ids=(9001,))).state == "unknown"


REMOVAL = "REMOVE_FILE_BINARY"


@pytest.mark.parametrize(
    ("word", "changes", "error"),
    [
        ("FAILED", {"error": {"detail": "no", "step": REMOVAL}}, "no"),
        ("FAILED", {"error": {"step": REMOVAL}, "steps": "with removal"}, None),
        ("FAILED", {"error": {"detail": "no"}}, "no"),
        ("FAILED", {}, None),
        ("IN_PROGRESS", {"time": {"startTime": STARTED}}, None),
        ("IN_PROGRESS", {"steps": "with removal"}, None),
    ],
)
def test_a_document_is_delivered_once_both_delivery_steps_are_done(
    bench: Bench, word: str, changes: dict[str, Any], error: str | None
) -> None:
    if changes.get("steps") == "with removal":
        changes = {**changes, "steps": [*entry(9001)["steps"], {"name": REMOVAL, "status": word}]}
    status = only(bench.ask(whole(200, answered(entry(9001, word, **changes))), ids=(9001,)))
    assert (status.state, status.failed_step, status.error) == ("success", None, error)


@pytest.mark.parametrize(
    ("word", "ce", "bgs", "state"),
    [
        ("IN_PROGRESS", "SUCCESS", "IN_PROGRESS", "in_progress"),
        ("FAILED", "SUCCESS", "NOT_STARTED", "failed"),
        ("FAILED", "NOT_STARTED", "SUCCESS", "failed"),
        ("QUEUED", "SUCCESS", "SUCCESS", "unknown"),
    ],
)
def test_a_document_is_not_delivered_before(bench: Bench, word: str, ce: str, bgs: str, state: str) -> None:
    error = {"detail": "no", "step": REMOVAL}
    status = only(bench.ask(whole(200, answered(entry(9001, word, ce, bgs, error=error))), ids=(9001,)))
    assert status.state == state


@pytest.mark.parametrize(
    ("time", "started", "ended"),
    [
        ({"startTime": STARTED, "endTime": ENDED}, STARTED_AT, ENDED_AT),
        ({"startTime": 1893456000, "endTime": 1893456600}, STARTED_AT.replace(microsecond=0), None),
        ({"startTime": str(STARTED)}, STARTED_AT, None),
        ({"startTime": 1893456000.123}, STARTED_AT, None),
        ({"startTime": None}, None, None),
        ({"startTime": 0}, None, None),
        ({"startTime": -5}, None, None),
        ({"startTime": True}, None, None),
        ({"startTime": 10**30}, None, None),
        ({"startTime": "9" * 40}, None, None),
        ({"startTime": "2030-01-01"}, None, None),
        ({"startTime": "٣"}, None, None),
        ({"startTime": float("inf")}, None, None),
        ({"startTime": float("nan")}, None, None),
        ({"startTime": [STARTED]}, None, None),
        (None, None, None),
        ("absent", None, None),
    ],
)
def test_times_are_milliseconds_or_seconds_or_none(
    bench: Bench, time: Any, started: datetime | None, ended: datetime | None
) -> None:
    status = only(bench.ask(whole(200, answered(entry(9001, time=time))), ids=(9001,)))
    assert status.started_at == started and status.state == "success"
    assert status.ended_at == (ended or status.ended_at)
    assert all(timestamp is None or timestamp.tzinfo is UTC for timestamp in (status.started_at, status.ended_at))


@pytest.mark.parametrize(
    ("changes", "step", "error"),
    [
        ({"error": {"detail": "no", "step": CE}}, CE, "no"),
        ({"error": {"detail": "no"}, "bgs": "FAILED"}, BGS, "no"),
        ({"error": {"step": CE}, "bgs": "FAILED"}, CE, None),
        ({"error": {"detail": 5, "step": 7}, "ce": "FAILED"}, CE, None),
        ({"error": "broke at 123-45-6789", "bgs": "NOT_STARTED"}, None, "broke at [number]"),
        ({"error": {"message": "<b>no</b>"}, "bgs": "NOT_STARTED"}, None, "no"),
        ({"error": None, "ce": "FAILED", "bgs": "FAILED"}, CE, None),
        ({"error": "absent", "steps": "absent", "time": "absent"}, None, None),
        ({"steps": [None, [], {"name": 1, "status": "FAILED"}, {"name": "X"}, {"status": "FAILED"}]}, None, None),
        ({"steps": [{"name": "REMOVE_FILE_BINARY", "status": "FAILED"}]}, "REMOVE_FILE_BINARY", None),
        ({"error": {"step": "x\x00\n" * 400}, "ce": "absent"}, "x " * 149 + "x…", None),
    ],
)
def test_a_failure_gives_its_step_and_reason_where_it_can(
    bench: Bench, changes: dict[str, Any], step: str | None, error: str | None
) -> None:
    status = only(bench.ask(whole(200, answered(entry(9001, "FAILED", **changes))), ids=(9001,)))
    assert (status.state, status.failed_step, status.error) == ("failed", step, error)


def test_steps_are_kept_in_the_upstreams_own_words(bench: Bench) -> None:
    steps = [{"name": CE, "status": "SUCCESS"}, {"name": "NEW_STEP", "status": "PONDERING"}]
    status = only(bench.ask(whole(200, answered(entry(9001, "IN_PROGRESS", steps=steps))), ids=(9001,)))
    assert status.step_states == {CE: "SUCCESS", "NEW_STEP": "PONDERING"}


def test_statuses_of_other_ids_are_ignored_and_counted(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    answer = answered(entry(9001), entry(9002), entry(9003), missing=(9004,))
    assert only(bench.ask(whole(200, answer), ids=(9001,))).state == "success"
    (line,) = [vars(record) for record in caplog.records if record.levelno == logging.WARNING]
    assert (line["event"], line["ids"]) == ("documents.status_unrequested", 3)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (whole(404, NONE_KNOWN), NoneKnown),
        (whole(404, {"message": "no Route matched"}), Unavailable),
        (whole(404, "<html>"), Unavailable),
        (whole(404, {"errors": []}), Unavailable),
        (whole(400, api_error()), Unavailable),
        (whole(404, api_error("The path is not known", 404)), Unavailable),
        (whole(400, "<html>"), Unavailable),
        (whole(413, {"message": "Request size limit exceeded"}), Rejected),
        (whole(429, {"message": "API rate limit exceeded"}), Throttled),
        (whole(401, api_error(status=401)), Unauthorized),
        (whole(403), Unauthorized),
        (whole(500, api_error(status=500)), Unavailable),
        (whole(504, {"message": "timing out"}), Unavailable),
        (whole(202, answered(entry(9001))), Unavailable),
        (whole(302), Unavailable),
        (whole(408), Unavailable),
        (whole(200, "<html>SUCCESS</html>"), Unavailable),
        (whole(200, ""), Unavailable),
        (whole(200, "null"), Unavailable),
        (whole(200, "["), Unavailable),
        (reset, Unavailable),
    ],
)
def test_a_wholly_unreadable_answer_is_unavailable(bench: Bench, reply: Reply, kind: type[UpstreamError]) -> None:
    with pytest.raises(kind) as caught:
        bench.ask(reply)
    assert type(caught.value) is kind


def test_a_refused_token_is_replaced_and_the_query_is_made_again(bench: Bench) -> None:
    bench.ask(whole(401), whole(200, answered(entry(9001), entry(9002))))
    assert bench.tokens.replaced == ["token-1"]
    assert bench.server.received[1].headers["authorization"] == "Bearer token-2"
