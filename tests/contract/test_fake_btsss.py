"""The fake BTSSS against every row of the submit table, and the traps between them (contract: travel 4.1)."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
import requests

from sandbox.faults import Control, Refused
from sandbox.upstreams.cast import Veteran
from sandbox.upstreams.scenarios import with_habit
from sandbox.upstreams.serve import Upstreams, running_upstreams
from sandbox.upstreams.settings import FakeSettings
from tests.contract.claim_wire import DAY, Caller

STAMP = re.compile(r"\[\d{2}/\d{2}/\d{4} \d{2}:\d{2}:\d{2} [AP]M\]")


@pytest.fixture
def caller(http: requests.Session, upstreams: Upstreams) -> Caller:
    return Caller(http, upstreams)


@pytest.fixture
def veteran() -> Veteran:
    return with_habit("ok")


def test_a_first_submit_is_filed_with_a_claim_number(caller: Caller, veteran: Veteran) -> None:
    answer = caller.submit(veteran.icn)
    assert answer.status_code == 200
    assert re.fullmatch(r"TC\d{15}", answer.json()["claimNumber"])


def test_the_older_form_wraps_the_number(caller: Caller, veteran: Veteran, control: Control) -> None:
    control.turn("btsss", number_in="value")
    body = caller.submit(veteran.icn).json()
    assert re.fullmatch(r"TC\d{15}", body.pop("value")["claimNumber"])
    assert body == {"formatters": [], "contentTypes": [], "declaredType": None, "statusCode": 200}


def test_a_number_may_be_left_out(caller: Caller, veteran: Veteran, control: Control) -> None:
    control.turn("btsss", number_in="nowhere")
    answer = caller.submit(veteran.icn)
    assert (answer.status_code, answer.json()) == (200, {})
    assert len(caller.status(veteran.icn)) == 1
    with pytest.raises(Refused, match="number_in"):
        control.turn("btsss", number_in="somewhere")


def test_a_date_time_is_filed_on_its_day(caller: Caller, veteran: Veteran) -> None:
    filed = caller.submit(veteran.icn, f"{DAY}T09:30:00").json()["claimNumber"]
    assert [claim["claimNum"] for claim in caller.status(veteran.icn)] == [filed]


def test_a_second_submit_for_the_day_is_a_duplicate(caller: Caller, veteran: Veteran) -> None:
    caller.submit(veteran.icn)
    answer = caller.submit(veteran.icn)
    body = answer.json()
    assert answer.status_code == 400
    assert set(body) == {"currentDate", "message"}
    assert STAMP.fullmatch(body["currentDate"])
    assert re.fullmatch(r"03/04/2031 ?:.*already has a claim.*", body["message"])


def test_another_day_is_another_claim(caller: Caller, veteran: Veteran) -> None:
    first, second = caller.submit(veteran.icn), caller.submit(veteran.icn, "2031-03-05")
    assert first.json()["claimNumber"] != second.json()["claimNumber"]


def test_two_appointments_on_a_day_are_refused(caller: Caller, upstreams: Upstreams) -> None:
    several = next(each for each in upstreams.fakes.cast.everybody() if len(each.appointments) > 1)
    answer = caller.submit(several.icn)
    assert answer.status_code == 400
    assert re.fullmatch(r"03/04/2031 ?:.*multiple appointments.*", answer.json()["message"])


@pytest.mark.parametrize("icn", ["9999999999V999999", with_habit("not_found").icn])
def test_an_unknown_appointment_is_not_found(caller: Caller, icn: str) -> None:
    answer = caller.submit(icn)
    assert (answer.status_code, answer.json()["message"]) == (404, "Appointment not found.")
    assert STAMP.fullmatch(answer.json()["currentDate"])


def test_an_appointment_on_another_day_is_not_found(caller: Caller, control: Control) -> None:
    added = control.call("POST", "lorota", "veterans", json={"appointments": [{"day": "2031-03-05"}]})
    assert caller.submit(added["icn"]).status_code == 404
    assert caller.submit(added["icn"], "2031-03-05").status_code == 200


@pytest.mark.parametrize(
    ("outcome", "status", "words"),
    [
        ("duplicate", 400, "already has a claim"),
        ("multiple", 400, "multiple appointments"),
        ("not_found", 404, "Appointment not found."),
        ("refused", 400, "Appointment not found"),
        ("unauthorized", 401, "Unauthorized"),
        ("timeout", 408, "timeout"),
        ("error", 500, "error"),
    ],
)
def test_a_planned_outcome_comes_as_often_as_planned(
    caller: Caller, control: Control, veteran: Veteran, outcome: str, status: int, words: str
) -> None:
    control.call("POST", "btsss", "outcomes", json={"icn": veteran.icn, "outcome": outcome, "times": 1})
    answer = caller.submit(veteran.icn)
    assert answer.status_code == status
    assert words in answer.json()["message"]
    assert caller.status(veteran.icn) == []
    assert caller.submit(veteran.icn).status_code == 200


def test_a_server_error_holds_only_a_message(caller: Caller, control: Control, veteran: Veteran) -> None:
    control.call("POST", "btsss", "outcomes", json={"icn": veteran.icn, "outcome": "error"})
    assert list(caller.submit(veteran.icn).json()) == ["message"]


@pytest.mark.parametrize("path", ["submitclaim", "V1/GetClaimsStatus"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer made-up"},
        {"Authorization": ""},
        {"Ocp-Apim-Subscription-Key": "wrong"},
    ],
)
def test_a_wrong_token_or_key_is_unauthorized(
    caller: Caller, veteran: Veteran, path: str, headers: dict[str, str]
) -> None:
    caller.headers |= headers
    answer = caller.post(path, caller.submit_body(veteran.icn))
    assert (answer.status_code, answer.json()["statusCode"]) == (401, 401)
    assert answer.json()["message"].startswith("Unauthorized")


@pytest.mark.parametrize("operation", ["submitclaim", "GetClaimsStatus"])
def test_a_token_can_expire_early_and_stays_dead(
    caller: Caller, control: Control, veteran: Veteran, operation: str
) -> None:
    control.set("btsss", "expire", operation=operation, times=1)
    path = "V1/GetClaimsStatus" if operation == "GetClaimsStatus" else operation
    assert caller.post(path, caller.status_body(veteran.icn)).status_code == 401
    assert caller.submit(veteran.icn).status_code == 401


def test_production_requires_both_subscription_keys(veteran: Veteran) -> None:
    known = FakeSettings(btsss_subscription_keys=("east", "south"))
    with running_upstreams(known) as upstreams, requests.Session() as http:
        caller = Caller(http, upstreams)
        caller.headers |= {"Ocp-Apim-Subscription-Key": "east"}
        assert caller.submit(veteran.icn).status_code == 401
        caller.headers |= {"Ocp-Apim-Subscription-Key-E": "east", "Ocp-Apim-Subscription-Key-S": "south"}
        assert caller.submit(veteran.icn).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"ClientNumber": None},
        {"ClaimantID": None},
        {"ClaimantIDType": None},
        {"ClaimantIDType": "edipi"},
        {"Appointment": None},
        {"Appointment": {"AppointmentDateTime": "tomorrow"}},
        {"MileageExpense": {}},
        {"MileageExpense": {"TripType": "Both"}},
        {"ClientNumber": "9999"},
    ],
)
def test_a_malformed_submit_is_refused_and_not_filed(caller: Caller, veteran: Veteran, changes: dict[str, Any]) -> None:
    answer = caller.post("submitclaim", caller.submit_body(veteran.icn) | changes)
    assert answer.status_code == 400
    assert set(answer.json()) == {"currentDate", "message"}
    assert caller.status(veteran.icn) == []


def test_oracle_health_has_its_own_client_number(caller: Caller) -> None:
    body = caller.submit_body(with_habit("ok", "oh").icn) | {"ClientNumber": caller.known.btsss_client_number_oh}
    assert caller.post("submitclaim", body).status_code == 200


def test_what_was_received_and_filed_can_be_read(caller: Caller, control: Control, veteran: Veteran) -> None:
    caller.submit(veteran.icn)
    caller.submit(veteran.icn)
    received = control.received("btsss", "submitclaim")
    assert [entry["status"] for entry in received] == [200, 400]
    assert all(entry["body"]["ClaimantID"] == veteran.icn for entry in received)
    (claim,) = control.call("GET", "btsss", "claims", params={"icn": veteran.icn})
    accepted = datetime.fromisoformat(claim["accepted_at"])
    assert datetime.fromisoformat(received[0]["at"]) <= accepted
    assert accepted <= datetime.fromisoformat(received[0]["answered_at"])


def test_a_reset_forgets_claims_outcomes_and_what_was_received(
    caller: Caller, control: Control, veteran: Veteran
) -> None:
    caller.submit(veteran.icn)
    control.call("POST", "btsss", "outcomes", json={"icn": veteran.icn, "outcome": "refused"})
    control.call("POST", "btsss", "reset")
    assert control.received("btsss") == []
    assert caller.submit(veteran.icn).status_code == 200


def test_a_hundred_submits_at_once_file_one_claim(upstreams: Upstreams, veteran: Veteran) -> None:
    def once(_: int) -> int:
        with requests.Session() as session:
            return Caller(session, upstreams).submit(veteran.icn).status_code

    with ThreadPoolExecutor(20) as hands:
        statuses = list(hands.map(once, range(100)))
    assert sorted(statuses) == [200] + [400] * 99


@pytest.mark.parametrize(
    ("scenario", "words"), [("duplicate", "already has a claim"), ("refused", "Appointment not found")]
)
def test_a_scenario_gives_everybody_a_habit(
    caller: Caller, control: Control, veteran: Veteran, scenario: str, words: str
) -> None:
    control.play("btsss", scenario)
    assert words in caller.submit(veteran.icn).json()["message"]
    control.play("btsss", "ok")
    assert caller.submit(veteran.icn, "2031-03-05").status_code == 200
