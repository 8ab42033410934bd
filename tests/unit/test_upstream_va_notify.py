"""The VANotify client: the token of each request, what is sent, and what each answer means (contract: travel 6.3)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest

from flaskapp.upstreams.errors import Rejected, Throttled, Unanswered, Unauthorized, Unavailable, UpstreamError
from flaskapp.upstreams.transport.http import HTTP
from flaskapp.upstreams.va_notify import Delivery, Sent, VANotifyClient, callback_signature
from tests.unit.loopback import Loopback, Reply, reset, serving, whole
from tests.unit.upstream_settings import SECRET, SERVICE_ID, settings

ICN = "1012345678V123456"
ID = "7d0f2c1e-5a34-4d0b-9b57-1c2f3a4b5c6d"
YES = whole(201, {"id": ID, "reference": "notification-1"})


def client(server: Loopback, **changes: str) -> VANotifyClient:
    return VANotifyClient(settings(vanotify_base_url=server.url, vanotify_total_seconds=30, **changes), HTTP(10))


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving(YES) as running:
        yield running


def text(to: VANotifyClient, **changes: Any) -> Sent:
    fields: dict[str, Any] = {
        "reference": "notification-1",
        "template_id": "template-1",
        "sender_id": "sender-1",
        "personalisation": {"claim_number": "0042"},
        "icn": ICN,
        "before_write": lambda: None,
    }
    return to.send_sms(**{**fields, **changes})


def test_a_text_by_icn_is_sent_as_the_contract_says(server: Loopback) -> None:
    assert text(client(server)) == Sent(ID)
    (sent,) = server.received
    assert sent.line == "POST /v2/notifications/sms HTTP/1.1"
    assert sent.json() == {
        "sms_sender_id": "sender-1",
        "recipient_identifier": {"id_type": "ICN", "id_value": ICN},
        "template_id": "template-1",
        "reference": "notification-1",
        "personalisation": {"claim_number": "0042"},
    }


def test_a_text_by_phone_requests_callbacks_where_they_are_configured(server: Loopback) -> None:
    callback = "https://surefile.example/callbacks"
    text(client(server, vanotify_callback_url=callback), icn=None, phone="+15555550100")
    sent = server.received[0].json()
    assert (sent["phone_number"], sent["callback_url"]) == ("+15555550100", callback)
    assert "recipient_identifier" not in sent


@pytest.mark.parametrize(
    ("to", "field"),
    [
        ({"email": "jane@example.org"}, {"email_address": "jane@example.org"}),
        ({"icn": ICN}, {"recipient_identifier": {"id_type": "ICN", "id_value": ICN}}),
    ],
)
def test_an_email_is_sent_as_the_contract_says(server: Loopback, to: dict[str, str], field: dict[str, Any]) -> None:
    sent = client(server).send_email(
        reference="notification-1", template_id="t", personalisation={}, before_write=lambda: None, **to
    )
    assert sent == Sent(ID)
    assert server.received[0].line == "POST /v2/notifications/email HTTP/1.1"
    assert server.received[0].json() == {
        "template_id": "t",
        "reference": "notification-1",
        "personalisation": {},
        **field,
    }


@pytest.mark.parametrize("to", [{"icn": None}, {"phone": "+15555550100"}, {"icn": "", "phone": ""}])
def test_exactly_one_address_must_be_given(server: Loopback, to: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        text(client(server), **to)
    assert server.received == []


def test_every_request_carries_a_fresh_token(server: Loopback) -> None:
    notify = client(server)
    text(notify)
    server.replies[:] = [whole(200, {"notifications": []})]
    notify.find_by_reference("notification-1")
    for received in server.received:
        scheme, token = received.headers["authorization"].split()
        claims = jwt.decode(token, SECRET, algorithms=["HS256"])
        assert scheme == "Bearer" and jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
        assert claims.keys() == {"iss", "iat"} and claims["iss"] == SERVICE_ID
        assert abs(time.time() - claims["iat"]) < 5


def test_before_write_runs_first_and_its_exceptions_pass(server: Loopback) -> None:
    def refuse() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        text(client(server), before_write=refuse)
    assert server.received == []


LONG_SECRET = "x-y_" * 21 + "zz"


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        (f"name-{SERVICE_ID}-{SECRET}", SECRET),
        (f"a-name-with-{SERVICE_ID}-inside-{SERVICE_ID}-{SECRET}", SECRET),
        (f"{SERVICE_ID}-{SECRET}", SECRET),
        (f"name-{SERVICE_ID}-{LONG_SECRET}", LONG_SECRET),
        (f"a-b-{SERVICE_ID}-{LONG_SECRET}", LONG_SECRET),
    ],
)
def test_the_api_key_is_split_from_the_right(key: str, secret: str) -> None:
    notify = VANotifyClient(settings(vanotify_api_key=key), HTTP(10))
    assert (notify.service_id, notify.callback_secrets) == (SERVICE_ID, (secret,))


@pytest.mark.parametrize("key", ["nonsense", f"name-{SERVICE_ID}", f"name-{SERVICE_ID}-short"])
def test_a_malformed_api_key_stops_the_start_without_being_repeated(key: str) -> None:
    with pytest.raises(ValueError) as caught:
        VANotifyClient(settings(vanotify_api_key=key), HTTP(10))
    assert key not in str(caught.value)


def v2(status: int, error: str, message: str = "why") -> Reply:
    return whole(status, {"status_code": status, "errors": [{"error": error, "message": message}]})


def app_wide(status: int) -> Reply:
    return whole(status, {"result": "error", "message": "why"})


@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        (v2(400, "ValidationError", "phone_number Not a valid number"), Rejected, "ValidationError"),
        (v2(400, "ValidationError", "email_address Not a valid email address"), Rejected, "ValidationError"),
        (v2(400, "BadRequestError", "Cannot send to international mobile numbers"), Unavailable, "BadRequestError"),
        (v2(400, "BadRequestError", "email_address is over the daily quota"), Unavailable, "BadRequestError"),
        (v2(400, "BadRequestError", "phone_number Not a valid number"), Unavailable, "BadRequestError"),
        (v2(400, "ValidationError", "phone_number Not a valid number of this service"), Unavailable, "ValidationError"),
        (v2(400, "ValidationError", "recipient_identifier ICN is not one of [PID]"), Unavailable, "ValidationError"),
        (
            v2(400, "ValidationError", "recipient_identifier is not permitted for this service"),
            Unavailable,
            "ValidationError",
        ),
        (v2(400, "InvalidPhoneError", "Not enough digits"), Rejected, "InvalidPhoneError"),
        (v2(400, "ValidationError", "template_id is not a valid UUID"), Unavailable, "ValidationError"),
        (v2(400, "BadRequestError", "Missing personalisation: baz"), Unavailable, "BadRequestError"),
        (v2(400, "BadRequestError", "Template has been deleted"), Unavailable, "BadRequestError"),
        (
            v2(400, "BadRequestError", "Can’t send to this recipient using a team-only API key"),
            Unavailable,
            "BadRequestError",
        ),
        (app_wide(400), Unavailable, None),
        (v2(400, "SomethingNew"), Unavailable, "SomethingNew"),
        (v2(401, "AuthError"), Unauthorized, "AuthError"),
        (app_wide(401), Unauthorized, None),
        (whole(401, "<html>"), Unauthorized, None),
        (v2(403, "AuthError"), Unauthorized, "AuthError"),
        (v2(404, "NoResultFound"), Unavailable, "NoResultFound"),
        (app_wide(404), Unavailable, None),
        (whole(404, "<html>"), Unavailable, None),
        (whole(400, "<html>"), Unavailable, None),
        (whole(408, "<html>"), Unanswered, None),
        (v2(413, "Request entity too large"), Rejected, "Request entity too large"),
        (whole(413, "<html>"), Unavailable, None),
        (app_wide(413), Unavailable, None),
        (v2(429, "RateLimitError"), Throttled, None),
        (v2(429, "TooManyRequestsError"), Throttled, None),
        (app_wide(500), Unanswered, None),
        (whole(502, "<html>"), Unanswered, None),
        (whole(201, "<html>"), Unanswered, None),
        (whole(201, {"id": ""}), Unanswered, None),
        (whole(201, {"id": 5}), Unanswered, None),
        (whole(201, '{"id": "7d0f'), Unanswered, None),
        (whole(200, {"id": ID}), Unanswered, None),
        (whole(302, ""), Unanswered, None),
        (reset, Unanswered, None),
    ],
)
def test_every_answer_to_a_send_has_one_meaning(
    server: Loopback, reply: Reply, kind: type[UpstreamError], code: str | None
) -> None:
    server.replies[:] = [reply]
    with pytest.raises(kind) as caught:
        text(client(server))
    assert type(caught.value) is kind and caught.value.code == code
    assert len(server.received) == 1


def test_a_refusals_detail_is_redacted(server: Loopback) -> None:
    server.replies[:] = [v2(400, "InvalidPhoneError", "phone_number +1 555 555 0100 Not a valid number")]
    with pytest.raises(Rejected) as caught:
        text(client(server))
    assert caught.value.detail == "phone_number [phone] Not a valid number"


def notification(**changes: Any) -> dict[str, Any]:
    shown = {"id": ID, "reference": "notification-1", "status": "delivered", "status_reason": None}
    return {**shown, "completed_at": "2025-03-01T12:00:09.500000Z", **changes}


FOUND = Delivery(ID, "notification-1", "delivered", None, datetime(2025, 3, 1, 12, 0, 9, 500000, tzinfo=UTC))


def test_a_send_is_found_again_by_its_reference(server: Loopback) -> None:
    server.replies[:] = [whole(200, {"notifications": [notification()], "links": {}})]
    assert client(server).find_by_reference("notification-1") == [FOUND]
    assert server.received[0].line == "GET /v2/notifications?reference=notification-1 HTTP/1.1"
    server.replies[:] = [whole(200, {"notifications": []})]
    assert client(server).find_by_reference("notification-1") == []


@pytest.mark.parametrize(
    "reply",
    [
        whole(200, {"notifications": [notification(), notification(reference="another")]}),
        whole(200, {"notifications": [notification(reference=None)]}),
        whole(200, {"notifications": [notification(status=None)]}),
        whole(200, {"notifications": ["text"]}),
        whole(200, {"notifications": [{}]}),
        whole(200, {"notifications": [notification(completed_at="noon")]}),
        whole(200, {"notifications": [], "links": {"current": "here", "next": "there"}}),
        whole(200, {"notifications": [], "links": ["there"]}),
        whole(200, {}),
        whole(200, "<html>"),
        app_wide(404),
        v2(400, "ValidationError"),
        app_wide(500),
        reset,
    ],
)
def test_a_look_up_that_leaves_doubt_is_unavailable(server: Loopback, reply: Reply) -> None:
    server.replies[:] = [reply]
    with pytest.raises(Unavailable):
        client(server).find_by_reference("notification-1")


def test_one_notification_is_read_by_id(server: Loopback) -> None:
    server.replies[:] = [whole(200, notification(completed_at=None, status="sending"))]
    assert client(server).get(ID, "notification-1") == Delivery(ID, "notification-1", "sending", None, None)
    assert server.received[0].line == f"GET /v2/notifications/{ID} HTTP/1.1"


def test_only_va_notify_itself_can_say_that_an_id_is_unknown(server: Loopback) -> None:
    known = [v2(404, "NoResultFound"), v2(404, "DataError")]
    server.replies[:] = [*known, app_wide(404), whole(404, "<html>"), v2(403, "AuthError")]
    notify = client(server)
    assert [notify.get(ID, "notification-1") for _ in known] == [None, None]
    for kind in (Unavailable, Unavailable, Unauthorized):
        with pytest.raises(kind):
            notify.get(ID, "notification-1")


def test_the_callback_signature_matches_the_contracts_vector() -> None:
    body = {
        "id": ID,
        "reference": "outbox-42",
        "to": "+15555550100",
        "status": "delivered",
        "created_at": "2025-03-01T12:00:00.000000Z",
        "completed_at": "2025-03-01T12:00:09.500000Z",
        "sent_at": None,
        "notification_type": "sms",
        "status_reason": None,
        "provider": "pinpoint",
        "provider_payload": None,
    }
    expected = "4414fcd7154c31e3e8179f9fa4990db96ad62cd7a449008e569226a31b41c91f"
    assert callback_signature("0c9e7d52-3f14-4d7a-8a51-6f0a1b2c3d4e", body) == expected
