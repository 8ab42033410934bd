"""Documents whose upload was never answered: when given up, nobody says that they failed, for they may have arrived."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs.engine import runner
from tests.integration.form526_steps import (
    UPLOAD,
    UPLOADS,
    Filer,
    attempts,
    evidence,
    filer,
    grant,
    poll,
    statuses,
    uploaded,
)
from tests.integration.itf_steps import mails, pass_time
from tests.integration.steps import call, command, reconfigure, sweep
from tests.product import Product

# After this time an upload can no longer be answered, and one without an answer is sent again.
CONFIRMABLE = {"seconds": 130}
UNKNOWN, MAILS = "could not confirm whether this document got into your file", "form526.document_unconfirmed"


@pytest.fixture(autouse=True)
def one_document_a_form(product: Product) -> None:
    reconfigure(product, bdd_instructions="qualified")


def unanswered(product: Product, times: int) -> Callable[[], bool]:
    query = "SELECT count(*) = :times FROM outbox_attempts WHERE job LIKE '%.upload_document' AND status = 'unknown'"
    return lambda: bool(product.value(query, times=times))


def lost(product: Product, times: int = 1) -> tuple[Filer, dict[str, Any]]:
    """A form with one file, of which Lighthouse accepted so many uploads without answering."""
    product.control.set("documents", "drop", times=times, operation=UPLOADS)
    person = filer(product)
    filed = person.file(person.attach())
    for number in range(1, times + 1):
        product.work(until=unanswered(product, number))
        pass_time(product, **CONFIRMABLE)
    # A delivery check would follow only days later.
    assert mails(product) == ["form526.accepted"]
    return person, filed


def assert_unconfirmed(product: Product, person: Filer, filed: dict[str, Any]) -> None:
    """Everybody gets the same answer: the person, on the page and by e-mail, and staff."""
    row = evidence(product)
    assert (row["lighthouse_status"], row["notification"]) == ("failed", "document_unconfirmed")
    assert UNKNOWN in person.documents(filed)[0]["message"]
    assert (mails(product, 2), product.cases()) == (["form526.accepted", MAILS], ["may_exist_upstream"])
    assert command(product, "audit", "--trace").exit_code == 0
    # `possibly_twice` is set exactly when more than one upload arrived.
    assert row["possibly_twice"] == (len(uploaded(product)) > 1)


def test_an_unanswered_upload_is_notified_as_unconfirmed_and_sent_again_as_possibly_twice(
    product: Product,
) -> None:
    person, filed = lost(product)
    document = str(evidence(product)["id"])
    pass_time(product, days=31)
    sweep(product)
    product.work()
    assert (evidence(product)["failed_step"], len(uploaded(product))) == ("NO_WORD", 1)
    assert_unconfirmed(product, person, filed)
    assert command(product, "documents", "upload-again", document).exit_code == 0
    pass_time(product, **CONFIRMABLE)
    product.work()
    assert (len(uploaded(product)), evidence(product)["possibly_twice"]) == (2, True)
    poll(product)
    assert (statuses(product), product.cases()) == (["done"], [])
    assert person.documents(filed)[0]["message"] == "This document is in your file."


def test_a_last_upload_without_an_answer_is_no_failure_either(product: Product) -> None:
    person = filer(product)
    filed = person.file(person.attach())
    product.work(until=lambda: product.value("SELECT count(*) FROM form526_document_submissions"))
    granted = grant(product, evidence(product)["id"])
    product.control.set("documents", "drop", times=1, operation=UPLOADS)
    answer = call(product, granted, UPLOAD)
    pass_time(product, days=31)
    runner.finish(UPLOAD, granted, answer)
    product.work()
    assert attempts(product, evidence(product)["id"]) == [("write", "unknown")]
    assert_unconfirmed(product, person, filed)


def test_two_unanswered_uploads_may_be_there_twice(product: Product) -> None:
    person, filed = lost(product, times=2)
    pass_time(product, days=31)
    sweep(product)
    product.work()
    assert len(uploaded(product)) == 2
    assert_unconfirmed(product, person, filed)


def test_a_refusal_says_nothing_about_the_unanswered_upload_before_it(product: Product) -> None:
    person, filed = lost(product)
    product.control.set("documents", "status", status=413, operation=UPLOADS)
    product.work()
    assert (evidence(product)["upstream_error"], len(uploaded(product))) == ("refused", 1)
    assert_unconfirmed(product, person, filed)


def test_a_duplicate_after_an_unanswered_upload_is_unconfirmed_at_once(product: Product) -> None:
    """Lighthouse refuses a duplicate since June 2025, and this one can only be of the upload whose answer was lost."""
    person, filed = lost(product)
    product.control.turn("documents", refuse_duplicates=True)
    product.work()
    document = str(evidence(product)["id"])
    assert (evidence(product)["failed_step"], evidence(product)["upstream_error"]) == ("NO_WORD", "duplicate")
    assert attempts(product, document)[0] == ("write", "unknown")
    assert attempts(product, document)[-1] == ("write", "error")
    assert (len(uploaded(product)), product.outstanding()) == (1, 0)
    assert_unconfirmed(product, person, filed)
    assert command(product, "documents", "delivered", document, "--note", "x").exit_code == 0
    assert (statuses(product), product.cases()) == (["done"], [])


def test_a_duplicate_of_a_file_that_the_form_names_twice_is_no_failure(product: Product) -> None:
    product.control.turn("documents", refuse_duplicates=True)
    person = filer(product)
    filed = person.file(person.attach(), person.attach())
    product.work()
    poll(product)
    assert (sorted(statuses(product)), len(uploaded(product))) == (["done", "failed"], 1)
    assert [UNKNOWN in each["message"] for each in person.documents(filed)].count(True) == 1
    assert (mails(product, 2), product.cases()) == (["form526.accepted", MAILS], ["may_exist_upstream"])


def test_a_duplicate_is_sent_again_only_by_an_operator(product: Product) -> None:
    lost(product)
    product.control.turn("documents", refuse_duplicates=True)
    product.work()
    product.control.turn("documents", refuse_duplicates=False)
    pass_time(product, days=1)
    sweep(product)
    product.work()
    assert len(uploaded(product)) == 1
    assert command(product, "documents", "upload-again", str(evidence(product)["id"])).exit_code == 0
    pass_time(product, **CONFIRMABLE)
    product.work()
    poll(product)
    assert (statuses(product), len(uploaded(product)), product.cases()) == (["done"], 2, [])
    assert command(product, "audit", "--trace").exit_code == 0


def test_a_refusal_after_an_upload_that_was_received_is_no_failure_either(product: Product) -> None:
    """It failed at Lighthouse and is sent again. If that is refused, the first one may have arrived after all."""
    product.control.turn("documents", plan="fails_at_claims_evidence")
    person = filer(product)
    filed = person.file(person.attach())
    product.work()
    poll(product)
    assert evidence(product)["notification"] == "document_failed"
    product.control.set("documents", "status", status=413, operation=UPLOADS)
    assert command(product, "documents", "upload-again", str(evidence(product)["id"])).exit_code == 0
    product.work()
    assert (evidence(product)["failed_step"], evidence(product)["notification"]) == ("NO_WORD", "document_unconfirmed")
    assert UNKNOWN in person.documents(filed)[0]["message"]
    assert mails(product, 3)[-1] == MAILS and "may_exist_upstream" in product.cases()


def test_a_failed_document_may_still_have_arrived_by_its_unanswered_upload(product: Product) -> None:
    person, filed = lost(product)
    product.control.turn("documents", plan="fails_at_claims_evidence")
    product.work()
    poll(product)
    assert evidence(product)["failed_step"] == "CLAIMS_EVIDENCE"
    assert_unconfirmed(product, person, filed)
    assert command(product, "documents", "delivered", str(evidence(product)["id"]), "--note", "x").exit_code == 0
    assert (statuses(product), product.cases()) == (["done"], [])
