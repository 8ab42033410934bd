"""What the running system writes where others can read it: JSON in the logs, ids in Redis, personal data in neither.

It reads everything written since the first test of this package, disasters included.
"""

from __future__ import annotations

import json

import pytest

from flaskapp.config import from_env
from tests.product import eventually
from tests.scanner import found_in, redis_texts, secrets_of

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def everybody(running):
    """Everything personal of everybody so far, plus somebody whose text is being sent and one whose claim is parked."""
    running.control.set("va_notify", "hold")
    parked, being_notified = running.newcomer(), running.newcomer()
    plan = {"icn": parked.veteran.icn, "outcome": "refused", "times": 1}
    running.control.call("POST", "btsss", "outcomes", json=plan)
    running.ask(being_notified)
    running.ask(parked)
    eventually(lambda: running.started("notifications") and running.shown_failed("travel_claims"))
    stored = "\n".join(redis_texts(running.redis))
    running.control.clear("va_notify")
    running.until_notified(parked, being_notified)
    numbers = [claim["number"] for claim in running.control.call("GET", "btsss", "claims")]
    people = running.people
    personal = [
        *numbers,
        *(person.icn for person in people),
        *(person.phone for person in people),
        *(person.phone.removeprefix("+1") for person in people),
        *(person.uuid for person in people),
        *(person.last_name for person in people),
    ]
    return set(personal), stored


def test_redis_holds_nothing_personal(everybody):
    personal, stored = everybody
    assert "parked: refused" in stored and "jobs.notifications.send_notification" in stored
    assert [each for each in personal if each in stored] == []


def test_no_log_line_holds_anything_personal(running, everybody):
    personal, _ = everybody
    written = "\n".join(running.log_lines())
    assert len(written) > 1000
    assert [each for each in personal if each in written] == []


def test_every_line_of_every_process_is_json(running, everybody):
    for line in running.log_lines():
        entry = json.loads(line)
        assert {"level", "logger", "message", "timestamp"} <= entry.keys(), line


def test_the_metrics_name_nobody(running, everybody):
    personal, _ = everybody
    shown = running.metrics()
    assert "surefile" in shown
    assert [each for each in personal if each in shown] == []


def test_no_secret_of_the_installation_is_written_anywhere(running, everybody):
    _, stored = everybody
    secrets = [*secrets_of(from_env(running.system.environment)), running.system.secrets.operator_password]
    assert len(secrets) > 20
    written = {"the logs": running.log_lines(), "Redis": [stored], "the metrics": [running.metrics()]}
    assert found_in(written, secrets) == []
