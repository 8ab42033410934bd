"""The fake VANotify against the contract: tokens, schema, refusals, limits, look-ups and statuses."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

import pytest
import requests

from sandbox.faults import Control
from sandbox.scenarios import with_habit
from sandbox.upstreams.serve import Upstreams
from sandbox.upstreams.templates import EMAIL, TEMPLATE_IDS, TEXTS
from tests.contract.notify_wire import TEXT, VALUES, Sender

STAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z")
NOTICES = ("created", "duplicate", "error", "unconfirmed", "denied")
SHOWN = {
    "id",
    "reference",
    "provider_reference",
    "type",
    "status",
    "status_reason",
    "email_address",
    "phone_number",
    "template",
    "body",
    "subject",
    "created_at",
    "created_by_name",
    "sent_at",
    "sent_by",
    "completed_at",
    "scheduled_for",
    "recipient_identifiers",
    "billing_code",
    "sms_sender_id",
    "segments_count",
    "cost_in_millicents",
    "callback_url",
    "postage",
    "line_1",
    "line_2",
    "line_3",
    "line_4",
    "line_5",
    "line_6",
    "postcode",
}
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


def errors(answer: requests.Response) -> tuple[int, str, str]:
    """HTTP status, class of the first error and all messages; the v2 shape is checked on the way."""
    body = answer.json()
    assert set(body) == {"status_code", "errors"}
    assert body["status_code"] == answer.status_code
    assert all(set(error) == {"error", "message"} for error in body["errors"])
    return answer.status_code, body["errors"][0]["error"], " | ".join(error["message"] for error in body["errors"])


def test_there_is_a_text_for_every_notice_at_both_kinds_of_facility() -> None:
    assert set(TEMPLATE_IDS) == {f"{facility}.{notice}" for facility in ("cie", "oh") for notice in NOTICES}
    assert len(set(TEMPLATE_IDS.values())) == 10
    assert all(template.placeholders for template in TEXTS.values())


def answer_to(sender: Sender, authorization: str | None) -> requests.Response:
    headers = {"Authorization": authorization} if authorization is not None else {}
    return sender.http.post(f"{sender.base}/v2/notifications/sms", json=sender.text_body(), headers=headers)


@pytest.mark.parametrize("authorization", [None, "", "Basic c3VyZWZpbGU6eA=="])
def test_no_bearer_token_is_a_401(sender: Sender, authorization: str | None) -> None:
    status, error, _ = errors(answer_to(sender, authorization))
    assert (status, error) == (401, "AuthError")


def test_a_token_that_is_none_is_a_403(sender: Sender) -> None:
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
def test_what_the_service_may_not_is_a_bad_request(
    sender: Sender, control: Control, knobs: dict[str, Any], words: str
) -> None:
    control.turn("va_notify", **knobs)
    status, error, message = errors(sender.text())
    assert (status, error) == (400, "BadRequestError")
    assert words in message


def test_a_recipient_who_may_not_be_written_to_is_a_bad_request(sender: Sender, control: Control) -> None:
    phone = with_habit("ok").phone
    control.call("POST", "va_notify", "outcomes", json={"recipient": phone, "status": "refused"})
    assert errors(sender.text())[:2] == (400, "BadRequestError")


def test_malformed_json_is_a_bad_request(sender: Sender) -> None:
    answer = sender.http.post(f"{sender.base}/v2/notifications/sms", data="{", headers=sender.headers())
    assert errors(answer)[:2] == (400, "BadRequestError")


def test_a_body_over_a_mebibyte_is_too_large(sender: Sender) -> None:
    answer = sender.text(personalisation=VALUES | {"more": "x" * 1024 * 1024})
    assert (answer.status_code, answer.json()["result"]) == (413, "error")


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


def test_a_get_shows_every_field_with_identifier_and_values_redacted(sender: Sender) -> None:
    veteran = with_habit("ok")
    identifier = {"id_type": "ICN", "id_value": veteran.icn}
    sent = sender.text(phone_number=..., recipient_identifier=identifier, sms_sender_id=None)
    answer = sender.get(sent.json()["id"])
    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == SHOWN
    assert body["recipient_identifiers"] == [{"id_type": "ICN", "id_value": "<redacted>"}]
    assert veteran.icn not in answer.text
    assert STAMP.fullmatch(body["created_at"])


@pytest.mark.parametrize("unknown", ["00000000-0000-4000-8000-000000000000", "nonsense"])
def test_an_unknown_id_is_no_result(sender: Sender, unknown: str) -> None:
    assert errors(sender.get(unknown))[:2] == (404, "NoResultFound")


def test_a_search_narrows_by_reference_status_and_type(sender: Sender) -> None:
    first, second = sender.text(reference="one").json()["id"], sender.email(reference="two").json()["id"]
    for sent in (first, second):
        sender.ended(sent)

    def found(**query: str) -> list[str]:
        return [item["id"] for item in sender.search(**query)["notifications"]]

    assert found(reference="one") == [first]
    assert found(template_type="email") == [second]
    assert found(status="delivered") == [second, first]
    assert found(status="sending") == []
    assert found(reference="three") == []


def test_a_search_pages_backwards_with_older_than(sender: Sender) -> None:
    sent = [sender.text().json()["id"] for _ in range(252)]
    page = sender.search(reference="outbox-42")
    assert [item["id"] for item in page["notifications"]] == sent[:1:-1]
    rest = sender.http.get(page["links"]["next"], headers=sender.headers()).json()
    assert [item["id"] for item in rest["notifications"]] == [sent[1], sent[0]]
    assert "next" not in rest["links"]


def test_a_text_ends_delivered_with_times_and_no_reason(sender: Sender) -> None:
    ended = sender.ended(sender.text().json()["id"])
    assert (ended["status"], ended["status_reason"]) == ("delivered", None)
    assert STAMP.fullmatch(ended["sent_at"])
    assert ended["created_at"] < ended["sent_at"] < ended["completed_at"]


@pytest.mark.parametrize("number", ["+16132532222", "+16132532223", "+16132532224"])
def test_the_silent_numbers_are_accepted_and_never_sent(sender: Sender, number: str) -> None:
    silent, other = sender.text(phone_number=number), sender.text()
    sender.ended(other.json()["id"])
    assert silent.status_code == 201
    assert sender.get(silent.json()["id"]).json()["status"] == "created"


def test_an_identifier_is_looked_up_after_the_201(sender: Sender) -> None:
    veteran = with_habit("ok")
    identifier = {"id_type": "ICN", "id_value": veteran.icn}
    ended = sender.ended(sender.text(phone_number=..., recipient_identifier=identifier).json()["id"])
    assert (ended["status"], ended["phone_number"]) == ("delivered", veteran.phone)


@pytest.mark.parametrize(
    "identifier",
    [
        {"id_type": "ICN", "id_value": "9999999999V999999"},
        {"id_type": "ICN", "id_value": with_habit("no_contact").icn},
        {"id_type": "EDIPI", "id_value": "1"},
    ],
)
def test_a_failed_contact_lookup_shows_only_as_a_permanent_failure(sender: Sender, identifier: dict[str, str]) -> None:
    sent = sender.text(phone_number=..., recipient_identifier=identifier)
    assert sent.status_code == 201
    ended = sender.ended(sent.json()["id"])
    assert ended["status"] == "permanent-failure"
    assert ended["status_reason"].startswith("Undeliverable")


def test_a_number_wins_over_an_identifier(sender: Sender) -> None:
    identifier = {"id_type": "ICN", "id_value": "9999999999V999999"}
    sent = sender.text(phone_number="+15555559876", recipient_identifier=identifier)
    ended = sender.ended(sent.json()["id"])
    assert (ended["status"], ended["phone_number"]) == ("delivered", "+15555559876")


@pytest.mark.parametrize(
    ("status", "reason"), [("permanent-failure", "Undeliverable"), ("temporary-failure", "Retryable")]
)
def test_an_outcome_can_be_planted_for_a_recipient(sender: Sender, control: Control, status: str, reason: str) -> None:
    phone = with_habit("ok").phone
    control.call("POST", "va_notify", "outcomes", json={"recipient": phone, "status": status, "times": 1})
    failed, fine = sender.ended(sender.text().json()["id"]), sender.ended(sender.text().json()["id"])
    assert failed["status"] == status
    assert failed["status_reason"].startswith(reason)
    assert fine["status"] == "delivered"


@pytest.mark.parametrize(
    ("habit", "facility", "status"),
    [("blocked", "vista", "permanent-failure"), ("unreachable", "oh", "temporary-failure")],
)
def test_some_of_the_cast_are_never_reached(sender: Sender, habit: str, facility: str, status: str) -> None:
    identifier = {"id_type": "ICN", "id_value": with_habit(habit, facility).icn}
    ended = sender.ended(sender.text(phone_number=..., recipient_identifier=identifier).json()["id"])
    assert ended["status"] == status
