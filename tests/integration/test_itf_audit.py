"""The audit of ITFs: each is held, outstanding or notified at all times, and each loss is found."""

from __future__ import annotations

import json
from collections import Counter

from sqlalchemy import text

from flaskapp.audit.report import audit, standing_of
from flaskapp.db import transaction
from flaskapp.intent_to_file.service import ITF, REFRESH
from jobs import housekeeping
from sandbox.upstreams.cast import DEFAULT_CAST, Veteran
from tests.integration.itf_refresh_steps import confirm, let_a_cycle_pass, remove, row_of, work_what_is_due
from tests.integration.itf_steps import WITHOUT_ICN, pass_time, sign_in
from tests.integration.steps import command
from tests.product import ADA, Product

BEN, CARLA, DOV = DEFAULT_CAST[1:4]
EVERYBODY = {"since": None, "until": None, "unpromised": [REFRESH.path]}
NEVER_FINISHED = "state = 'pending', finished_at = NULL, refresh_due_at = NULL"


def standings(product: Product, loss: str = "SELECT 1") -> dict[str, str]:
    """The standing of each ITF after this loss, which is rolled back."""
    with transaction() as session:
        nested = session.begin_nested()
        session.execute(text(loss))
        found = {row.subject_id: row.standing for row in session.execute(text(standing_of(ITF)), EVERYBODY)}
        counted = audit(session)
        nested.rollback()
    assert counted.standings["intent_to_file"] == dict(Counter(found.values()))
    return found


def identifier(product: Product, veteran: Veteran) -> str:
    return str(row_of(product, veteran)["id"])


def test_every_itf_is_accounted_for_at_every_stage(product: Product) -> None:
    person = sign_in(product)
    person.ask()
    itf = identifier(product, ADA)
    assert standings(product) == {itf: "outstanding"}
    product.work(until=lambda: product.value("SELECT icn_digest IS NOT NULL FROM accounts"))
    assert standings(product) == {itf: "outstanding"}
    product.work(until=lambda: product.value("SELECT count(*) FROM notifications"))
    assert (row_of(product)["state"], standings(product)) == ("confirmed", {itf: "outstanding"})
    product.work()
    assert standings(product) == {itf: "notified"}
    person.post("pension")
    assert Counter(standings(product).values()) == {"notified": 2}
    result = command(product, "audit")
    assert (result.exit_code, "intent_to_file: 2 notified" in result.output) == (0, True)


def test_every_loss_is_found(product: Product) -> None:
    """Notified, answered synchronously, broken, failed and outstanding ITFs: what each loss leaves unaccounted."""
    confirm(product, ADA, BEN)
    sign_in(product, CARLA).post("pension")
    sign_in(product, WITHOUT_ICN).ask()
    product.work()
    remove(product, BEN)
    let_a_cycle_pass(product)
    pass_time(product, hours=1.1)
    work_what_is_due(product)
    sign_in(product, DOV).ask()
    with transaction() as session:
        REFRESH.enqueue(session, identifier(product, ADA))
    notified, broken, synchronous, failed, outstanding = (
        identifier(product, each) for each in (ADA, BEN, CARLA, WITHOUT_ICN, DOV)
    )
    sound = {notified: "notified", broken: "held", synchronous: "notified", failed: "held", outstanding: "outstanding"}
    assert standings(product) == sound
    losses = {
        "DELETE FROM outbox_messages WHERE job LIKE '%identify_person'": {outstanding: "unaccounted"},
        "UPDATE outbox_messages SET state = 'parked', fence = 1, parked_reason = 'x'": {outstanding: "unaccounted"},
        "DELETE FROM notifications": {notified: "unaccounted"},
        f"DELETE FROM notifications WHERE subject_id <> '{notified}'": {},
        "UPDATE notifications SET kind = 'failed'": {notified: "unaccounted"},
        "UPDATE notifications SET state = 'undeliverable', finished_at = outbox_now()": {notified: "unaccounted"},
        "DELETE FROM cases WHERE kind = 'broken'": {broken: "unaccounted"},
        "UPDATE cases SET closed_at = outbox_now(), closed_by = 'x' WHERE kind = 'broken'": {broken: "notified"},
        "DELETE FROM cases": {broken: "unaccounted", failed: "unaccounted"},
        "UPDATE intents_to_file SET cycle = 2": {notified: "unaccounted"},
        f"UPDATE intents_to_file SET {NEVER_FINISHED} WHERE id = '{notified}'": {notified: "unaccounted"},
    }
    found = {loss: standings(product, loss) for loss in losses}
    assert found == {loss: sound | left for loss, left in losses.items()}


def test_an_unaccounted_itf_becomes_a_case_although_its_comparison_is_outstanding(product: Product) -> None:
    confirm(product, ADA)
    itf = identifier(product, ADA)
    with transaction() as session:
        REFRESH.enqueue(session, itf)
    product.rows("DELETE FROM notifications RETURNING 1")
    result = command(product, "audit", "--json")
    found = json.loads(result.output)
    assert (result.exit_code, found["unaccounted"]) == (1, 1)
    assert found["standings"]["intent_to_file"] == {"unaccounted": 1}
    (lost,) = found["findings"]
    assert (lost["subject_type"], lost["subject_id"]) == ("intent_to_file", itf)
    for _ in range(2):
        housekeeping.audit_all()
    assert product.cases() == ["unaccounted"]
    assert standings(product) == {itf: "held"}
    assert command(product, "audit").exit_code == 0
