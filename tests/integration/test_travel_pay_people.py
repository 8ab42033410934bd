"""The person of a travel pay claim: identified in the background; the e-mail address may be missing or come later."""

from __future__ import annotations

import uuid
from dataclasses import replace

from flaskapp.accounts.models import Account
from flaskapp.db import transaction
from flaskapp.travel_pay.states import WORDS
from sandbox.upstreams.cast import TRAVEL_PAY_CAST
from tests.integration import itf_steps
from tests.integration import travel_pay_steps as steps
from tests.integration.itf_steps import WITHOUT_ICN
from tests.integration.steps import command
from tests.integration.travel_pay_filing import BEN, assert_filed_once, file, tried
from tests.integration.travel_pay_steps import CLAIMS_URL, traveling
from tests.product import ADA, Product

YARA = next(veteran for veteran in TRAVEL_PAY_CAST if veteran.email is None)
YARA_WITH_EMAIL = replace(YARA, email="yara.holm@example.com")


def account_reads(product: Product) -> int:
    return len(product.control.received("accounts"))


def test_a_person_is_identified_once_in_the_background(product: Product) -> None:
    product.control.set("accounts", "refuse")
    first, second = file(product, ADA), file(product, ADA, "2031-03-05T09:30:00")
    product.work(until=tried(first, 1))
    assert (first.stands, first.tries()) == (("pending", "appointment"), [("identify_traveler", "read", "error")])
    product.control.clear("accounts")
    product.work()
    assert [each.stands for each in (first, second)] == [("submitted", "submit")] * 2
    reads_before = account_reads(product)
    third = file(product, ADA, "2031-03-06T09:30:00")
    product.work()
    assert (third.stands[0], account_reads(product)) == ("submitted", reads_before)
    assert len(steps.on_file(product)) == 3


def test_without_an_icn_or_an_e_mail_travel_pay_is_not_called_and_a_human_holds_it(product: Product) -> None:
    """When an e-mail address exists by the time of a requeue, the claim is filed after all."""
    nobody, unreachable = file(product, WITHOUT_ICN), file(product, YARA)
    product.work()
    codes = product.rows(
        "SELECT error_class, error_detail FROM outbox_attempts WHERE upstream = 'accounts' ORDER BY id"
    )
    assert {tuple(code) for code in codes} == {
        ("Rejected", "no ICN for this account"),
        ("Rejected", "no e-mail for this account"),
    }
    for filing in (nobody, unreachable):
        assert (filing.stands, filing.cases) == (("failed", "appointment"), ["refused"])
        assert filing.again() == (422, "NOT_FILED", WORDS["failed"])
    # Nobody is written to without an ICN: the one case is for whoever reaches the person.
    assert (product.cases(), product.rows("SELECT 1 FROM notifications")) == (["refused", "refused"], [])
    assert [product.control.received(upstream) for upstream in ("sts", "travel_pay")] == [[], []]
    assert command(product, "audit").exit_code == 0
    product.fakes.fakes.cast.add(YARA_WITH_EMAIL)
    assert command(product, "outbox", "requeue", str(unreachable.message["id"])).exit_code == 0
    product.work()
    assert_filed_once(unreachable, "answered")
    assert unreachable.notifications[-1] == "submitted"


def test_nobody_is_promised_nothing_for_another_appointment(product: Product) -> None:
    """A read has shown that VA's records have no ICN for the account, or a claim has."""
    nobody = traveling(product, WITHOUT_ICN)
    assert nobody.get(CLAIMS_URL).status_code == 403
    for _ in range(2):
        refused = nobody.post()
        (entry,) = refused.get_json()["errors"]
        assert (refused.status_code, entry["status"], entry["code"]) == (403, "403", "NO_ICN")
        assert "Call VA at" in entry["detail"]
    assert (steps.rows(product), product.messages(), product.cases()) == ([], [], [])
    other = replace(WITHOUT_ICN, uuid=str(uuid.uuid4()))
    file(product, other)
    product.work()
    assert traveling(product, other).post("2031-03-05T09:30:00").status_code == 403
    # A day later the account may have an ICN, but a human still has the claim that failed.
    itf_steps.pass_time(product, hours=25)
    assert traveling(product, other).post("2031-03-06T09:30:00").status_code == 403
    product.work()
    assert (len(steps.rows(product)), product.cases()) == (1, ["refused"])


def test_an_account_stored_without_an_e_mail_is_read_again(product: Product) -> None:
    """Other flows store none, because they need none; nor did releases before there were any."""
    for veteran in (YARA, BEN):
        itf_steps.sign_in(product, veteran).ask()
    product.work()
    forget_the_email_of(product, BEN.account)
    product.fakes.fakes.cast.add(YARA_WITH_EMAIL)
    filings = [file(product, veteran) for veteran in (YARA, BEN)]
    reads_before = account_reads(product)
    product.work()
    for filing in filings:
        assert_filed_once(filing, "answered")
    assert account_reads(product) == reads_before + 2


def forget_the_email_of(product: Product, account_id: str) -> None:
    """Store the account's identity as it was stored before there were e-mails."""
    with transaction() as session:
        account = session.get_one(Account, uuid.UUID(account_id))
        account.identity = {name: value for name, value in (account.identity or {}).items() if name != "email"}
