"""Many people request ITFs in two days without Lighthouse; Redis is flushed and workers are killed.

`make endurance` has a hundred people and kills ten workers, `make test` forty and five.

Every answer to them is kept: one ITF upstream, one e-mail, and the date of the request. Two days pass on the clocks of
the ledger and of Lighthouse; they begin two days ago, so that nothing is left in the future afterwards.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

import psycopg2
import pytest
import requests

from flaskapp.accounts.service import Identity
from flaskapp.config import from_env
from flaskapp.crypto import Vault
from sandbox.clock import step_clock
from sandbox.processes import Process
from tests.forks import Fork
from tests.processes.running import Running
from tests.product import eventually

ENDURANCE = "ENDURANCE" in os.environ
# As long as it takes on a machine with other work; by itself it takes half a minute.
pytestmark = [pytest.mark.processes, pytest.mark.timeout(600)]

PEOPLE, NEWCOMERS = (100, 15) if ENDURANCE else (40, 6)
HANDS = 8
# For what hundreds of people wait for, on a machine with other work.
LONG_SECONDS = 240.0
OUTAGE = timedelta(days=2)
STEP = timedelta(hours=9) if ENDURANCE else timedelta(hours=27)
LAST_MINUTE = timedelta(minutes=1)
KILLS_WHILE_ASKING, KILLS_WHILE_AWAY, KILLS_WHILE_CREATING = KILLS = (2, 3, 5) if ENDURANCE else (1, 1, 3)
CREATE = "POST /services/claims"


@dataclass
class Aftermath:
    running: Running
    veterans: list[dict[str, Any]]
    workers: list[Fork | Process]
    answers: Counter[int] = field(default_factory=Counter)
    created_while_away: int = -1
    struck_in_mid_call: int = 0


@pytest.fixture(scope="module")
def aftermath(running):
    # The breaker may have closed a short time ago, which would now lie in the future.
    running.rows("UPDATE outbox_breakers SET closed_at = NULL WHERE upstream = 'lighthouse_claims'")
    running.control.call("POST", "lighthouse", "reset")
    set_clocks(running, -OUTAGE)
    running.control.set("lighthouse", "refuse")
    # Other tests follow each e-mail's way to its reader.
    called_back = running.control.call("GET", "va_notify", "knobs")["callback_url"]
    running.control.turn("va_notify", callback_url=None)
    seen = Aftermath(running, plant(running), [running.process("worker")])
    introduce(running, seen.veterans[NEWCOMERS:])
    try:
        ask_all(seen)
        two_days_pass(seen)
        lighthouse_is_back(seen)
        yield seen
    finally:
        set_clocks(running, timedelta())
        running.control.turn("va_notify", callback_url=called_back)
        # These ITFs must not be refreshed in the middle of later tests.
        running.rows("UPDATE intents_to_file SET refresh_due_at = NULL")
        for worker in seen.workers[1:]:
            worker.signal(signal.SIGKILL)


def set_clocks(running: Running, offset: timedelta) -> None:
    """Set the clocks of the ledger and of Lighthouse; the processes keep their own."""
    step_clock(running.postgres.url, offset)
    running.control.turn("lighthouse", clock_offset_seconds=offset.total_seconds())


def plant(running: Running) -> list[dict[str, Any]]:
    people = [{"first_name": "Sol", "email": f"sol.{number}@example.com"} for number in range(PEOPLE)]
    found: list[dict[str, Any]] = running.control.call("POST", "lorota", "veterans", json=people)
    return found


def introduce(running: Running, veterans: list[dict[str, Any]]) -> None:
    """These people are known already, as most people are who come."""
    vault = Vault(from_env(running.system.environment))
    known = [Identity(veteran["icn"], veteran["participant_id"], veteran["file_number"]) for veteran in veterans]
    rows = [
        (veteran["account"], vault.encrypt(json.dumps(asdict(who))), vault.digest(who.icn))
        for veteran, who in zip(veterans, known, strict=True)
    ]
    statement = "INSERT INTO accounts (id, identity, icn_digest, identified_at) VALUES (%s, %s, %s, outbox_now())"
    with closing(psycopg2.connect(running.postgres.url)) as connection, connection, connection.cursor() as cursor:
        cursor.executemany(statement, rows)


def ask_all(seen: Aftermath) -> None:
    """Everybody posts; meanwhile the first workers die, and Redis forgets its pointers."""
    control, veterans = seen.running.control, seen.veterans
    wanted = [{"account": veteran["account"]} for veteran in veterans]
    tokens = [issued["access_token"] for issued in control.call("POST", "sign_in", "tokens", json=wanted)]
    with ThreadPoolExecutor(HANDS) as hands:
        answers = [hands.submit(ask, seen.running, tokens[hand::HANDS]) for hand in range(HANDS)]
        for _ in range(KILLS_WHILE_ASKING):
            kill_worker(seen)
        seen.running.redis.flushall()
        seen.answers = sum((answers_of(each) for each in answers), Counter())


def answers_of(future: Future[list[int]]) -> Counter[int]:
    return Counter(future.result(LONG_SECONDS))


def ask(running: Running, tokens: list[str]) -> list[int]:
    url = f"{running.system.url}/v0/intent_to_file/compensation"
    with requests.Session() as browser:
        browser.trust_env = False
        replies = [browser.post(url, headers={"Authorization": f"Bearer {token}"}, timeout=90) for token in tokens]
    return [reply.status_code for reply in replies]


def two_days_pass(seen: Aftermath) -> None:
    """In steps, each long enough for everything that is due to meet an upstream that is away."""
    offset = -OUTAGE
    for _ in range(KILLS_WHILE_AWAY):
        offset += STEP
        set_clocks(seen.running, offset)
        kill_worker(seen)
    set_clocks(seen.running, -LAST_MINUTE)
    seen.created_while_away = len(seen.running.received(CREATE, upstream="lighthouse"))


def lighthouse_is_back(seen: Aftermath) -> None:
    """Answers come late at first, and meanwhile the other workers die; then Redis forgets what they had taken."""
    running = seen.running
    running.control.clear("lighthouse")
    running.control.set("lighthouse", "late", seconds=1, chance=0.2, operation=CREATE)
    eventually(lambda: filed(running), LONG_SECONDS)
    # The breaker's slow start is over.
    set_clocks(running, timedelta())
    for kill in range(KILLS_WHILE_CREATING):
        eventually(lambda share=kill / KILLS_WHILE_CREATING: filed(running) > share * PEOPLE, LONG_SECONDS)
        kill_worker(seen)
    running.redis.flushall()
    running.control.clear("lighthouse")
    eventually(lambda: filed(running) >= PEOPLE, LONG_SECONDS)
    eventually(lambda: running.outstanding() == 0, LONG_SECONDS)


def filed(running: Running) -> int:
    """How many ITFs Lighthouse holds now."""
    return len(running.fakes.lighthouse.itfs.listed())


def kill_worker(seen: Aftermath) -> None:
    """The next worker has started before this one dies, whose ten seconds of silence then pass at once."""
    running = seen.running
    seen.workers.append(running.fork("worker"))
    eventually(lambda: any("worker.started" in line for line in seen.workers[-1].lines()))
    dying = seen.workers[-2]
    dying.signal(signal.SIGKILL)
    name = f"worker-{dying.pid}-%"
    held = "SELECT count(*) FROM outbox_messages WHERE state = 'running' AND worker_id LIKE %s"
    seen.struck_in_mid_call += running.value(held, name)
    running.rows("UPDATE outbox_processes SET beat_at = beat_at - interval '11 seconds' WHERE id LIKE %s", name)


def test_everybody_was_answered_at_once_and_nothing_reached_lighthouse_meanwhile(aftermath):
    assert aftermath.answers == {202: PEOPLE}
    assert aftermath.created_while_away == 0


def test_workers_were_killed_and_some_of_them_in_mid_call(aftermath):
    assert len({worker.pid for worker in aftermath.workers[:-1]}) == sum(KILLS)
    assert aftermath.struck_in_mid_call > 0
    unresolved = "SELECT count(*) FROM outbox_attempts WHERE status = 'unknown' AND job LIKE %s"
    assert aftermath.running.value(unresolved, "%create_itf") > 0


def test_all_are_confirmed_with_the_date_of_their_request(aftermath):
    query = """SELECT state, effective_date = asked_at AS kept,
                      upstream_created_at - asked_at > interval '47 hours' AS late
                 FROM intents_to_file WHERE account_id = ANY(%s::uuid[])"""
    rows = aftermath.running.rows(query, [veteran["account"] for veteran in aftermath.veterans])
    assert Counter(tuple(row.values()) for row in rows) == {("confirmed", True, True): PEOPLE}


def test_no_itf_is_upstream_twice(aftermath):
    filed = aftermath.running.control.call("GET", "lighthouse", "itfs")
    wanted = {veteran["icn"] for veteran in aftermath.veterans}
    ours = Counter((itf["icn"], itf["status"]) for itf in filed if itf["icn"] in wanted)
    assert ours == {(icn, "active"): 1 for icn in wanted}


def test_each_got_one_e_mail(aftermath):
    wanted = Counter((veteran["email"], "itf.confirmed_late") for veteran in aftermath.veterans)
    eventually(lambda: e_mails_sent(aftermath) >= wanted, LONG_SECONDS)
    assert e_mails_sent(aftermath) == wanted


def e_mails_sent(seen: Aftermath) -> Counter[tuple[str, str]]:
    """Whom of these people VANotify wrote to, and by which template. It looks up an ICN's address in its own time."""
    people = {veteran["email"] for veteran in seen.veterans}
    accepted = seen.running.control.call("GET", "va_notify", "notifications")
    return Counter((mail["to"], mail["template"]) for mail in accepted if mail["to"] in people)


def test_nothing_is_unaccounted_after_it(aftermath):
    """A human holds each one's date."""
    held = "SELECT count(*) FROM cases WHERE kind = 'dated_late' AND closed_at IS NULL"
    assert aftermath.running.value(held) == PEOPLE
    audit = aftermath.running.audit()
    assert audit.returncode == 0, audit.stdout
