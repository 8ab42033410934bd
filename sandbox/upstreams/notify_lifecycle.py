"""What becomes of a notification after its 201: contact look-up, delivery or failure, callbacks (contract: travel 6.5).

An outcome can be planned for a recipient. Callbacks can be made to come early, twice, or to contradict each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.upstreams.cast import Cast
from sandbox.upstreams.notification import Notification
from sandbox.upstreams.notify_callbacks import SERVICE_STATUSES, Callback, Caller, signature
from sandbox.upstreams.settings import FakeSettings
from sandbox.upstreams.timeline import Timeline

# Accepted with a 201 and never sent (contract: travel 6.3).
SILENT_NUMBERS = frozenset({"+16132532222", "+16132532223", "+16132532224"})
BAD_ENDS = (
    *("temporary-failure", "permanent-failure", "validation-failed", "virus-scan-failed", "returned-letter"),
    *("pii-check-failed", "failed", "cancelled", "technical-failure", "preferences-declined"),
)
# Every end, with the reason that is usual for it.
REASONS: Mapping[str, str | None] = {
    **dict.fromkeys(BAD_ENDS, "Undeliverable - other"),
    "permanent-failure": "Undeliverable - blocked",
    "temporary-failure": "Retryable - unreachable",
    "preferences-declined": "Undeliverable - preferences declined",
    "delivered": None,
}
REFUSED = "refused"
NO_PROFILE = "Undeliverable - no profile"
NO_CONTACT = "Undeliverable - no contact info"
HABITS = {"blocked": "permanent-failure", "unreachable": "temporary-failure"}


@dataclass(frozen=True)
class VANotifyKnobs:
    """`delays` are the seconds before sending, sent and the end. Limits count sends; None means no limit.

    `rewrites` maps https prefixes to the ones really called, since the sandbox has no TLS. `early` makes callbacks
    before the 201 is answered, `twice` makes each one twice, and `contradict` sends a permanent-failure after a
    delivered, and the other way round. `habit` is how people without a habit of their own are treated.
    """

    delays: Sequence[float]
    callback_url: str | None
    callback_token: str
    rewrites: Mapping[str, str]
    retry_scale: float
    early: bool = False
    twice: bool = False
    contradict: bool = False
    minute_limit: int | None = 3000
    daily_limit: int | None = None
    default_sender: bool = True
    key_revoked: bool = False
    channels: Sequence[str] = ("sms", "email")
    deleted_templates: Sequence[str] = ()
    habit: str = "ok"


class Lifecycle:
    """Moves notifications on. Every change is made under `lock`, every callback outside it."""

    def __init__(self, settings: FakeSettings, cast: Cast, knobs: Callable[[], VANotifyKnobs]) -> None:
        self._settings = settings
        self._cast = cast
        self._knobs = knobs
        self._lock = threading.Lock()
        self._outcomes: dict[str, tuple[str, str | None, int | None]] = {}
        self.timeline = Timeline()
        self.caller = Caller(self.timeline, lambda: knobs().retry_scale)

    def reset(self) -> None:
        self.timeline.reset()
        self.caller.reset()
        with self._lock:
            self._outcomes.clear()

    def plan(self, recipient: str, status: str, reason: str | None, times: int | None) -> None:
        with self._lock:
            self._outcomes[recipient] = (status, reason, times)

    def refuses(self, notification: Notification) -> bool:
        """Whether it is planned that this recipient's address is refused as not valid."""
        with self._lock:
            return any(self._outcomes.get(name or "", ("",))[0] == REFUSED for name in notification.addressed_as())

    def begin(self, notification: Notification) -> None:
        """Start a stored notification on its way. With `early`, go all the way at once, before the 201 is answered."""
        if notification.to in SILENT_NUMBERS:
            return
        if self._knobs().early:
            for move in (self._sending, self._sent, self._end):
                move(notification, early=True)
        else:
            self.timeline.after(self._knobs().delays[0], lambda: self._sending(notification))

    def tell(self, notification: Notification, status: str, reason: str | None = None) -> None:
        """Move a notification and make its callback, in the calling thread."""
        with self._lock:
            notification.move(status, reason)
            callback = self._callback(notification)
        for _ in range(2 if self._knobs().twice else 1):
            if callback:
                self.caller.call(callback)

    def _sending(self, notification: Notification, early: bool = False) -> None:
        with self._lock:
            fault = self._lookup_fault(notification)
        if fault:
            self.tell(notification, "permanent-failure", fault)
            return
        self.tell(notification, "sending")
        if not early:
            self.timeline.after(self._knobs().delays[1], lambda: self._sent(notification))

    def _sent(self, notification: Notification, early: bool = False) -> None:
        if notification.completed_at:
            return
        self.tell(notification, "sent")
        if not early:
            self.timeline.after(self._knobs().delays[2], lambda: self._end(notification))

    def _end(self, notification: Notification, early: bool = False) -> None:
        if notification.completed_at:
            return
        status, reason = self._outcome(notification)
        self.tell(notification, status, reason)
        if self._knobs().contradict:
            opposite = "delivered" if status == "permanent-failure" else "permanent-failure"
            self.tell(notification, opposite, REASONS[opposite])

    def _lookup_fault(self, notification: Notification) -> str | None:
        """Find the number or address of an identifier, as VANotify does after the 201. Returns the reason if there is
        none."""
        if notification.to:
            return None
        identifier = notification.recipient or {}
        veteran = self._cast.by_icn(identifier["id_value"]) if identifier.get("id_type") == "ICN" else None
        if veteran is None:
            return NO_PROFILE
        sms = notification.template.channel == "sms"
        notification.to = veteran.phone if sms else veteran.email
        if veteran.habit == "no_contact":
            notification.to = None
        return None if notification.to else NO_CONTACT

    def _outcome(self, notification: Notification) -> tuple[str, str | None]:
        with self._lock:
            for name in filter(None, notification.addressed_as()):
                if name in self._outcomes:
                    status, reason, times = self._outcomes.pop(name)
                    if times is None or times > 1:
                        self._outcomes[name] = (status, reason, times and times - 1)
                    return status, reason or REASONS.get(status)
        veteran = self._cast.by_contact(notification.to or "")
        habit = veteran.habit if veteran and veteran.habit in HABITS else self._knobs().habit
        status = HABITS.get(habit, "delivered")
        return status, REASONS[status]

    def _callback(self, notification: Notification) -> Callback | None:
        knobs = self._knobs()
        if notification.callback_url:
            body = notification.callback_body(signed=True)
            headers = {"x-enp-signature": signature(self._settings.vanotify_secret, body)}
            return Callback(self._reachable(notification.callback_url), headers, body, signed=True)
        if knobs.callback_url and notification.status in SERVICE_STATUSES:
            headers = {"Authorization": f"Bearer {knobs.callback_token}"}
            return Callback(knobs.callback_url, headers, notification.callback_body(signed=False), signed=False)
        return None

    def _reachable(self, url: str) -> str:
        """Callback URLs must be https; a known prefix stands for a loopback one."""
        for prefix, stand_in in self._knobs().rewrites.items():
            if url.startswith(prefix):
                return stand_in + url[len(prefix) :]
        return url


def described(notification: Notification) -> dict[str, Any]:
    """A message as the person's phone or inbox shows it."""
    return {
        "id": notification.id,
        "channel": notification.template.channel,
        "template": notification.template.name,
        "to": notification.to,
        "from": notification.from_number,
        "subject": notification.subject,
        "body": notification.body,
        "status": notification.status,
        "status_reason": notification.status_reason,
        "reference": notification.reference,
        "at": notification.arrived_at,
    }
