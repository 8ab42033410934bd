"""Arbitrary answers to uploads and status queries: no exception but ours, no success that was not said, and no id lost.

Every run tries the same answers; `PROPERTY_EXAMPLES=20000` tries that many new ones instead.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import requests_mock
from hypothesis import given, settings
from hypothesis import strategies as st

from flaskapp.upstreams.errors import UpstreamError
from flaskapp.upstreams.lighthouse.documents import LighthouseDocumentsClient
from flaskapp.upstreams.lighthouse.statuses import STATES, Statuses, read_statuses
from flaskapp.upstreams.transport.http import HTTP
from tests.unit.documents import BGS, CE, document
from tests.unit.upstream_settings import NOWHERE, Tokens
from tests.unit.upstream_settings import settings as configured

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "0"))
KEYS = [
    *("data", "statuses", "requestIdsNotFound", "requestId", "status", "time", "startTime", "endTime"),
    *("steps", "name", "error", "detail", "step", "success", "errors"),
]
REQUESTED = (1, 2, 3)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(0, 5),
    st.integers(),
    st.floats(),
    st.text(st.sampled_from("ab \x00\u202e薬٣1"), max_size=5),
    st.sampled_from(["1", "2", "SUCCESS", "success", "FAILED", "IN_PROGRESS", CE, BGS, 1893456000, 1893456000123]),
)
flat = scalars | st.lists(scalars, max_size=3)
anything = flat | st.dictionaries(st.sampled_from(KEYS), flat, max_size=3)


def nearly(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What the contract says, or now and then anything at all."""
    return st.one_of(strategy, strategy, strategy, anything)


words = nearly(st.sampled_from(["SUCCESS", "FAILED", "IN_PROGRESS", "NOT_STARTED"]))
ids = nearly(st.integers(1, 4) | st.sampled_from(["1", "2", "3"]))
times = nearly(st.integers(1_893_456_000, 1_893_457_000) | st.integers(1_893_456_000_000, 1_893_457_000_000))
steps = nearly(st.fixed_dictionaries({"name": nearly(st.sampled_from([CE, BGS])), "status": words}))
entries = nearly(
    st.fixed_dictionaries(
        {"requestId": ids, "status": words},
        optional={
            "time": nearly(st.fixed_dictionaries({"startTime": times}, optional={"endTime": times})),
            "steps": nearly(st.lists(steps, max_size=2)),
            "error": nearly(st.fixed_dictionaries({"detail": anything, "step": words})),
        },
    )
)
answers = nearly(
    st.fixed_dictionaries(
        {
            "data": nearly(
                st.fixed_dictionaries(
                    {"statuses": nearly(st.lists(entries, max_size=4))},
                    optional={"requestIdsNotFound": nearly(st.lists(ids, max_size=2))},
                )
            )
        }
    )
)


def profile(examples: int) -> settings:
    return settings(max_examples=EXAMPLES or examples, derandomize=not EXAMPLES, database=None, deadline=None)


def said_of(payload: Any, request_id: int) -> set[Any]:
    """Every status word that the answer gives for this id."""
    given = payload["data"]["statuses"]
    return {
        json.dumps(entry.get("status"))
        for entry in given
        if isinstance(entry, dict) and not isinstance(entry.get("requestId"), bool | float)
        if str(entry.get("requestId")).lstrip("0") == str(request_id)
    }


def check(payload: Any, got: Statuses) -> None:
    sets = [frozenset(got.found), got.not_found, got.unreadable]
    assert sorted(request_id for ids in sets for request_id in ids) == list(REQUESTED)
    for request_id, status in got.found.items():
        (word,) = said_of(payload, request_id)
        delivered = all(status.step_states.get(step) == "SUCCESS" for step in (CE, BGS))
        said = STATES.get(json.loads(word), "unknown")
        assert status.state == said or (status.state == "success" and delivered and said != "unknown")
        assert all(timestamp is None or timestamp.tzinfo for timestamp in (status.started_at, status.ended_at))
        texts = [status.failed_step, status.error, *status.step_states, *status.step_states.values()]
        assert all(text is None or text.isprintable() for text in texts)
    if got.not_found:
        named = payload["data"]["requestIdsNotFound"]
        assert got.not_found <= {int(value) for value in named if isinstance(value, int | str) and str(value).isdigit()}


@profile(100)
@given(answers)
def test_every_id_has_one_result_and_no_success_is_made_up(payload: Any) -> None:
    check(payload, read_statuses(payload, REQUESTED))


@pytest.fixture(scope="module")
def client() -> LighthouseDocumentsClient:
    return LighthouseDocumentsClient(configured(), HTTP(10), Tokens())


@profile(25)
@given(status=st.sampled_from([200, 200, 200, 200, 201, 400, 401, 404, 413, 429, 500]), payload=answers)
def test_a_status_query_ends_in_statuses_or_in_one_of_the_six_errors(
    client: LighthouseDocumentsClient, status: int, payload: Any
) -> None:
    with requests_mock.Mocker() as wire:
        wire.post(f"{NOWHERE}/services/benefits-documents/v1/uploads/status", status_code=status, json=payload)
        try:
            got = client.statuses(REQUESTED)
        except UpstreamError:
            assert status != 200 or payload is None
            return
    assert status == 200
    check(payload, got)


@profile(25)
@given(
    status=st.sampled_from([200, 200, 200, 200, 201, 400, 401, 404, 413, 429, 500]),
    payload=nearly(
        st.fixed_dictionaries({"data": nearly(st.fixed_dictionaries({"success": words, "requestId": ids}))})
    ),
)
def test_an_upload_ends_in_the_id_of_the_answer_or_in_one_of_the_six_errors(
    client: LighthouseDocumentsClient, status: int, payload: Any
) -> None:
    with requests_mock.Mocker() as wire:
        wire.post(f"{NOWHERE}/services/benefits-documents/v1/documents", status_code=status, json=payload)
        try:
            request_id = client.upload(document(size=1), lambda: [b"x"], lambda: None)
        except UpstreamError:
            return
    assert status == 200 and str(payload["data"]["requestId"]).lstrip("0") == str(request_id)
    assert payload["data"].get("success", True) is True
