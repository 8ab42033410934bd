"""*Requeue* on the RQ dashboard of the running web: only for an operator, and then the claim is filed after all."""

from __future__ import annotations

import pytest
import requests

from sandbox.settings import OPERATOR
from tests.edge_app import csrf_of
from tests.processes.running import SUBMIT
from tests.product import eventually

pytestmark = pytest.mark.processes

OWN = {"X-Requested-With": "XMLHttpRequest"}
QUEUE = "travel_claims"


@pytest.fixture(scope="module")
def parked(running):
    """Somebody whose claim BTSSS refused once and would take now. Returns the id of its entry on the dashboard."""
    person = running.newcomer()
    plan = {"icn": person.veteran.icn, "outcome": "refused", "times": 1}
    running.control.call("POST", "btsss", "outcomes", json=plan)
    running.ask(person)
    running.until_notified(person)
    message = running.message(person)
    entry = f"{message['id']}-{message['fence']}"
    eventually(lambda: entry in running.shown_failed(QUEUE))
    return person, entry


@pytest.fixture(scope="module")
def operator(running):
    """A browser in which the operator has logged in."""
    browser = requests.Session()
    browser.trust_env = False
    page = browser.get(f"{running.system.url}/ops/login")
    form = {"name": OPERATOR, "password": running.system.secrets.operator_password, "csrf_token": csrf_of(page.text)}
    assert browser.post(f"{running.system.url}/ops/login", data=form, allow_redirects=False).status_code == 303
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def requeue(running, parked):
    def press(browser, **headers):
        url = f"{running.system.url}/rq/job/{parked[1]}/requeue"
        return browser.post(url, headers=headers, timeout=90).status_code

    return press


def test_the_parked_claim_is_shown_without_saying_whose_it_is(running, parked, operator):
    person, entry = parked
    shown = operator.get(f"{running.system.url}/rq/0/data/jobs/{QUEUE}/failed/8/asc/1.json")
    assert entry in shown.text and "parked: refused" in shown.text
    assert person.veteran.icn not in shown.text and person.veteran.phone not in shown.text


def test_only_a_press_on_the_operators_own_page_files_it_again(running, parked, operator, requeue):
    person, entry = parked
    origin = running.system.url
    assert requeue(requests, **OWN, Origin=origin) == 401
    assert requeue(operator, Origin="https://evil.example") == 403
    assert (entry in running.shown_failed(QUEUE), running.state(person)) == (True, "failed")
    assert requeue(operator, **OWN, Origin=origin) == 200
    eventually(lambda: len(running.texts(person)) == 2)
    assert (running.state(person), len(running.filed(person))) == ("submitted", 1)
    assert len(running.received(SUBMIT, person)) == 2


def test_it_leaves_the_failed_view_and_the_case_is_closed(running, parked):
    person, entry = parked
    eventually(lambda: entry not in running.shown_failed(QUEUE))
    cases = running.rows("SELECT closed_at FROM cases WHERE subject_id = %s", person.claim_id)
    assert len(cases) == 1 and cases[0]["closed_at"] is not None


def test_history_names_the_operator(running, parked):
    person, _ = parked
    moves = running.rows("SELECT what, actor FROM outbox_history WHERE subject_id = %s ORDER BY id", person.claim_id)
    assert ("message.reopened", OPERATOR) in {(move["what"], move["actor"]) for move in moves}
