"""The fake Benefits Documents: how an upload moves on, how it is reported, and the admin API (contract: benefits
4.3)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from sandbox.faults import Control, Refused
from sandbox.upstreams.scenarios import with_documents, with_file_number_only
from sandbox.upstreams.serve import Upstreams
from sandbox.upstreams.upload_plans import PLANS
from tests.contract.documents_wire import DocumentsCaller, problem, steps

CE, BGS = "CLAIMS_EVIDENCE", "BENEFITS_GATEWAY_SERVICE"


@pytest.fixture
def caller(http: requests.Session, upstreams: Upstreams) -> DocumentsCaller:
    return DocumentsCaller(http, upstreams)


def plant(control: Control, *items: dict[str, Any]) -> list[int]:
    return list(control.call("POST", "documents", "uploads", json=list(items))["ids"])


def over(control: Control, plan: str) -> int:
    """An upload that has done everything that its plan lets it do."""
    (planted,) = plant(control, {"plan": plan, "steps_done": 9})
    return planted


# -- through the steps ------------------------------------------------------------


def test_an_upload_moves_through_its_steps_as_time_passes(caller: DocumentsCaller, control: Control) -> None:
    taken, seen = caller.uploaded(), []
    for seconds in (0, 21, 41):
        control.turn("documents", clock_offset_seconds=seconds)
        status = caller.status(taken)
        seen.append((status["status"], *steps(status).values(), "endTime" in status["time"]))
    assert seen == [
        ("IN_PROGRESS", "IN_PROGRESS", "NOT_STARTED", False),
        ("IN_PROGRESS", "SUCCESS", "IN_PROGRESS", False),
        ("SUCCESS", "SUCCESS", "SUCCESS", True),
    ]


def test_a_status_has_every_key_of_the_contract(caller: DocumentsCaller, control: Control) -> None:
    status = caller.status(over(control, "ok"))
    assert set(status) == {"requestId", "time", "status", "steps"}
    first, last = status["steps"]
    assert (first["name"], first["nextStepName"], last["name"]) == (CE, BGS, BGS)
    assert (set(first) - set(last), set(last)) == ({"nextStepName"}, {"name", "description", "status"})


def test_times_are_milliseconds(caller: DocumentsCaller, control: Control) -> None:
    (planted,) = plant(control, {"age_seconds": 3600, "step_seconds": 60})
    times = caller.status(planted)["time"]
    assert abs(datetime.fromtimestamp(times["startTime"] / 1000, UTC).timestamp() - (time.time() - 3600)) < 60
    assert times["endTime"] - times["startTime"] == 120_000


@pytest.mark.parametrize(
    ("plan", "reported", "error_step"),
    [("fails_at_claims_evidence", ["FAILED", "NOT_STARTED"], CE), ("fails_at_bgs", ["SUCCESS", "FAILED"], BGS)],
)
def test_a_failure_names_its_step(
    caller: DocumentsCaller, control: Control, plan: str, reported: list[str], error_step: str
) -> None:
    status = caller.status(over(control, plan))
    assert (status["status"], list(steps(status).values())) == ("FAILED", reported)
    assert (set(status["error"]), status["error"]["step"]) == ({"detail", "step"}, error_step)
    assert status["time"]["endTime"] > 0


def test_a_failure_has_not_happened_before_its_step_is_over(caller: DocumentsCaller, control: Control) -> None:
    (planted,) = plant(control, {"plan": "fails_at_bgs", "steps_done": 1})
    status = caller.status(planted)
    assert (status["status"], steps(status)) == ("IN_PROGRESS", {CE: "SUCCESS", BGS: "IN_PROGRESS"})
    assert "error" not in status


def test_a_removal_that_fails_is_a_failure_though_every_public_step_succeeded(
    caller: DocumentsCaller, control: Control
) -> None:
    planted = over(control, "fails_at_removal")
    status = caller.status(planted)
    assert (status["status"], steps(status)) == ("FAILED", {CE: "SUCCESS", BGS: "SUCCESS"})
    assert status["error"]["step"] == "REMOVE_FILE_BINARY" and status["time"]["endTime"] > 0
    (shown,) = caller.ask(planted, includeInternalOnlyStepStatuses="true").json()["data"]["statuses"]
    assert steps(shown)["REMOVE_FILE_BINARY"] == "FAILED"


def test_a_removal_that_takes_for_ever_leaves_a_document_in_progress(caller: DocumentsCaller, control: Control) -> None:
    status = caller.status(over(control, "stuck_at_removal"))
    assert (status["status"], steps(status)) == ("IN_PROGRESS", {CE: "SUCCESS", BGS: "SUCCESS"})
    assert "error" not in status and "endTime" not in status["time"]


@pytest.mark.parametrize(("plan", "reported"), [("stuck", "IN_PROGRESS"), ("stuck_at_bgs", "SUCCESS")])
def test_what_is_stuck_never_ends(caller: DocumentsCaller, control: Control, plan: str, reported: str) -> None:
    (planted,) = plant(control, {"plan": plan, "age_seconds": 30 * 86_400})
    status = caller.status(planted)
    assert (status["status"], steps(status)[CE], "endTime" in status["time"]) == ("IN_PROGRESS", reported, False)


# -- reported wrongly -------------------------------------------------------------


def test_seconds_instead_of_milliseconds(caller: DocumentsCaller, control: Control) -> None:
    times = caller.status(over(control, "seconds"))["time"]
    assert all(len(str(value)) == 10 for value in times.values())


def test_texts_instead_of_numbers(caller: DocumentsCaller, control: Control) -> None:
    planted = over(control, "texts")
    status = caller.status(planted)
    assert (status["requestId"], {type(value) for value in status["time"].values()}) == (str(planted), {str})
    control.turn("documents", plan="texts")
    assert isinstance(caller.upload().json()["data"]["requestId"], str)


@pytest.mark.parametrize(
    ("plan", "gone"),
    [
        ("without_time", "time"),
        ("without_steps", "steps"),
        ("without_status", "status"),
        ("without_request_id", "requestId"),
    ],
)
def test_missing_keys(caller: DocumentsCaller, control: Control, plan: str, gone: str) -> None:
    assert {"requestId", "time", "status", "steps"} - set(caller.status(over(control, plan))) == {gone}


def test_a_failure_without_a_step_or_without_an_error(caller: DocumentsCaller, control: Control) -> None:
    assert set(caller.status(over(control, "fails_without_step"))["error"]) == {"detail"}
    status = caller.status(over(control, "fails_without_error"))
    assert (status["status"], set(status["time"]), "error" in status) == ("FAILED", {"startTime"}, False)


def test_unknown_words_and_steps(caller: DocumentsCaller, control: Control) -> None:
    assert caller.status(over(control, "unknown_status"))["status"] == "ON_HOLD"
    assert steps(caller.status(over(control, "unknown_step")))["MALWARE_SCAN"] == "SUCCESS"
    failed = caller.status(over(control, "fails_at_unknown_step"))
    assert (failed["error"]["step"], steps(failed)[CE]) == ("MALWARE_SCAN", "NOT_STARTED")


# -- a query for many -------------------------------------------------------------


def test_ids_may_be_numbers_or_texts_and_come_back_once_in_any_order(caller: DocumentsCaller, control: Control) -> None:
    first, second = plant(control, {}, {})
    data = caller.ask(str(second), first, second).json()["data"]
    assert [status["requestId"] for status in data["statuses"]] == [first, second]
    assert data["requestIdsNotFound"] == []


def test_unknown_ids_are_listed_as_numbers(caller: DocumentsCaller, control: Control) -> None:
    (planted,) = plant(control, {})
    data = caller.ask("9", planted, 7).json()["data"]
    assert ([status["requestId"] for status in data["statuses"]], data["requestIdsNotFound"]) == ([planted], [7, 9])


def test_when_no_id_is_known_the_whole_query_is_not_found(caller: DocumentsCaller) -> None:
    assert problem(caller.ask(7, 9)) == (404, "Not Found", "Upload Request Async Status Not Found")


@pytest.mark.parametrize(("reported", "expected"), [("always", (True, True)), ("when_any", (False, True))])
def test_the_list_of_unknown_ids_may_be_missing(
    caller: DocumentsCaller, control: Control, reported: str, expected: tuple[bool, bool]
) -> None:
    (planted,) = plant(control, {})
    control.turn("documents", not_found_reported=reported)
    answers = [caller.ask(planted).json()["data"], caller.ask(planted, 7).json()["data"]]
    assert tuple("requestIdsNotFound" in data for data in answers) == expected
    control.turn("documents", not_found_reported="never")
    assert set(caller.ask(planted, 7).json()["data"]) == {"statuses"}


def test_statuses_of_other_ids(caller: DocumentsCaller, control: Control) -> None:
    ids = plant(control, {"count": 4})
    control.turn("documents", unrequested=2)
    ids_seen = [status["requestId"] for status in caller.ask(ids[0]).json()["data"]["statuses"]]
    assert (ids_seen[0], len(ids_seen), len(set(ids_seen))) == (ids[0], 3, 3)


@pytest.mark.parametrize(
    "body",
    [{}, [], {"data": []}, {"data": {}}, *({"data": {"requestIds": ids}} for ids in ([], 7, ["x"], [None], [0]))],
)
def test_a_query_in_any_other_form_is_refused(caller: DocumentsCaller, body: Any) -> None:
    assert problem(caller.ask_with(body))[0] == 400


def test_the_internal_step_is_shown_only_on_request(caller: DocumentsCaller, control: Control) -> None:
    planted = over(control, "ok")
    answer = caller.ask(planted, includeInternalOnlyStepStatuses="true")
    (status,) = answer.json()["data"]["statuses"]
    assert [step["name"] for step in status["steps"]] == [CE, BGS, "REMOVE_FILE_BINARY"]
    assert (status["status"], status["steps"][1]["nextStepName"]) == ("SUCCESS", "REMOVE_FILE_BINARY")
    assert "REMOVE_FILE_BINARY" not in steps(caller.status(planted))


def test_one_upload_can_be_queried_by_itself(caller: DocumentsCaller, control: Control) -> None:
    planted = over(control, "ok")
    assert caller.ask_one(planted).json() == {"data": caller.status(planted)}
    assert problem(caller.ask_one(7))[:2] == (404, "Not Found")


# -- which plan an upload goes by ------------------------------------------------------


@pytest.mark.parametrize(
    ("knobs", "changes", "plan"),
    [
        ({}, {}, "ok"),
        ({}, {"fileName": "letter plan-stuck-at-bgs.pdf"}, "stuck_at_bgs"),
        ({}, {"participantId": with_documents("fails_at_bgs").participant_id}, "fails_at_bgs"),
        ({"plan": "stuck"}, {}, "stuck"),
        ({"plan": "stuck"}, {"participantId": ..., "fileNumber": with_file_number_only().file_number}, "stuck"),
        ({"plans": {"L228": "stuck"}}, {"docType": "L228"}, "stuck"),
        ({"plans": {"x-ray": "seconds"}, "plan": "stuck"}, {"fileName": "my x-ray.png"}, "seconds"),
    ],
)
def test_a_plan_is_chosen_by_file_type_or_name_or_veteran(
    caller: DocumentsCaller, control: Control, knobs: dict[str, Any], changes: dict[str, Any], plan: str
) -> None:
    control.turn("documents", **knobs)
    caller.uploaded(**changes)
    assert [upload["plan"] for upload in control.call("GET", "documents", "uploads")] == [plan]


# -- the admin API ----------------------------------------------------------------------


def test_an_upload_can_be_moved_changed_and_forgotten(caller: DocumentsCaller, control: Control) -> None:
    (planted,) = plant(control, {"step_seconds": 3600})
    moved = control.call("PATCH", "documents", f"uploads/{planted}", json={"steps_done": 1})
    assert (moved["state"], moved["steps_behind"]) == ("IN_PROGRESS", 1)
    control.call("PATCH", "documents", f"uploads/{planted}", json={"steps_done": 2, "plan": "fails_at_bgs"})
    assert caller.status(planted)["status"] == "FAILED"
    control.call("PATCH", "documents", f"uploads/{planted}", json={"steps_done": None, "age_seconds": 9})
    assert caller.status(planted)["status"] == "IN_PROGRESS"
    control.call("DELETE", "documents", f"uploads/{planted}")
    assert caller.ask(planted).status_code == 404


def test_many_can_be_narrowed_down_moved_and_forgotten_at_once(control: Control) -> None:
    old = plant(control, {"doc_type": "L228", "count": 2}, {"claim_id": 7})[:2]
    changed = control.call("PATCH", "documents", "uploads", params={"doc_type": "L228"}, json={"steps_done": 2})
    assert changed["ids"] == old
    listed = control.call("GET", "documents", "uploads", params={"state": "IN_PROGRESS"})
    assert [upload["claim_id"] for upload in listed] == [7]
    control.call("DELETE", "documents", "uploads", params={"claim_id": "7"})
    assert [upload["id"] for upload in control.call("GET", "documents", "uploads")] == old


def test_changing_the_pace_moves_no_upload_that_is_on_its_way(caller: DocumentsCaller, control: Control) -> None:
    before = caller.uploaded()
    control.turn("documents", step_seconds=0)
    assert [caller.status(each)["status"] for each in (before, caller.uploaded())] == ["IN_PROGRESS", "SUCCESS"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "uploads", {"plan": "none such"}),
        ("POST", "uploads", {"unheard": 1}),
        ("POST", "uploads", 7),
        ("PATCH", "uploads/7", {}),
        ("PATCH", "uploads", {"claim_id": 7}),
        ("DELETE", "uploads/7", None),
        ("GET", "uploads?unheard=1", None),
        ("POST", "knobs", {"plan": "none such"}),
        ("POST", "knobs", {"plans": {"L228": "none such"}}),
        ("POST", "knobs", {"not_found_reported": "sometimes"}),
        ("POST", "knobs", {"error_family": "none such"}),
    ],
)
def test_an_admin_call_that_makes_no_sense_is_refused(control: Control, method: str, path: str, body: Any) -> None:
    with pytest.raises(Refused, match="400"):
        control.call(method, "documents", path, json=body)


def test_ten_thousand_are_added_fast_and_a_hundred_reported_in_milliseconds(
    caller: DocumentsCaller, control: Control
) -> None:
    began = time.process_time()
    count = 10_000 // len(PLANS) + 1
    ids = plant(control, *({"plan": plan, "count": count, "steps_done": 9} for plan in PLANS))
    planted = time.process_time() - began

    def answered() -> float:
        began = time.process_time()
        assert len(caller.ask(*ids[:10_000:100]).json()["data"]["statuses"]) == 100
        return time.process_time() - began

    assert len(ids) >= 10_000
    # Whatever else this process does meanwhile, it does not do it three times.
    assert (planted < 3, min(answered() for _ in range(3)) < 0.1) == (True, True)
