"""The fake 526 service against its assumed interface (docs/assumptions.md)."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from sandbox.faults import Control
from sandbox.upstreams.scenarios import with_habit
from sandbox.upstreams.serve import Upstreams

ADA = with_habit("ok")
FORM = {"veteran": {"phone": {"areaCode": "555"}}, "disabilities": [{"name": "knee"}]}


class Submitter:
    """Knows only the wire and the key."""

    def __init__(self, http: requests.Session, upstreams: Upstreams) -> None:
        self.http, self.base = http, upstreams["form526"]
        self.headers = {"x-api-key": upstreams.fakes.settings.form526_api_key}

    def submit(self, reference: str, **changes: Any) -> requests.Response:
        body = {"reference": reference, "icn": ADA.icn, "form526": FORM} | changes
        return self.http.post(f"{self.base}/submissions", json=body, headers=self.headers)

    def find(self, reference: str) -> requests.Response:
        return self.http.get(f"{self.base}/submissions/{reference}", headers=self.headers)


@pytest.fixture
def submitter(http: requests.Session, upstreams: Upstreams) -> Submitter:
    return Submitter(http, upstreams)


@pytest.fixture
def reference() -> str:
    return str(uuid.uuid4())


def error(answer: requests.Response) -> tuple[int, str, str]:
    """HTTP status, title and code of an error, whose shape is checked on the way."""
    (only,) = answer.json()["errors"]
    assert set(only) == {"title", "detail", "code", "status"}
    assert only["status"] == str(answer.status_code)
    return answer.status_code, only["title"], only["code"]


def test_a_form_that_is_taken_has_a_claim_number(submitter: Submitter, control: Control, reference: str) -> None:
    answer = submitter.submit(reference)
    claim_id = answer.json()["claimId"]
    assert (answer.status_code, set(answer.json()), type(claim_id)) == (201, {"claimId"}, int)
    assert 600_000_000 <= claim_id < 1_000_000_000
    (held,) = control.call("GET", "form526", "submissions", params={"reference": reference})
    assert (held["icn"], held["form526"], held["claim_id"]) == (ADA.icn, FORM, claim_id)


def test_it_is_found_by_its_reference(submitter: Submitter, reference: str) -> None:
    claim_id = submitter.submit(reference).json()["claimId"]
    answer = submitter.find(reference)
    assert (answer.status_code, answer.json()) == (200, {"reference": reference, "claimId": claim_id})
    assert submitter.find(reference.upper()).json() == answer.json()


def test_an_unknown_reference_is_not_found(submitter: Submitter, reference: str) -> None:
    assert error(submitter.find(reference)) == (404, "Not Found", "404")


def test_a_known_reference_is_a_duplicate(submitter: Submitter, control: Control, reference: str) -> None:
    claim_id = submitter.submit(reference).json()["claimId"]
    assert error(submitter.submit(reference)) == (409, "Duplicate", "DUPLICATE")
    assert error(submitter.submit(reference.upper(), form526={"other": 1})) == (409, "Duplicate", "DUPLICATE")
    assert submitter.find(reference).json()["claimId"] == claim_id
    assert len(control.call("GET", "form526", "submissions")) == 1


def test_of_simultaneous_submissions_one_is_taken(submitter: Submitter, reference: str) -> None:
    with ThreadPoolExecutor(8) as hands:
        statuses = [answer.status_code for answer in hands.map(submitter.submit, [reference] * 8)]
    assert sorted(statuses) == [201] + [409] * 7


def test_it_can_be_made_to_take_a_reference_twice(submitter: Submitter, control: Control, reference: str) -> None:
    control.turn("form526", duplicates=False)
    claims = [submitter.submit(reference).json()["claimId"] for _ in range(2)]
    assert len(set(claims)) == 2
    assert submitter.find(reference).json()["claimId"] == claims[0]


@pytest.mark.parametrize("refused", ["", "knee"])
def test_forms_can_be_refused(submitter: Submitter, control: Control, reference: str, refused: str) -> None:
    control.turn("form526", refuse_with=refused)
    assert error(submitter.submit(reference)) == (422, "Unprocessable Entity", "422")
    assert submitter.find(reference).status_code == 404
    other = submitter.submit(str(uuid.uuid4()), form526={"disabilities": [{"name": "back"}]})
    assert other.status_code == (201 if refused else 422)


def test_an_unknown_veteran_is_refused(submitter: Submitter, reference: str) -> None:
    assert error(submitter.submit(reference, icn="1V1"))[0] == 422


@pytest.mark.parametrize(
    "changes",
    [{"reference": "7"}, {"reference": None}, {"icn": None}, {"icn": ""}, {"form526": {}}, {"form526": [FORM]}],
    ids=str,
)
def test_a_submission_in_any_other_form_is_refused(
    submitter: Submitter, control: Control, reference: str, changes: dict[str, Any]
) -> None:
    assert error(submitter.submit(**{"reference": reference} | changes))[0] == 400
    assert control.call("GET", "form526", "submissions") == []


@pytest.mark.parametrize(("headers", "status"), [({}, 401), ({"x-api-key": "wrong"}, 403)])
def test_without_the_key_nothing_is_answered(
    submitter: Submitter, reference: str, headers: dict[str, str], status: int
) -> None:
    submitter.headers = headers
    assert error(submitter.submit(reference))[0] == error(submitter.find(reference))[0] == status


def test_an_unknown_path_never_looks_like_no_submission(submitter: Submitter, reference: str) -> None:
    submitter.base += "/typo"
    answer = submitter.find(reference)
    assert (answer.status_code, answer.json()) == (404, {"message": "Not Found"})


def test_a_fault_is_answered_in_the_services_own_words(submitter: Submitter, control: Control, reference: str) -> None:
    control.set("form526", "status", status=503, times=1)
    assert error(submitter.submit(reference)) == (503, "Service Unavailable", "503")
    control.set("form526", "drop", times=1)
    with pytest.raises(requests.ConnectionError):
        submitter.submit(reference)
    assert submitter.find(reference).status_code == 200
