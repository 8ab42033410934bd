"""An answer that came and cannot be recorded: kept once, and the second time a human's; never tried for ever."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import text

from flaskapp.db import DbSession, transaction
from flaskapp.intent_to_file.upkeep import owe_refresh
from jobs.engine import runner
from tests.house import ADA, House
from tests.integration.damage_steps import cases_of, in_the_way
from tests.integration.form526_steps import (
    SUBMIT,
    attempts,
    filer,
    grant,
    owed_of,
    submissions,
    tried,
)
from tests.integration.itf_steps import mails, pass_time
from tests.integration.itf_upkeep import confirm, row_of
from tests.integration.steps import call, command, reconfigure, sweep
from tests.unit.loopback import serving, whole

# An answer that could not be recorded is tried again so much later.
KEPT = {"seconds": 31}


def test_a_claim_id_given_twice_is_believed_of_one_and_the_other_is_told_that_nobody_knows(house: House) -> None:
    reconfigure(house, bdd_instructions="qualified")
    person = filer(house)
    first, second = person.file(), person.file(note="another")
    base_url = house.app.extensions["config"].form526_base_url
    with serving(whole(201, {"claimId": 600123})) as server:
        reconfigure(house, form526_base_url=server.url)
        house.work()
    if person.status(first)["state"] != "accepted":
        first, second = second, first
    told = person.status(second)
    assert (person.status(first)["claimId"], told["state"], told["claimId"]) == (600123, "failed", None)
    assert "could not confirm whether VA has your form" in told["message"]
    assert set(mails(house, 2)) == {"form526.accepted", "form526.unconfirmed"}
    assert cases_of(house, second["submissionId"]) == ["conflicting_answers"]
    details = house.value("SELECT details FROM cases")
    assert (details["claim_id"], details["submission"]) == (600123, first["submissionId"])
    assert attempts(house, second["submissionId"]) == [("write", "unknown")]
    assert command(house, "audit", "--trace").exit_code == 0
    # Set right upstream, a requeue looks before it sends.
    reconfigure(house, form526_base_url=base_url)
    assert command(house, "outbox", "requeue", str(owed_of(house, second["submissionId"])["id"])).exit_code == 0
    house.work()
    assert attempts(house, second["submissionId"])[1:] == [
        ("look_up", "error"),
        ("look_up", "error"),
        ("write", "success"),
    ]
    assert person.status(second)["claimId"] == submissions(house)[0]["claim_id"]
    assert command(house, "audit", "--trace").exit_code == 0


def test_an_answer_that_cannot_be_recorded_twice_running_goes_to_a_human_with_what_was_answered(house: House) -> None:
    person = filer(house)
    filed = person.file()
    form = filed["submissionId"]
    with in_the_way(house, "UPDATE ON form526_submissions", "true"):
        house.work(until=tried(house, 1))
        assert (owed_of(house, form)["state"], house.cases()) == ("later", [])
        pass_time(house, **KEPT)
        house.work()
        message = owed_of(house, form)
        assert (message["state"], message["parked_reason"]) == ("parked", "unsettled: IntegrityError")
        assert cases_of(house, form) == ["unsettled"]
        assert house.value("SELECT details FROM cases") == {"message": message["id"], "error": "IntegrityError"}
        assert (person.word(filed), command(house, "audit", "--trace").exit_code) == ("try", 0)
        sweep(house)
        assert "parked_not_shown" not in command(house, "audit", "--json").stdout
    assert command(house, "outbox", "requeue", str(message["id"])).exit_code == 0
    house.work()
    (taken,) = submissions(house)
    assert (person.status(filed)["claimId"], house.cases()) == (taken["claim_id"], [])
    assert attempts(house, form) == [("write", "success"), ("look_up", "success"), ("look_up", "success")]
    assert command(house, "audit", "--trace").exit_code == 0


def test_what_postgres_could_not_do_for_anybody_never_parks_anything(house: House) -> None:
    filed = filer(house).file()
    house.work(until=tried(house, 1, "accounts"))

    def fail(session: DbSession, *_: Any) -> None:
        session.execute(text("SELECT * FROM a_table_that_is_not_migrated_yet"))

    for _ in range(3):
        held = grant(house, filed["submissionId"])
        runner.finish(replace(SUBMIT, record=fail), held, call(house, held, SUBMIT))
        pass_time(house, **KEPT)
    assert (owed_of(house, filed["submissionId"])["state"], house.cases()) == ("later", [])
    house.work()
    assert (len(submissions(house)), house.cases()) == (1, [])


def test_a_comparison_that_cannot_be_recorded_is_dropped_and_its_history_says_why(house: House) -> None:
    confirm(house, ADA)
    itf = str(row_of(house)["id"])
    with transaction() as session:
        owe_refresh(session, itf, 0)
    with in_the_way(house, "UPDATE ON intents_to_file", "true"):
        house.work(until=lambda: owed_of(house, itf)["state"] == "later")
        pass_time(house, **KEPT)
        house.work()
    # Nobody was promised it, and it comes again: a case would ask for the requeue of a message that is not there.
    assert (house.messages(), cases_of(house, itf)) == ([], [])
    noted = "SELECT count(*) FROM outbox_history WHERE subject_id = :id AND what = 'attempt.not_recorded'"
    assert house.value(noted, id=itf) == 2
