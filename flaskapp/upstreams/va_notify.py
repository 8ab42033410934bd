"""Client of VANotify, which sends texts and e-mails, and says what became of them.

It does not de-duplicate: an unanswered send is found again by our `reference`, the same for all attempts of one
notification. Its clock check (30 s either way) makes every request carry a token of its own.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import jwt

from flaskapp.config import Config
from flaskapp.upstreams.errors import Rejected, Unanswered, Unauthorized, Unavailable
from flaskapp.upstreams.transport.http import HTTP, Answer, Outgoing, failure, messages
from flaskapp.upstreams.transport.refusals import first_error, refused
from flaskapp.upstreams.transport.timestamps import parse_timestamp

UPSTREAM = "va_notify"
# Only what is wrong with the recipient is final. A 400 about a template, a sender, a permission or a field that all
# notifications have is about our settings (contract: travel 6.3), and heals. The send routes have no 404 of their own.
_OF_AN_ADDRESS = ("InvalidEmailError", "InvalidPhoneError")
# Of a field, only these words; in others it may be our quota or a permission (a number abroad needs one). An identifier
# is refused in none: what is wrong with it shows in the status of a text that was taken (contract: travel 6.2).
_OF_A_FIELD = "ValidationError"
_RECIPIENT = re.compile(
    r"(?:phone_number (?:not a valid (?:number|international number|country prefix)|not enough digits|too many digits"
    r"|must not contain letters or symbols)|email_address not a valid email address)\.?"
)
_TOO_LARGE = "request entity too large"

# Both words are in use for an id that is not known (contract: travel 6.3).
_NO_SUCH_ID = ("NoResultFound", "DataError")

_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# Matched from the right, since names and newer secrets may hold hyphens too; a greedy name keeps the rest short.
_API_KEY = re.compile(rf"(?:.*-)?(?P<service_id>{_UUID})-(?P<secret>{_UUID}|[A-Za-z0-9_-]{{86}})", re.I | re.S)


@dataclass(frozen=True)
class Sent:
    """A notification stored and queued at VANotify, no more: even an unknown recipient shows only in its status."""

    notification_id: str


@dataclass(frozen=True)
class Delivery:
    """Where a notification stands, in VANotify's own status words. `completed_at` is aware UTC."""

    id: str
    reference: str | None
    status: str
    status_reason: str | None
    completed_at: datetime | None


@dataclass(frozen=True)
class Listed:
    """A notification as VANotify's list has it; `created_at` is aware UTC."""

    id: str
    reference: str | None
    template_id: str
    created_at: datetime


class VANotifyClient:
    """An API key is `<name>-<service uuid>-<secret>`; a malformed one raises ValueError, without repeating it."""

    def __init__(self, config: Config, http: HTTP) -> None:
        self._service_id, self._secret = _parts_of("VANOTIFY_API_KEY", config.vanotify_api_key)
        earlier = [_parts_of("VANOTIFY_EARLIER_API_KEYS", key) for key in config.vanotify_earlier_api_keys]
        # Each signs VANotify's callbacks about what was sent with its key.
        self.callback_secrets = (self._secret, *(secret for _, secret in earlier))
        self._config = config
        self._http = http

    @property
    def service_id(self) -> str:
        return self._service_id

    def send_sms(
        self,
        *,
        reference: str,
        template_id: str,
        sender_id: str,
        personalisation: Mapping[str, str],
        before_write: Callable[[], None],
        icn: str | None = None,
        phone: str | None = None,
    ) -> Sent:
        """Text one person, by ICN or phone. `before_write` runs right before the request and may raise anything.

        Raises any of the six but Duplicate. Rejected: this recipient, or so large a message, is not taken. Unanswered:
        look it up by `reference`.
        """
        fields = {"sms_sender_id": sender_id, **_recipient("phone_number", phone, icn)}
        return self._send("sms", fields, reference, template_id, personalisation, before_write)

    def send_email(
        self,
        *,
        reference: str,
        template_id: str,
        personalisation: Mapping[str, str],
        before_write: Callable[[], None],
        icn: str | None = None,
        email: str | None = None,
    ) -> Sent:
        """E-mail one person, by ICN or by address; otherwise as `send_sms`."""
        fields = _recipient("email_address", email, icn)
        return self._send("email", fields, reference, template_id, personalisation, before_write)

    def find_by_reference(self, reference: str) -> list[Delivery]:
        """Every notification sent under that reference; raises Unavailable when the answer leaves any doubt."""
        answer = self._read("find_by_reference", "", {"reference": reference})
        payload = answer.json()
        found = payload.get("notifications") if isinstance(payload, dict) else None
        if answer.status != 200 or not isinstance(found, list):
            raise failure(Unavailable, UPSTREAM, answer)
        if not found and _leads_on(payload.get("links", {})):
            raise failure(Unavailable, UPSTREAM, answer, detail="an empty page that leads on")
        deliveries = [_delivery(entry, answer) for entry in found]
        if any(delivery.reference != reference for delivery in deliveries):
            raise failure(Unavailable, UPSTREAM, answer, detail="the list was not filtered by our reference")
        return deliveries

    def list_since(self, since: datetime) -> Iterator[Listed]:
        """Every notification of our service from then on, once, newest first, as far back as VANotify keeps them.

        Raises Unavailable for an answer that cannot be read and for pages that lead nowhere, Throttled, and
        Unauthorized.
        """
        params: dict[str, str] = {}
        seen: set[str] = set()
        while True:
            answer = self._read("list_since", "", params)
            page, has_more = _page(answer)
            seen_before = len(seen)
            for listed in page:
                if listed.created_at < since:
                    return
                if listed.id not in seen:
                    seen.add(listed.id)
                    yield listed
            if not has_more:
                return
            if len(seen) == seen_before:
                # Either it would come again for ever, or nobody knows where it leads.
                raise failure(Unavailable, UPSTREAM, answer, detail="a page with nothing new that leads on")
            params = {"older_than": page[-1].id}

    def get(self, notification_id: str, reference: str) -> Delivery | None:
        """One notification of ours; None only when VANotify itself says that it knows no such id."""
        answer = self._read("get", f"/{quote(notification_id, safe='')}", None)
        if answer.status == 404 and _error_class(answer.json()) in _NO_SUCH_ID:
            return None
        if answer.status != 200:
            raise failure(Unavailable, UPSTREAM, answer)
        delivery = _delivery(answer.json(), answer)
        if delivery.id.lower() != notification_id.lower() or delivery.reference != reference:
            raise failure(Unavailable, UPSTREAM, answer, detail="the answer is about another notification")
        return delivery

    def _send(
        self,
        kind: str,
        fields: Mapping[str, Any],
        reference: str,
        template_id: str,
        personalisation: Mapping[str, str],
        before_write: Callable[[], None],
    ) -> Sent:
        body = {
            **fields,
            "template_id": template_id,
            "reference": reference,
            "personalisation": dict(personalisation),
        }
        if self._config.vanotify_callback_url:
            body["callback_url"] = self._config.vanotify_callback_url
        before_write()
        return _sent(self._http.call(self._request(f"send_{kind}", "POST", f"/{kind}", json=body)), reference)

    def _read(self, operation: str, path: str, params: Mapping[str, str] | None) -> Answer:
        answer = self._http.call(self._request(operation, "GET", path, params=params))
        if answer.status in (401, 403):
            raise failure(Unauthorized, UPSTREAM, answer)
        return answer

    def _request(self, operation: str, method: str, path: str, **content: Any) -> Outgoing:
        return Outgoing(
            UPSTREAM,
            operation,
            method,
            f"{self._config.vanotify_base_url}/v2/notifications{path}",
            write=method == "POST",
            total_seconds=self._config.vanotify_total_seconds,
            headers={"Authorization": f"Bearer {self._token()}"},
            **content,
        )

    def _token(self) -> str:
        # Not dated back like an assertion: an `iat` may lie 30 s on either side of VANotify's clock (contract:
        # travel 6.1), so ours now has the same room both ways.
        return jwt.encode({"iss": self._service_id, "iat": int(time.time())}, self._secret, algorithm="HS256")


def _parts_of(setting: str, api_key: str) -> tuple[str, str]:
    """The service's id and the secret."""
    match = _API_KEY.fullmatch(api_key.strip())
    if match is None:
        raise ValueError(f"{setting} must read <name>-<service uuid>-<secret>")
    return match["service_id"], match["secret"]


def callback_signature(secret: str, body: Mapping[str, Any]) -> str:
    """What `x-enp-signature` must be for a callback with this body, its pairs in the order received."""
    return hmac.new(
        secret.encode(), urlencode(list(body.items()), errors="replace").encode(), hashlib.sha256
    ).hexdigest()


def _recipient(field: str, address: str | None, icn: str | None) -> dict[str, Any]:
    if bool(address) == bool(icn):
        raise ValueError(f"exactly one of icn and {field} must be given")
    return {field: address} if address else {"recipient_identifier": {"id_type": "ICN", "id_value": icn}}


def _sent(answer: Answer, reference: str) -> Sent:
    payload = answer.json()
    given = payload.get("id") if isinstance(payload, dict) else None
    if answer.status == 201 and isinstance(given, str) and given:
        if payload.get("reference", reference) != reference:
            raise Unanswered(UPSTREAM, "the answer is about another notification", http_status=answer.status)
        return Sent(given)
    name = _error_class(payload)
    too_large = answer.status == 413 and _TOO_LARGE in " ".join([name or "", *messages(payload)]).lower()
    named = Rejected if too_large or (answer.status == 400 and _refuses_the_recipient(name, payload)) else None
    raise refused(UPSTREAM, answer, named, write=True, code=name)


def _refuses_the_recipient(name: str | None, payload: Any) -> bool:
    of_the_recipient = any(_RECIPIENT.fullmatch(text.lower()) for text in messages(payload))
    return name in _OF_AN_ADDRESS or (name == _OF_A_FIELD and of_the_recipient)


def _error_class(payload: Any) -> str | None:
    """`errors[0].error`; None in the app-wide shape, which has none."""
    name = (first_error(payload) or {}).get("error")
    return name if isinstance(name, str) else None


def _page(answer: Answer) -> tuple[list[Listed], bool]:
    """One page of the list, and whether another follows (contract: travel 6.4)."""
    payload = answer.json()
    try:
        if answer.status == 200:
            return [_read_listed(entry) for entry in payload["notifications"]], _leads_on(payload["links"])
        detail = None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        detail = f"the list cannot be read: {type(error).__name__}"
    raise failure(Unavailable, UPSTREAM, answer, detail=detail)


def _leads_on(links: Any) -> bool:
    """Whether another page follows, or may for all that can be read."""
    return not isinstance(links, dict) or bool(links.get("next"))


def _read_listed(entry: Any) -> Listed:
    return Listed(
        str(entry["id"]), entry["reference"], str(entry["template"]["id"]), parse_timestamp(entry["created_at"])
    )


def _delivery(entry: Any, answer: Answer) -> Delivery:
    try:
        return _read_delivery(entry)
    except (KeyError, TypeError, ValueError) as error:
        detail = f"a notification cannot be read: {type(error).__name__}"
    raise failure(Unavailable, UPSTREAM, answer, detail=detail)


def _read_delivery(entry: Any) -> Delivery:
    if not isinstance(entry, dict) or not isinstance(entry["id"], str) or not isinstance(entry["status"], str):
        raise TypeError("expected an object with texts")
    completed, reason = entry.get("completed_at"), entry.get("status_reason")
    return Delivery(
        id=entry["id"],
        reference=entry.get("reference"),
        status=entry["status"],
        status_reason=reason if isinstance(reason, str) else None,
        completed_at=None if completed is None else parse_timestamp(completed),
    )
