"""Every ITF is held, owed or told at every moment; whatever is lost is found, and no comparison hides it."""

from __future__ import annotations

import json
from collections import Counter

from sqlalchemy import text

from flaskapp.audit.report import ITFS, audit
from flaskapp.db import transaction
from flaskapp.intent_to_file.upkeep import owe_refresh
from jobs import housekeeping
from sandbox.upstreams.cast import DEFAULT_CAST, Veteran
from tests.house import ADA, House
from tests.integration.itf_steps import WITHOUT_ICN, pass_time, sign_in
from tests.integration.itf_upkeep import confirm, let_a_cycle_pass, remove, row_of, work_what_is_due
from tests.integration.steps import command

BEN, CARLA, DOV = DEFAULT_CAST[1:4]
NEVER_FINISHED = "state = 'pending', finished_at = NULL, refresh_due_at = NULL"


def standings(house: House, loss: str = "SELECT 1") -> dict[str, str]:
    """How each ITF would stand after this loss, which does not happen: state and standing by its id."""
    with transaction() as session:
        nested = session.begin_nested()
        session.execute(text(loss))
        found = {row.subject_id: row.standing for row in session.execute(text(ITFS), {"since": None, "until": None})}
        counted = audit(session)
        nested.rollback()
    assert counted.standings["intent_to_file"] == dict(Counter(found.values()))
    return found


def identifier(house: House, veteran: Veteran) -> str:
    return str(row_of(house, veteran)["id"])


def test_every_itf_is_accounted_for_at_every_moment(house: House) -> None:
    person = sign_in(house)
    person.ask()
    itf = identifier(house, ADA)
    assert standings(house) == {itf: "owed"}
    house.work(until=lambda: house.value("SELECT icn_digest IS NOT NULL FROM accounts"))
    assert standings(house) == {itf: "owed"}
    house.work(until=lambda: house.value("SELECT count(*) FROM notifications"))
    assert (row_of(house)["state"], standings(house)) == ("confirmed", {itf: "owed"})
    house.work()
    assert standings(house) == {itf: "told"}
    person.post("pension")
    assert Counter(standings(house).values()) == {"told": 2}
    result = command(house, "audit")
    assert (result.exit_code, "intent_to_file: 2 told" in result.output) == (0, True)


def test_whatever_is_lost_is_found(house: House) -> None:
    """Told, told while waiting, broken and failed, and one that is owed: what of them each loss leaves unaccounted."""
    confirm(house, ADA, BEN)
    sign_in(house, CARLA).post("pension")
    sign_in(house, WITHOUT_ICN).ask()
    house.work()
    remove(house, BEN)
    let_a_cycle_pass(house)
    pass_time(house, hours=1.1)
    work_what_is_due(house)
    sign_in(house, DOV).ask()
    with transaction() as session:
        owe_refresh(session, identifier(house, ADA), 0)
    told, broken, waited, failed, owed = (identifier(house, each) for each in (ADA, BEN, CARLA, WITHOUT_ICN, DOV))
    sound = {told: "told", broken: "held", waited: "told", failed: "held", owed: "owed"}
    assert standings(house) == sound
    losses = {
        "DELETE FROM outbox_messages WHERE job LIKE '%identify_person'": {owed: "unaccounted"},
        "UPDATE outbox_messages SET state = 'parked', fence = 1, parked_reason = 'x'": {owed: "unaccounted"},
        "DELETE FROM notifications": {told: "unaccounted"},
        f"DELETE FROM notifications WHERE subject_id <> '{told}'": {},
        "UPDATE notifications SET kind = 'failed'": {told: "unaccounted"},
        "UPDATE notifications SET state = 'undeliverable', finished_at = outbox_now()": {told: "unaccounted"},
        "DELETE FROM cases WHERE kind = 'broken'": {broken: "unaccounted"},
        "UPDATE cases SET closed_at = outbox_now(), closed_by = 'x' WHERE kind = 'broken'": {broken: "told"},
        "DELETE FROM cases": {broken: "unaccounted", failed: "unaccounted"},
        "UPDATE intents_to_file SET cycle = 2": {told: "unaccounted"},
        f"UPDATE intents_to_file SET {NEVER_FINISHED} WHERE id = '{told}'": {told: "unaccounted"},
    }
    found = {loss: standings(house, loss) for loss in losses}
    assert found == {loss: sound | left for loss, left in losses.items()}


def test_an_itf_nobody_accounts_for_becomes_a_case_though_its_comparison_is_owed(house: House) -> None:
    confirm(house, ADA)
    itf = identifier(house, ADA)
    with transaction() as session:
        owe_refresh(session, itf, 0)
    house.rows("DELETE FROM notifications RETURNING 1")
    result = command(house, "audit", "--json")
    found = json.loads(result.output)
    assert (result.exit_code, found["unaccounted"]) == (1, 1)
    assert found["standings"]["intent_to_file"] == {"unaccounted": 1}
    (lost,) = found["findings"]
    assert (lost["subject_type"], lost["subject_id"]) == ("intent_to_file", itf)
    for _ in range(2):
        housekeeping.audit_all()
    assert house.cases() == ["unaccounted"]
    assert standings(house) == {itf: "held"}
    assert command(house, "audit").exit_code == 0
