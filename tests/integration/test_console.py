"""Pages of the console: search, the story of a submission, the inbox of cases, and a case with its owner's acts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from flaskapp.cases.service import open_case
from flaskapp.db import transaction
from flaskapp.ops.cases import ON_A_PAGE
from flaskapp.ops.console import OPEN_CASES_SHOWN
from flaskapp.travel_claims.models import TravelClaim
from sandbox.settings import OPERATOR
from tests.edge_app import csrf_of
from tests.integration.console_steps import act, logged_in, read
from tests.integration.steps import command, file_claim, filed_and_notified, refused
from tests.product import ADA, Product


@pytest.fixture
def operator(product: Product, secrets_folder: Path) -> FlaskClient:
    return logged_in(product, secrets_folder)


def search(operator: FlaskClient, wanted: object) -> str:
    return act(operator, "/ops/cases/", "/ops/find", wanted=str(wanted))


def case_of(product: Product) -> Any:
    return product.rows("SELECT id::text AS id, kind, owner, closed_at, closed_by, resolution, notes FROM cases")[0]


# -- search and stories ---------------------------------------------------------


def test_one_box_finds_a_submission_by_each_of_its_ids(product: Product, operator: FlaskClient) -> None:
    claim = refused(product)
    heading = f"<h1>Travel claim {claim.id[:8]}: failed</h1>"
    message = claim.message
    for wanted in (claim.id, claim.id[:8], message["id"], f"{message['id']}-{message['fence']}", f" {claim.id} "):
        assert heading in search(operator, wanted), wanted
    assert "<h1>Case " in search(operator, case_of(product).id[:8])
    for kind in ("id::text", "va_notify_id"):
        assert "<h1>Notification " in search(operator, product.value(f"SELECT {kind} FROM notifications"))
    assert "<h1>0 found</h1>" in search(operator, "nobody") and "Nothing here has this id" in search(operator, "%")


def test_a_search_that_fits_several_things_lists_them(product: Product, operator: FlaskClient) -> None:
    claim = refused(product)
    twin = claim.id[:8] + "-0000-4000-8000-000000000001"
    product.rows("UPDATE cases SET id = CAST(:id AS uuid) RETURNING 1", id=twin)
    page = search(operator, claim.id[:8])
    assert "<h1>2 found</h1>" in page
    assert f'href="/ops/cases/{twin}"' in page and f'href="/ops/submissions/travel_claim/{claim.id}"' in page


def test_a_page_tells_the_whole_story_and_names_nobody(product: Product, operator: FlaskClient) -> None:
    claim = filed_and_notified(product)
    page = read(operator, f"/ops/submissions/travel_claim/{claim.id}")
    for words in ("received", "sent at btsss", "pending → submitted", "sent at va_notify", "nothing: it is over"):
        assert words in page, words
    with transaction() as session:
        filed = session.get_one(TravelClaim, claim.id).filed
    assert filed is not None and filed["claim_number"]
    for secret in (ADA.icn, ADA.last_name, ADA.first_name, filed["claim_number"]):
        assert secret not in page


def test_a_page_says_what_happens_next_and_what_else_is_there(product: Product, operator: FlaskClient) -> None:
    claim, other = file_claim(product), file_claim(product, date="2031-03-05")
    page = read(operator, f"/ops/submissions/travel_claim/{claim.id}")
    assert "file check in claim: waits for its turn" in page
    assert f'href="/ops/submissions/travel_claim/{other.id}"' in page


def test_what_is_not_there_is_a_page_that_says_so(product: Product, operator: FlaskClient) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"
    paths = ("submissions/travel_claim/x", f"submissions/nothing/{nobody}", f"cases/{nobody}", "cases/x", "messages/7")
    for path in (*paths, f"accounts/{nobody}", f"messages/{2**70}"):
        response = operator.get(f"/ops/{path}")
        assert response.status_code == 404 and "<h1>" in response.text, path


def test_every_page_and_act_is_for_operators_and_every_act_needs_its_token(
    product: Product, operator: FlaskClient
) -> None:
    refused(product)
    case = case_of(product)
    pages = (f"/ops/cases/{case.id}", "/ops/cases/", "/ops/submissions/travel_claim/x", "/ops/messages/1")
    acts = [f"/ops/cases/{case.id}/{name}" for name in ("note", "assign", "close", "requeue")]
    stranger = product.app.test_client()
    for path in pages:
        assert stranger.get(path).status_code == 302
    for path in ("/ops/find", *acts):
        assert stranger.post(path, data={"note": "x"}).status_code == 401
        assert operator.post(path, data={"note": "x", "owner": "x", "outcome": "x", "reason": "x"}).status_code == 403
    assert (case_of(product).closed_at, case_of(product).notes) == (None, [])


# -- cases ------------------------------------------------------------------------


def many_cases(number: int) -> None:
    with transaction() as session:
        for each in range(number):
            open_case(session, "overdue" if each % 3 else "refused", "travel_claim", f"claim-{each:04}")


def test_the_inbox_counts_groups_filters_and_pages(product: Product, operator: FlaskClient) -> None:
    many_cases(ON_A_PAGE + 19)
    page = read(operator, "/ops/cases/")
    assert f"<h1>{ON_A_PAGE + 19} open cases</h1>" in page and "Page 1 of 2" in page
    assert page.count('href="/ops/cases/') >= ON_A_PAGE
    assert re.search(r"<td>46</td> <td><a href=\"[^\"]*kind=overdue[^\"]*\">overdue</a>", page)
    rest = read(operator, "/ops/cases/?page=2")
    assert rest.count("claim-00") == 19
    only = read(operator, "/ops/cases/?kind=refused")
    assert "<h1>23 open cases</h1>" in only and "Page" not in only
    assert "<h1>0 open cases</h1>" in read(operator, "/ops/cases/?owner=somebody")
    assert "<h1>0 closed cases</h1>" in read(operator, "/ops/cases/?closed=yes&page=-3")
    assert "<h1>69 open cases</h1>" in read(operator, "/ops/cases/?page=x&kind=")
    assert f"The first {OPEN_CASES_SHOWN} of {ON_A_PAGE + 19}" in read(operator, "/ops/")


def test_a_case_has_its_playbook_with_its_own_ids(product: Product, operator: FlaskClient) -> None:
    claim = refused(product)
    number = claim.message["id"]
    page = read(operator, f"/ops/cases/{case_of(product).id[:8]}")
    assert f"<code>flask outbox show {number}</code>" in page and "MESSAGE" not in page
    assert f"Message {number} is tried again" in page
    assert f"flask outbox show {number}" in command(product, "cases", "show", case_of(product).id[:8]).stdout


def test_a_case_is_noted_assigned_and_closed_with_who_and_why(product: Product, operator: FlaskClient) -> None:
    claim = refused(product)
    page = f"/ops/cases/{case_of(product).id}"
    assert "called &lt;b&gt;them&lt;/b&gt;" in act(operator, page, f"{page}/note", note="called <b>them</b>")
    assert "owner <strong>bea</strong>" in act(operator, page, f"{page}/assign", owner="bea")
    assert "Filed by hand" in act(operator, page, f"{page}/close", outcome="Filed by hand")
    case = case_of(product)
    assert (case.owner, case.closed_by, case.resolution) == ("bea", OPERATOR, "Filed by hand")
    done = product.rows(
        "SELECT what, actor FROM outbox_history WHERE what ~ '^case[.](noted|assigned|closed)$' ORDER BY id"
    )
    assert [tuple(row) for row in done] == [(f"case.{what}", OPERATOR) for what in ("noted", "assigned", "closed")]
    assert f"case closed (kind refused, case {case.id[:8]}) <small>{OPERATOR}</small>" in read(
        operator, f"/ops/submissions/travel_claim/{claim.id}"
    )
    assert "<h1>1 closed case</h1>" in read(operator, "/ops/cases/?closed=yes")


def test_what_somebody_else_did_first_is_said_and_nothing_is_changed(product: Product, operator: FlaskClient) -> None:
    refused(product)
    page = f"/ops/cases/{case_of(product).id}"
    token = csrf_of(operator.get(page).text)
    assert command(product, "cases", "close", case_of(product).id, "--resolution", "first").exit_code == 0
    said = operator.post(f"{page}/close", data={"csrf_token": token, "outcome": "second"}, follow_redirects=True).text
    assert "Nothing was done: there is no such open case" in said and case_of(product).resolution == "first"


def test_an_act_without_its_words_is_refused(product: Product, operator: FlaskClient) -> None:
    refused(product)
    page = f"/ops/cases/{case_of(product).id}"
    token = csrf_of(operator.get(page).text)
    for name in ("note", "assign", "close", "requeue"):
        for words in ("", "  ", "x" * 1001, "a\0"):
            fields = dict.fromkeys(("note", "owner", "outcome", "reason"), words)
            assert operator.post(f"{page}/{name}", data={"csrf_token": token, **fields}).status_code == 422


def test_the_work_of_a_case_is_requeued_with_who_and_why(product: Product, operator: FlaskClient) -> None:
    claim = refused(product)
    product.control.reset()
    page = f"/ops/cases/{case_of(product).id}"
    assert "1 of 1 requeued" in act(operator, page, f"{page}/requeue", reason="eligibility corrected")
    (done,) = product.rows("SELECT actor, detail FROM outbox_history WHERE what = 'message.reopened'")
    assert (done.actor, done.detail) == (OPERATOR, {"reason": "eligibility corrected"})
    product.work()
    assert (claim.state["state"], product.cases()) == ("submitted", [])
