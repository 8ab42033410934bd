"""The fake VANotify: tokens (contract: travel 6.1), schema (contract: travel 6.2), refusals (contract: travel 6.3)."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest
import requests

from sandbox.faults import Control
from sandbox.upstreams.scenarios import with_habit
from sandbox.upstreams.serve import Upstreams
from sandbox.upstreams.templates import EMAIL, EMAILS, TEMPLATE_IDS, TEXTS
from tests.contract.notify_wire import TEXT, VALUES, Sender, errors

NOTIFICATION_KINDS = ("created", "duplicate", "error", "unconfirmed", "denied")
CREATED = {
    "id",
    "reference",
    "uri",
    "template",
    "content",
    "billing_code",
    "scheduled_for",
    "callback_url",
}


@pytest.fixture
def sender(http: requests.Session, upstreams: Upstreams) -> Sender:
    return Sender(http, upstreams)


def test_there_is_a_text_for_every_kind_at_both_kinds_of_facility() -> None:
    assert set(TEXTS) == {
        f"{facility}.{notification}" for facility in ("cie", "oh") for notification in NOTIFICATION_KINDS
    }
    assert all(template.placeholders for template in TEXTS.values())


def test_there_is_an_email_for_every_kind_that_is_sent_by_email() -> None:
    assert {key: template.placeholders for key, template in EMAILS.items()} == {
        "itf.confirmed": ["effective_date", "expiration_date"],
        "itf.confirmed_late": ["asked_date", "recorded_date"],
        "itf.failed": ["asked_date"],
        "itf.unconfirmed": ["asked_date"],
        "form526.accepted": ["submitted_date", "claim_id"],
        "form526.failed": ["submitted_date"],
        "form526.unconfirmed": ["submitted_date"],
        "form526.document_failed": ["submitted_date", "file_name"],
        "form526.document_missing": ["submitted_date", "file_name"],
        "form526.document_unconfirmed": ["submitted_date", "file_name"],
        "form526.document_incomplete": ["submitted_date", "file_name"],
        "form526.document_arrived": ["submitted_date", "file_name"],
        "travel_pay.submitted": ["appt_date", "claim_number"],
        "travel_pay.duplicate": ["appt_date"],
        "travel_pay.failed": ["appt_date"],
        "travel_pay.unfinished": ["appt_date"],
        "travel_pay.unconfirmed": ["appt_date"],
    }
    assert all((template.channel, bool(template.subject)) == ("email", True) for template in EMAILS.values())


def test_the_product_knows_every_template_once() -> None:
    assert {key: template.id for key, template in (TEXTS | EMAILS).items()} == TEMPLATE_IDS
    assert len(set(TEMPLATE_IDS.values())) == 27


def answer_to(sender: Sender, authorization: str | None) -> requests.Response:
    headers = {"Authorization": authorization} if authorization is not None else {}
    return sender.http.post(f"{sender.base}/v2/notifications/sms", json=sender.text_body(), headers=headers)


@pytest.mark.parametrize("authorization", [None, "", "Basic c3VyZWZpbGU6eA=="])
def test_no_bearer_token_is_a_401(sender: Sender, authorization: str | None) -> None:
    status, error, _ = errors(answer_to(sender, authorization))
    assert (status, error) == (401, "AuthError")


def test_what_is_not_a_token_is_a_403(sender: Sender) -> None:
    status, error, message = errors(answer_to(sender, "Bearer not.a.token"))
    assert (status, error) == (403, "AuthError")
    assert message.startswith("Invalid token:")


@pytest.mark.parametrize("changes", [{"iss": str(uuid.uuid4())}, {"iss": None}, {"iat": None}])
def test_a_token_with_wrong_claims_is_a_403(sender: Sender, changes: dict[str, Any]) -> None:
    status, error, message = errors(answer_to(sender, f"Bearer {sender.token(**changes)}"))
    assert (status, error) == (403, "AuthError")
    assert message.startswith("Invalid token:")


def test_a_token_signed_with_another_key_is_a_403(sender: Sender) -> None:
    header, claims, _ = sender.token().split(".")
    _, _, other = sender.token(iat=1).split(".")
    status, error, message = errors(answer_to(sender, f"Bearer {header}.{claims}.{other}"))
    assert (status, error) == (403, "AuthError")
    assert message.startswith("Invalid token: signature")


@pytest.mark.parametrize(("seconds", "status"), [(-35, 403), (35, 403), (-20, 201), (20, 201)])
def test_a_clock_may_be_off_by_thirty_seconds_both_ways(sender: Sender, seconds: int, status: int) -> None:
    answer = answer_to(sender, f"Bearer {sender.token(iat=int(time.time()) + seconds)}")
    assert answer.status_code == status
    assert status == 201 or "within 30 seconds" in errors(answer)[2]


def test_a_revoked_key_is_a_403(sender: Sender, control: Control) -> None:
    control.turn("va_notify", key_revoked=True)
    assert errors(sender.text())[:2] == (403, "AuthError")


def test_an_accepted_text_answers_201_as_the_contract_shows(sender: Sender) -> None:
    answer = sender.text()
    body = answer.json()
    assert answer.status_code == 201
    assert set(body) == CREATED
    assert body["reference"] == "outbox-42"
    assert body["uri"] == f"{sender.base}/v2/notifications/{body['id']}"
    assert body["template"]["id"] == TEXT.id
    assert f"/services/{sender.known.vanotify_service_id}/templates/" in body["template"]["uri"]
    assert "<redacted>" in body["content"]["body"]
    assert VALUES["claim_number"] not in answer.text
    assert body["content"]["from_number"].startswith("+1")


def test_an_accepted_email_shows_its_subject(sender: Sender) -> None:
    answer = sender.email()
    assert answer.status_code == 201
    assert set(answer.json()["content"]) == {"body", "subject"}


def test_the_same_reference_twice_is_two_messages(sender: Sender) -> None:
    assert sender.text().json()["id"] != sender.text().json()["id"]
    assert len(sender.search(reference="outbox-42")["notifications"]) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"template_id": ...}, "template_id is a required property"),
        ({"template_id": "cie.created"}, "template_id is not a valid UUID"),
        ({"phone_number": ...}, "phone_number or recipient identifier"),
        ({"phone_number": "12"}, "Not a valid number"),
        ({"colour": "red", "size": 4}, "Additional properties are not allowed (colour, size was unexpected)"),
        ({"personalisation": "all"}, "personalisation"),
        ({"reference": 42}, "reference"),
        ({"sms_sender_id": "me"}, "sms_sender_id is not a valid UUID"),
        ({"billing_code": "x" * 257}, "billing_code is too long"),
        ({"callback_url": "http://plain.example/callbacks"}, "callback_url is not a valid URI"),
        ({"callback_url": "https://far.example/" + "x" * 250}, "callback_url is too long"),
        ({"recipient_identifier": {"id_type": "SSN", "id_value": "1"}}, "SSN is not one of"),
        ({"recipient_identifier": {"id_type": "ICN"}}, "recipient_identifier"),
        ({"email_address": "ada@example.com"}, "email_address was unexpected"),
    ],
)
def test_a_text_that_breaks_the_schema_is_a_validation_error(
    sender: Sender, changes: dict[str, Any], words: str
) -> None:
    status, error, message = errors(sender.text(**changes))
    assert (status, error) == (400, "ValidationError")
    assert words in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"email_address": "nobody"}, "Not a valid email address"),
        ({"email_address": ...}, "email_address or recipient identifier"),
        ({"sms_sender_id": str(uuid.uuid4())}, "sms_sender_id was unexpected"),
    ],
)
def test_an_email_that_breaks_the_schema_is_a_validation_error(
    sender: Sender, changes: dict[str, Any], words: str
) -> None:
    status, error, message = errors(sender.email(**changes))
    assert (status, error) == (400, "ValidationError")
    assert words in message


def test_several_faults_are_several_errors(sender: Sender) -> None:
    answer = sender.text(template_id="x", phone_number="y")
    assert len(answer.json()["errors"]) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"template_id": str(uuid.uuid4())}, "Template not found"),
        ({"template_id": EMAIL.id}, "not suitable for sms"),
        ({"personalisation": {"claim_number": "1"}}, "Missing personalisation: appt_date"),
        ({"personalisation": ...}, "Missing personalisation: claim_number, appt_date"),
        ({"sms_sender_id": str(uuid.uuid4())}, "sms_sender_id"),
        ({"scheduled_for": "2031-03-04T10:00:00"}, "schedule"),
    ],
)
def test_what_the_service_does_not_have_is_a_bad_request(sender: Sender, changes: dict[str, Any], words: str) -> None:
    status, error, message = errors(sender.text(**changes))
    assert (status, error) == (400, "BadRequestError")
    assert words in message


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"channels": ["email"]}, "not allowed to send sms"),
        ({"deleted_templates": [TEXT.id]}, "has been deleted"),
        ({"default_sender": False}, "no default sms_sender"),
    ],
)
def test_what_the_service_may_not_do_is_a_bad_request(
    sender: Sender, control: Control, knobs: dict[str, Any], words: str
) -> None:
    control.turn("va_notify", **knobs)
    status, error, message = errors(sender.text())
    assert (status, error) == (400, "BadRequestError")
    assert words in message


def test_a_planned_refusal_says_that_the_address_is_not_valid(sender: Sender, control: Control) -> None:
    phone = with_habit("ok").phone
    control.call("POST", "va_notify", "outcomes", json={"recipient": phone, "status": "refused"})
    assert errors(sender.text())[:2] == (400, "InvalidPhoneError")


def test_malformed_json_is_a_bad_request(sender: Sender) -> None:
    answer = sender.http.post(f"{sender.base}/v2/notifications/sms", data="{", headers=sender.headers())
    assert errors(answer)[:2] == (400, "BadRequestError")


def test_a_body_over_a_mebibyte_is_too_large(sender: Sender) -> None:
    answer = sender.text(personalisation=VALUES | {"more": "x" * 1024 * 1024})
    assert (answer.status_code, answer.json()["errors"][0]["error"]) == (413, "Request entity too large")


def test_an_unknown_route_answers_in_the_app_wide_shape(sender: Sender) -> None:
    answer = sender.http.get(f"{sender.base}/v2/letters", headers=sender.headers())
    assert answer.status_code == 404
    assert set(answer.json()) == {"result", "message"}


@pytest.mark.parametrize(
    ("knobs", "error"), [({"minute_limit": 2}, "RateLimitError"), ({"daily_limit": 2}, "TooManyRequestsError")]
)
def test_limits_answer_429_without_a_retry_after(
    sender: Sender, control: Control, knobs: dict[str, int], error: str
) -> None:
    control.turn("va_notify", **knobs)
    assert [sender.text().status_code for _ in range(2)] == [201, 201]
    answer = sender.text()
    assert errors(answer)[:2] == (429, error)
    assert "Retry-After" not in answer.headers
