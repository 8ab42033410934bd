"""The fake VANotify after the 201: look-ups (contract: travel 6.4) and statuses (contract: travel 6.5).

Also how the end of a message can be planned.
"""

from __future__ import annotations

import re

import pytest
import requests

from sandbox.faults import Control
from sandbox.upstreams.notify_lifecycle import BAD_ENDS
from sandbox.upstreams.scenarios import with_habit
from sandbox.upstreams.serve import Upstreams
from tests.contract.notify_wire import Sender, errors

STAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z")
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


@pytest.fixture
def sender(http: requests.Session, upstreams: Upstreams) -> Sender:
    return Sender(http, upstreams)


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
def test_an_unknown_id_has_no_result(sender: Sender, unknown: str) -> None:
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
def test_an_outcome_can_be_planned_for_a_recipient(sender: Sender, control: Control, status: str, reason: str) -> None:
    phone = with_habit("ok").phone
    control.call("POST", "va_notify", "outcomes", json={"recipient": phone, "status": status, "times": 1})
    failed, fine = sender.ended(sender.text().json()["id"]), sender.ended(sender.text().json()["id"])
    assert failed["status"] == status
    assert failed["status_reason"].startswith(reason)
    assert fine["status"] == "delivered"


@pytest.mark.parametrize("status", BAD_ENDS)
def test_every_bad_end_of_the_contract_can_be_planned(sender: Sender, control: Control, status: str) -> None:
    phone = with_habit("ok").phone
    control.call("POST", "va_notify", "outcomes", json={"recipient": phone, "status": status, "times": 1})
    ended = sender.ended(sender.text().json()["id"])
    assert (ended["status"], ended["status_reason"] is None) == (status, False)
    dated = status in ("failed", "temporary-failure", "permanent-failure", "returned-letter", "cancelled")
    assert (ended["completed_at"] is not None) == dated


@pytest.mark.parametrize(
    ("habit", "facility", "status"),
    [("blocked", "vista", "permanent-failure"), ("unreachable", "oh", "temporary-failure")],
)
def test_some_of_the_cast_are_never_reached(sender: Sender, habit: str, facility: str, status: str) -> None:
    identifier = {"id_type": "ICN", "id_value": with_habit(habit, facility).icn}
    ended = sender.ended(sender.text(phone_number=..., recipient_identifier=identifier).json()["id"])
    assert ended["status"] == status


def test_a_scenario_blocks_everybody(sender: Sender, control: Control) -> None:
    control.play("va_notify", "blocked")
    assert sender.ended(sender.text().json()["id"])["status"] == "permanent-failure"
    control.play("va_notify", "ok")
    assert sender.ended(sender.text().json()["id"])["status"] == "delivered"
