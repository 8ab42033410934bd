"""What VANotify's list says about an earlier send, and what it no longer can say (contract: travel 6.4)."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flaskapp import clock
from flaskapp.notifications.service import OutgoingNotification
from flaskapp.upstreams import Upstreams
from flaskapp.upstreams.transport.http import HTTP
from flaskapp.upstreams.va_notify import VANotifyClient
from jobs.engine.spec import Call, EarlierWrites, Finding, Found, NotFound, Unclear
from jobs.notifications import find_sent
from tests.unit.loopback import serving, whole
from tests.unit.upstream_settings import settings

REFERENCE = "0c4f6d1e-0000-4000-8000-0000000000aa"
NOTIFICATION = OutgoingNotification(uuid.UUID(REFERENCE), "pending", "created", "sms", "cie", {}, {}, None, 1, None)
EARLIER = EarlierWrites(first_write_at=None, why=None, ever_unknown=True, confirmable=True)


def look_up(*statuses: str, days_ago: float = 0) -> Finding:
    """The finding for a list with these sends, the newest first, as VANotify sorts it."""
    found = [{"id": f"n{at}", "reference": REFERENCE, "status": word} for at, word in enumerate(statuses)]
    with serving(whole(200, {"notifications": found})) as server:
        config = settings(vanotify_base_url=server.url, vanotify_total_seconds=30)
        client: Any = SimpleNamespace(va_notify=VANotifyClient(config, HTTP(10)))
        call = Call(cast(Upstreams, client), config, lambda: None)
        return find_sent(call, NOTIFICATION, replace(EARLIER, first_write_at=clock.now() - timedelta(days=days_ago)))


@pytest.mark.parametrize(
    ("statuses", "which"),
    [
        (("permanent-failure", "delivered"), "n1"),
        (("temporary-failure", "created"), "n1"),
        (("delivered", "permanent-failure"), "n0"),
        (("a new word", "permanent-failure"), "n0"),
        (("permanent-failure", "temporary-failure"), "n0"),
    ],
)
def test_of_two_sends_under_one_reference_the_one_that_arrived_counts(statuses: tuple[str, ...], which: str) -> None:
    finding = look_up(*statuses)
    assert isinstance(finding, Found) and finding.answer.id == which


def test_not_found_says_nothing_about_a_send_from_before_va_notify_forgets() -> None:
    """It deletes what is older than seven days. An operator's late requeue must not send a second text."""
    assert look_up(days_ago=6.9) == NotFound()
    assert isinstance(look_up(days_ago=7.1), Unclear)
    assert isinstance(look_up("delivered", days_ago=30), Found)
