"""`Prefer: wait=N`: a status route answers when the state changes, and however many wait, one look serves all."""

from __future__ import annotations

import contextvars
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from flask import Flask

from flaskapp.db import db
from flaskapp.web.passthrough import Bulkhead
from flaskapp.web.waiting import PAUSE_SECONDS, Watch, wanted_seconds
from tests.integration.form526_steps import filer
from tests.integration.itf_steps import sign_in
from tests.integration.steps import reconfigure
from tests.product import Product, eventually

CLAIMS = "/check_in/v0/travel_claims"
APPLIED = "Preference-Applied"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=5", 5),
        ("respond-async, wait=10", 10),
        ('Wait = "7"; foo', 7),
        ("wait=0", None),
        ("wait=-1", None),
        ("wait=soon", None),
        ("await=5", None),
        ("wait=12345678", None),
        ("", None),
    ],
)
def test_what_a_caller_prefers(header: str, seconds: int | None) -> None:
    with Flask(__name__).test_request_context(headers={"Prefer": header}):
        assert wanted_seconds() == seconds


def waiting(product: Product, many: int) -> bool:
    watch: Watch = product.app.extensions["watch"]
    return len(watch._waiters) == many


def test_who_waits_is_answered_when_the_state_changes(product: Product) -> None:
    # A change that nobody sees keeps them waiting for longer than the test takes.
    reconfigure(product, status_wait_seconds=200.0, request_seconds=200.0)
    client = product.sign_in()
    claim = product.ask(client).get_json()["data"]["id"]
    person, form = sign_in(product), filer(product)
    person.post()
    filed = form.file(form.attach())
    paths = {
        "itf": "/v0/intent_to_file",
        "form": f"/v0/disability_compensation_form/submission_status/{filed['jobId']}",
        "documents": f"/v0/disability_compensation_form/{filed['submissionId']}/documents",
    }
    headers = {**person.headers, "Prefer": "wait=600"}
    with ThreadPoolExecutor(8) as pool:

        def get(path: str) -> Future[Any]:
            return pool.submit(contextvars.Context().run, client.get, path, headers=headers)

        answers = {name: get(path) for name, path in paths.items()}
        answers |= {f"claim {number}": get(f"{CLAIMS}/{claim}") for number in range(3)}
        eventually(lambda: waiting(product, 6))
        # Nobody holds a connection but, for a moment, the one who looks.
        eventually(lambda: db.engine.pool.checkedout() == 0)
        assert waiting(product, 6)
        product.work()
        found = {name: answer.result(timeout=100) for name, answer in answers.items()}
    assert {answer.headers.get(APPLIED) for answer in found.values()} == {"wait=200"}
    states = {found[f"claim {number}"].get_json()["data"]["state"] for number in range(3)}
    assert states == {"submitted"}
    assert found["itf"].get_json()["data"]["attributes"]["intentToFile"][0]["recordState"] == "confirmed"
    assert found["form"].get_json()["data"]["attributes"]["status"] == "success"
    # Nothing can change any more, so nobody waits.
    ended = client.get(f"{CLAIMS}/{claim}", headers=headers)
    assert ended.status_code == 200 and APPLIED not in ended.headers


def test_many_who_wait_cost_one_look_and_a_full_process_answers_at_once(product: Product) -> None:
    client = product.sign_in()
    claim = product.ask(client).get_json()["data"]["id"]
    watch: Watch = product.app.extensions["watch"]
    places: Bulkhead = product.app.extensions["bulkhead"]
    began = time.monotonic()
    with ThreadPoolExecutor(7) as pool:
        asked = [
            pool.submit(contextvars.Context().run, client.get, f"{CLAIMS}/{claim}", headers={"Prefer": "wait=2"})
            for _ in range(7)
        ]
        eventually(lambda: waiting(product, 7))
        over = client.get(f"{CLAIMS}/{claim}", headers={"Prefer": "wait=2"})
        assert over.status_code == 200 and APPLIED not in over.headers
        answers = [each.result() for each in asked]
    assert {(each.headers.get(APPLIED), each.get_json()["data"]["state"]) for each in answers} == {
        ("wait=2", "pending")
    }
    assert 1 <= watch.looks <= (time.monotonic() - began) / PAUSE_SECONDS + 1
    with ExitStack() as held:
        assert all(held.enter_context(places.take("status")) for _ in range(7))
