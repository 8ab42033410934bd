"""A form and an intent to file never wait for each other; cases of a person with two late ones come first."""

from __future__ import annotations

import json
from typing import Any

from flaskapp.intent_to_file.states import USED_WORDS
from sandbox.settings import OPERATOR, kept_secrets
from sandbox.upstreams.cast import DEFAULT_CAST
from tests.edge_app import log_in
from tests.integration.form526_steps import filer, submissions, tried
from tests.integration.itf_steps import WITH_ITF, itfs, pass_time, sign_in
from tests.integration.steps import command, sweep
from tests.product import ADA, Product

CONFIRMED, EXPIRED, PENDING, ABSENT = ADA, *DEFAULT_CAST[1:4]
FAILED = WITH_ITF["unknown"]


def itf_of(product: Product) -> dict[str, dict[str, Any]]:
    """Every ITF by its account."""
    return {str(row["account_id"]): row for row in itfs(product)}


def test_a_form_is_filed_whatever_happened_to_the_intent_to_file(product: Product) -> None:
    sign_in(product, FAILED).ask()
    product.work(until=tried(product, 1, "lighthouse_claims"))
    pass_time(product, hours=50)
    product.work()
    for veteran in (CONFIRMED, EXPIRED):
        sign_in(product, veteran).ask()
    product.work()
    over = "UPDATE intents_to_file SET asked_at = asked_at - interval '2 years', expires_at = expires_at - "
    over += "interval '2 years', effective_date = effective_date - interval '2 years' WHERE account_id = :account"
    product.rows(f"{over} RETURNING 1", account=EXPIRED.account)
    # Not the whole host: the documents of the same forms go there too.
    product.control.set("lighthouse", "status", status=503, operation="/services/claims")
    sign_in(product, PENDING).ask()
    people = (CONFIRMED, EXPIRED, FAILED, PENDING, ABSENT)
    filed = {veteran.account: filer(product, veteran).file() for veteran in people}
    product.work(until=lambda: len(submissions(product)) == len(people) and product.outstanding() == 1)
    for veteran in people:
        assert filer(product, veteran).word(filed[veteran.account]) == "success"
    noted = dict(product.rows("SELECT account_id::text, itf_id FROM form526_submissions"))
    held = itf_of(product)
    assert {account: row["state"] for account, row in held.items()} == {
        CONFIRMED.account: "confirmed",
        EXPIRED.account: "confirmed",
        FAILED.account: "failed",
        PENDING.account: "pending",
    }
    assert {account for account, itf_id in noted.items() if itf_id} == {CONFIRMED.account, PENDING.account}
    used = {account: (row["used_at"] is not None, row["refresh_due_at"] is not None) for account, row in held.items()}
    assert used == {
        CONFIRMED.account: (True, True),
        EXPIRED.account: (False, True),
        FAILED.account: (False, False),
        PENDING.account: (False, False),
    }
    # It stays the person's valid one while upstream shows it, and says for what it does not count any more.
    (shown,) = sign_in(product, CONFIRMED).shown()
    assert (shown["status"], shown["recordMessage"]) == ("active", USED_WORDS)
    product.control.clear("lighthouse")
    product.work()
    assert itf_of(product)[PENDING.account]["state"] == "confirmed"


def test_an_intent_to_file_is_created_beside_a_failed_or_late_form(product: Product) -> None:
    failed, late = ADA, PENDING
    product.control.turn("form526", refuse_with="")
    first = filer(product, failed).file()
    product.work()
    product.control.set("form526", "refuse")
    second = filer(product, late).file()
    for veteran in (failed, late):
        sign_in(product, veteran).ask()
    product.work(until=lambda: [row["state"] for row in itfs(product)] == ["confirmed"] * 2)
    assert filer(product, failed).word(first) == "non_retryable_error"
    assert filer(product, late).word(second) == "try"


def test_cases_of_a_person_whose_form_and_itf_are_both_late_come_first(product: Product, secrets_folder: Any) -> None:
    product.control.turn("form526", refuse_with="")
    filer(product, ABSENT).file()
    product.work()
    product.control.set("lighthouse", "refuse")
    product.control.set("form526", "refuse")
    sign_in(product).ask()
    late = filer(product).file()["submissionId"]
    pass_time(product, hours=30)
    for _ in range(2):
        sweep(product)
    listed = json.loads(command(product, "cases", "list", "--json").output)
    assert [(row["kind"], row["priority"]) for row in listed][2:] == [("refused", 0)]
    assert {(row["kind"], row["priority"]) for row in listed[:2]} == {("past_midnight", 1), ("overdue", 1)}
    assert {row["subject_id"] for row in listed[:2]} == {late, str(itfs(product)[0]["id"])}
    (note,) = product.value("SELECT notes FROM cases WHERE kind = 'overdue'")
    assert note["note"] == "form and intent to file are both late"
    operator = product.app.test_client()
    assert log_in(operator, kept_secrets(secrets_folder).operator_password, OPERATOR).status_code == 303
    page = operator.get("/ops/").text
    assert page.index(late[:8]) < page.index(listed[2]["subject_id"][:8])
