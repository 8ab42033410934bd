"""A document whose upload was never answered: given up, nobody says that it failed, for it may be in the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs.engine import runner
from tests.house import House
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

# So long after an upload its answer can come no more, and one that was lost is sent again.
SETTLED = {"seconds": 10}
UNKNOWN, MAILS = "could not confirm whether this document got into your file", "form526.document_unconfirmed"


@pytest.fixture(autouse=True)
def one_document_a_form(house: House) -> None:
    reconfigure(house, bdd_instructions="qualified")


def unanswered(house: House, times: int) -> Callable[[], bool]:
    query = "SELECT count(*) = :times FROM outbox_attempts WHERE job LIKE '%.upload_document' AND status = 'unknown'"
    return lambda: bool(house.value(query, times=times))


def lost(house: House, times: int = 1) -> tuple[Filer, dict[str, Any]]:
    """A form with one file, so many uploads of which Lighthouse took and never answered."""
    house.control.set("documents", "drop", times=times, operation=UPLOADS)
    person = filer(house)
    filed = person.file(person.attach())
    for number in range(1, times + 1):
        house.work(until=unanswered(house, number))
        pass_time(house, **SETTLED)
    # Days later we ask whether it arrived.
    assert mails(house) == ["form526.accepted"]
    return person, filed


def assert_unconfirmed(house: House, person: Filer, filed: dict[str, Any]) -> None:
    """The same to everybody: its person, on the page and by e-mail, and staff."""
    row = evidence(house)
    assert (row["lighthouse_status"], row["notice"]) == ("failed", "document_unconfirmed")
    assert UNKNOWN in person.documents(filed)[0]["message"]
    assert (mails(house, 2), house.cases()) == (["form526.accepted", MAILS], ["may_exist_upstream"])
    assert command(house, "audit", "--trace").exit_code == 0
    # Whatever we cannot tell about: it is there as often as we say it may be.
    assert row["possibly_twice"] == (len(uploaded(house)) > 1)


def test_given_up_while_nobody_knows_it_is_told_as_unconfirmed_and_sent_again_as_possibly_twice(house: House) -> None:
    person, filed = lost(house)
    document = str(evidence(house)["id"])
    pass_time(house, days=31)
    sweep(house)
    house.work()
    assert (evidence(house)["failed_step"], len(uploaded(house))) == ("NO_WORD", 1)
    assert_unconfirmed(house, person, filed)
    assert command(house, "documents", "upload-again", document).exit_code == 0
    pass_time(house, **SETTLED)
    house.work()
    assert (len(uploaded(house)), evidence(house)["possibly_twice"]) == (2, True)
    poll(house)
    assert (statuses(house), house.cases()) == (["done"], [])
    assert person.documents(filed)[0]["message"] == "This document is in your file."


def test_a_last_upload_that_goes_unanswered_is_no_failure_either(house: House) -> None:
    person = filer(house)
    filed = person.file(person.attach())
    house.work(until=lambda: house.value("SELECT count(*) FROM form526_document_submissions"))
    held = grant(house, evidence(house)["id"])
    house.control.set("documents", "drop", times=1, operation=UPLOADS)
    answer = call(house, held, UPLOAD)
    pass_time(house, days=31)
    runner.finish(UPLOAD, held, answer)
    house.work()
    assert attempts(house, evidence(house)["id"]) == [("write", "unknown")]
    assert_unconfirmed(house, person, filed)


def test_two_uploads_that_went_unanswered_may_be_there_twice(house: House) -> None:
    person, filed = lost(house, times=2)
    pass_time(house, days=31)
    sweep(house)
    house.work()
    assert len(uploaded(house)) == 2
    assert_unconfirmed(house, person, filed)


def test_a_refusal_says_nothing_of_the_upload_before_it_that_went_unanswered(house: House) -> None:
    person, filed = lost(house)
    house.control.set("documents", "status", status=400, operation=UPLOADS)
    house.work()
    assert (evidence(house)["upstream_error"], len(uploaded(house))) == ("refused", 1)
    assert_unconfirmed(house, person, filed)


def test_one_that_failed_may_be_there_by_the_upload_that_went_unanswered(house: House) -> None:
    person, filed = lost(house)
    house.control.turn("documents", plan="fails_at_claims_evidence")
    house.work()
    poll(house)
    assert evidence(house)["failed_step"] == "CLAIMS_EVIDENCE"
    assert_unconfirmed(house, person, filed)
    assert command(house, "documents", "delivered", str(evidence(house)["id"]), "--note", "x").exit_code == 0
    assert (statuses(house), house.cases()) == (["done"], [])
