"""Redrive of parked work by its cause: a preview, then one, ten and the rest, from the console and from a shell."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from flaskapp.db import db, transaction
from jobs import housekeeping
from outbox import messages
from sandbox.settings import OPERATOR
from tests.edge_app import csrf_of
from tests.integration.console_steps import logged_in, read
from tests.integration.footprint_steps import FILLING, explaining
from tests.integration.form526_steps import filer
from tests.integration.steps import command, file_claim
from tests.product import Product

JOB = "jobs.travel_claims.file_check_in_claim"


@pytest.fixture
def operator(product: Product, secrets_folder: Path) -> FlaskClient:
    return logged_in(product, secrets_folder)


def park(product: Product, number: int) -> str:
    """So many claims that BTSSS refused; returns the cause that they have in common."""
    product.control.play("btsss", "refused")
    for each in range(number):
        file_claim(product, date=f"2031-03-{each + 1:02}")
    product.work()
    product.control.play("btsss", "ok")
    (cause,) = {row[0] for row in product.rows("SELECT parked_reason FROM outbox_messages")}
    return str(cause)


def group(job: str, cause: str, **arguments: Any) -> str:
    return f"/ops/parked/group?{urlencode({'job': job, 'cause': cause, **arguments})}"


def hidden(page: str) -> dict[str, str]:
    """The fields of the page's first step."""
    form = page.partition('action="/ops/parked/redrive"')[2].partition("</form>")[0]
    found = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form)
    return {name: html.unescape(value) for name, value in found}


def step(operator: FlaskClient, page: str, **fields: str) -> str:
    """Press the button of the step that the page offers; returns the page after it."""
    form = {**hidden(page), "reason": "eligibility corrected", **fields}
    response = operator.post("/ops/parked/redrive", data=form, follow_redirects=True)
    assert response.status_code == 200, response.text
    return " ".join(response.text.split())


def parked(product: Product) -> int:
    return int(product.value("SELECT count(*) FROM outbox_messages WHERE state = 'parked'"))


def test_parked_work_is_grouped_by_cause_with_a_preview(product: Product, operator: FlaskClient) -> None:
    cause = park(product, 3)
    page = read(operator, "/ops/parked/")
    assert "<td>3</td> <td>file check in claim</td> <td><a href=" in page and f">{cause}</a>" in page
    product.rows("UPDATE outbox_messages SET deadline_at = outbox_now() WHERE id = 1 RETURNING 1")
    said = "3 parked; 0 filed again since by the same person; 1 past their date; btsss can be called."
    assert said in read(operator, group(JOB, cause))
    assert command(product, "breakers", "hold", "btsss", "--for", "1h", "--reason", "x").exit_code == 0
    assert "btsss cannot be called: it is held." in read(operator, group(JOB, cause))
    assert operator.get(group(JOB, "another")).status_code == 404


def test_it_goes_from_one_to_ten_to_all_and_each_act_is_recorded(product: Product, operator: FlaskClient) -> None:
    cause = park(product, 14)
    page = step(operator, read(operator, group(JOB, cause)))
    assert "1 requeued." in page and "0 done, 0 parked again, 1 still outstanding" in page
    assert "Requeue 1</button>" in page, "not more before that one is done"
    product.work()
    page = read(operator, group(JOB, cause, step=1, after=1, of="1"))
    assert "1 done" in page and "Requeue 10</button>" in page
    page = step(operator, page)
    assert "10 requeued." in page and parked(product) == 3
    product.work()
    again = group(JOB, cause, **{name: hidden(page)[name] for name in ("step", "after", "of")})
    assert "Requeue 3</button>" in read(operator, again)
    page = step(operator, read(operator, again))
    assert "3 requeued." in page and "Nothing is parked for this cause any more" in page
    product.work()
    assert (parked(product), product.cases()) == (0, [])
    done = product.rows("SELECT actor, detail ->> 'reason' FROM outbox_history WHERE what = 'message.reopened'")
    assert done == [(OPERATOR, "eligibility corrected")] * 14
    assert "Nothing is parked." in read(operator, "/ops/parked/")


def test_it_stops_when_the_first_comes_back(product: Product, operator: FlaskClient) -> None:
    cause = park(product, 12)
    product.control.play("btsss", "refused")
    page = step(operator, read(operator, group(JOB, cause)))
    product.work()
    page = read(operator, group(JOB, cause, **{name: hidden(page)[name] for name in ("step", "after", "of")}))
    assert "1 parked again" in page and "correct the cause first" in page and "Requeue 1</button>" in page
    page = step(operator, page, step="10")
    assert "1 requeued." in page, "whatever the form says"


def test_it_stops_when_the_upstream_cannot_be_called(product: Product, operator: FlaskClient) -> None:
    cause = park(product, 2)
    assert command(product, "breakers", "hold", "btsss", "--for", "1h", "--reason", "x").exit_code == 0
    page = step(operator, read(operator, group(JOB, cause)))
    assert "0 requeued; stopped: btsss cannot be called, it is held." in page and parked(product) == 2


def test_some_are_chosen(product: Product, operator: FlaskClient) -> None:
    cause = park(product, 3)
    page = group(JOB, cause)
    token = csrf_of(operator.get(page).text)
    form = {"csrf_token": token, "job": JOB, "cause": cause, "reason": "these two", "message": ["1", "3", "x", "99999"]}
    said = operator.post("/ops/parked/chosen", data=form, follow_redirects=True).text
    assert "2 requeued." in said
    assert product.rows("SELECT id FROM outbox_messages WHERE state = 'parked'") == [(2,)]
    nothing = {**form, "message": []}
    assert "Nothing was chosen." in operator.post("/ops/parked/chosen", data=nothing, follow_redirects=True).text


def test_superseded_work_is_passed_over_unless_it_is_wanted(product: Product, operator: FlaskClient) -> None:
    product.control.set("form526", "status", status=422)
    person = filer(product)
    first = person.file(note="one")
    product.work()
    product.control.reset()
    person.file(note="two")
    product.work()
    (message,) = [each for each in product.messages() if each["state"] == "parked"]
    page = read(operator, group(message["job"], message["parked_reason"]))
    assert "1 parked; 1 filed again since by the same person" in page
    page = step(operator, page)
    assert "0 requeued; 1 passed over: the person filed a newer one." in page and parked(product) == 1
    page = step(operator, read(operator, group(message["job"], message["parked_reason"])), although_superseded="yes")
    assert "1 requeued." in page
    assert person.word(first) != "failed"


def test_a_shell_does_the_same(product: Product) -> None:
    cause = park(product, 3)
    (listed,) = json.loads(command(product, "outbox", "parked", "--json").stdout)
    assert (listed["job"], listed["parked_reason"], listed["messages"]) == (JOB, cause, 3)
    seen = command(product, "outbox", "redrive", JOB, cause)
    assert "3 parked; 0 filed again since" in seen.stdout and "Nothing was changed" in seen.stdout
    assert command(product, "outbox", "redrive", JOB, cause, "--yes").exit_code == 2
    done = command(product, "outbox", "redrive", JOB, cause, "--most", "2", "--yes", "--reason", "corrected")
    assert (done.exit_code, done.stdout.splitlines()[-1], parked(product)) == (0, "2 requeued.", 1)
    assert command(product, "outbox", "redrive", JOB, "another").exit_code == 1
    number = str(product.value("SELECT id FROM outbox_messages WHERE state = 'parked'"))
    assert command(product, "outbox", "requeue", number, "--reason", "the last").exit_code == 0
    reasons = product.rows("SELECT detail ->> 'reason' FROM outbox_history WHERE what = 'message.reopened' ORDER BY id")
    assert [row[0] for row in reasons] == ["corrected", "corrected", "the last"]


def test_each_step_needs_its_token_and_a_reason(product: Product, operator: FlaskClient) -> None:
    cause = park(product, 1)
    token = csrf_of(operator.get(group(JOB, cause)).text)
    form = {"job": JOB, "cause": cause, "reason": "x", "message": "1"}
    for path in ("/ops/parked/redrive", "/ops/parked/chosen"):
        assert operator.post(path, data=form).status_code == 403
        assert operator.post(path, data={**form, "csrf_token": token, "reason": " "}).status_code == 422
        odd = {**form, "csrf_token": token, "cause": "another", "after": "-9", "of": "x,²", "step": "y", "message": "²"}
        assert operator.post(path, data=odd).status_code == 303
    assert parked(product) == 1


def test_no_page_reads_all_that_waits(product: Product, operator: FlaskClient) -> None:
    with transaction() as session:
        session.execute(text(FILLING[0]), {"count": 20_000, "worker": product.app.extensions["process"].worker_id})
    with product.app.app_context(), db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE outbox_messages"))
    housekeeping.sweep()
    with explaining() as plans:
        for page in ("/ops/", "/ops/parked/", "/ops/breakers/", "/ops/breakers/btsss", group("none", "filling")):
            read(operator, page)
    assert "outbox_messages" not in {table for table, _ in plans.read_whole}
    assert "ix_outbox_messages_cause" in plans.of(messages.PARKED_GROUPS)
