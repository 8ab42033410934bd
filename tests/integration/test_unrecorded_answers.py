"""Answers that arrive and cannot be recorded: kept the first time, a human's case the second, never tried for ever."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import text

from flaskapp.db import DbSession, transaction
from flaskapp.intent_to_file.service import REFRESH
from jobs.engine import runner
from tests.integration.damage_steps import cases_of, in_the_way
from tests.integration.form526_steps import (
    SUBMIT,
    attempts,
    filer,
    grant,
    message_of,
    submissions,
    tried,
)
from tests.integration.itf_refresh_steps import confirm, row_of
from tests.integration.itf_steps import mails, pass_time
from tests.integration.steps import call, command, reconfigure, sweep
from tests.product import ADA, Product
from tests.unit.loopback import serving, whole

# An answer that could not be recorded is tried again after this time.
KEPT = {"seconds": 31}


def test_a_claim_id_given_twice_counts_for_one_form_and_the_other_is_unconfirmed(
    product: Product,
) -> None:
    reconfigure(product, bdd_instructions="qualified")
    person = filer(product)
    first, second = person.file(), person.file(note="another")
    base_url = product.app.extensions["config"].form526_base_url
    with serving(whole(201, {"claimId": 600123})) as server:
        reconfigure(product, form526_base_url=server.url)
        product.work()
    if person.status(first)["state"] != "accepted":
        first, second = second, first
    status = person.status(second)
    assert (person.status(first)["claimId"], status["state"], status["claimId"]) == (600123, "failed", None)
    assert "could not confirm whether VA has your form" in status["message"]
    assert set(mails(product, 2)) == {"form526.accepted", "form526.unconfirmed"}
    assert cases_of(product, second["submissionId"]) == ["conflicting_answers"]
    details = product.value("SELECT details FROM cases")
    assert (details["claim_id"], details["submission"]) == (600123, first["submissionId"])
    assert attempts(product, second["submissionId"]) == [("write", "unknown")]
    assert command(product, "audit", "--trace").exit_code == 0
    # When upstream is corrected, a requeue looks before it sends.
    reconfigure(product, form526_base_url=base_url)
    assert command(product, "outbox", "requeue", str(message_of(product, second["submissionId"])["id"])).exit_code == 0
    product.work()
    assert attempts(product, second["submissionId"])[1:] == [
        ("look_up", "error"),
        ("look_up", "error"),
        ("write", "success"),
    ]
    assert person.status(second)["claimId"] == submissions(product)[0]["claim_id"]
    assert command(product, "audit", "--trace").exit_code == 0


def test_an_answer_that_cannot_be_recorded_twice_goes_to_a_human(
    product: Product,
) -> None:
    person = filer(product)
    filed = person.file()
    form = filed["submissionId"]
    with in_the_way(product, "UPDATE ON form526_submissions", "true"):
        product.work(until=tried(product, 1))
        assert (message_of(product, form)["state"], product.cases()) == ("later", [])
        pass_time(product, **KEPT)
        product.work()
        message = message_of(product, form)
        assert (message["state"], message["parked_reason"]) == ("parked", "unsettled: IntegrityError")
        assert cases_of(product, form) == ["unsettled"]
        assert product.value("SELECT details FROM cases") == {"message": message["id"], "error": "IntegrityError"}
        assert (person.word(filed), command(product, "audit", "--trace").exit_code) == ("try", 0)
        sweep(product)
        assert "parked_not_shown" not in command(product, "audit", "--json").stdout
    assert command(product, "outbox", "requeue", str(message["id"])).exit_code == 0
    product.work()
    (accepted,) = submissions(product)
    assert (person.status(filed)["claimId"], product.cases()) == (accepted["claim_id"], [])
    assert attempts(product, form) == [("write", "success"), ("look_up", "success"), ("look_up", "success")]
    assert command(product, "audit", "--trace").exit_code == 0


def test_a_general_database_error_never_parks_anything(product: Product) -> None:
    filed = filer(product).file()
    product.work(until=tried(product, 1, "accounts"))

    def fail(session: DbSession, *_: Any) -> None:
        session.execute(text("SELECT * FROM a_table_that_is_not_migrated_yet"))

    for _ in range(3):
        granted = grant(product, filed["submissionId"])
        runner.finish(replace(SUBMIT, record=fail), granted, call(product, granted, SUBMIT))
        pass_time(product, **KEPT)
    assert (message_of(product, filed["submissionId"])["state"], product.cases()) == ("later", [])
    product.work()
    assert (len(submissions(product)), product.cases()) == (1, [])


def test_a_comparison_that_cannot_be_recorded_is_dropped_and_noted_in_its_history(product: Product) -> None:
    confirm(product, ADA)
    itf = str(row_of(product)["id"])
    with transaction() as session:
        REFRESH.enqueue(session, itf)
    with in_the_way(product, "UPDATE ON intents_to_file", "true"):
        product.work(until=lambda: message_of(product, itf)["state"] == "later")
        pass_time(product, **KEPT)
        product.work()
    # No person depends on it, and it comes again: a case would ask for the requeue of a message that is gone.
    assert (product.messages(), cases_of(product, itf)) == ([], [])
    noted = "SELECT count(*) FROM outbox_history WHERE subject_id = :id AND what = 'attempt.not_recorded'"
    assert product.value(noted, id=itf) == 2
