"""Keys are converted between the two spellings and come back unchanged (contract: frontend 1.5)."""

import json

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from flaskapp.web.inflection import answer, to_camel, to_snake, with_keys

KNOWN = [
    ("setECheckinStartedCalled", "set_e_checkin_started_called"),
    ("nextOfKin1", "next_of_kin1"),
    ("street1", "street1"),
    ("zip4", "zip4"),
    ("patientDFN", "patientDFN"),
    ("appointmentIEN", "appointmentIEN"),
    ("appointmentIen", "appointment_ien"),
    ("patientCheckIns", "patient_check_ins"),
    ("isTravelEnabled", "is_travel_enabled"),
    ("form526", "form526"),
    ("intentToFile", "intent_to_file"),
    ("checkInWindowStart", "check_in_window_start"),
    ("uuid", "uuid"),
]

snake_keys = st.from_regex(r"[a-z][a-z0-9]*(_[a-z][a-z0-9]*)*", fullmatch=True)
camel_keys = st.from_regex(r"[a-z][a-z0-9]*([A-Z][a-z0-9]*)*", fullmatch=True)


@pytest.mark.parametrize(("camel", "snake"), KNOWN)
def test_a_known_key_converts_both_ways(camel, snake):
    assert to_snake(camel) == snake
    assert to_camel(snake) == camel


@given(snake_keys)
def test_every_snake_key_comes_back_from_camel(key):
    assert to_snake(to_camel(key)) == key


@given(camel_keys)
def test_every_camel_key_comes_back_from_snake(key):
    assert to_camel(to_snake(key)) == key


@given(snake_keys)
def test_a_snake_key_in_a_request_stays(key):
    assert to_snake(key) == key


def test_keys_convert_at_every_depth_and_values_never():
    value = {"travel_claims": [{"claim_status": "in_process", "zip4": 7}], "a_b": None}
    assert with_keys(value, to_camel) == {"travelClaims": [{"claimStatus": "in_process", "zip4": 7}], "aB": None}


@pytest.mark.parametrize(
    ("header", "key"),
    [("camel", "claimStatus"), ("CAMEL", "claimStatus"), ("snake", "claim_status"), (None, "claim_status")],
)
def test_an_answer_is_spelled_as_the_request_header_says(header, key):
    app = Flask(__name__)
    with app.test_request_context(headers={"X-Key-Inflection": header} if header else {}):
        response = answer({"claim_status": "in_process"}, 201)
    assert json.loads(response.data) == {key: "in_process"}
    assert (response.status_code, response.content_type) == (201, "application/json")
