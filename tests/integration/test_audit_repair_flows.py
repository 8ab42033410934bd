"""Repair of every flow after the loss of all its outstanding work: it is enqueued again and done once."""

from __future__ import annotations

import json
from typing import Any

from tests.integration import form526_steps, itf_steps, travel_pay_steps
from tests.integration.steps import command, file_claim, reconfigure
from tests.integration.travel_pay_filing import assert_filed_once, file
from tests.product import ADA, Product

ROUNDS = 30
LOSS = "DELETE FROM outbox_messages WHERE state <> 'running' RETURNING 1"
UNFINISHED = """
    SELECT (SELECT count(*) FROM travel_claims WHERE state = 'pending')
         + (SELECT count(*) FROM intents_to_file WHERE state = 'pending')
         + (SELECT count(*) FROM form526_submissions WHERE state = 'pending')
         + (SELECT count(*) FROM travel_pay_claims WHERE state = 'pending')
         + (SELECT count(*) FROM form526_document_submissions WHERE lighthouse_status = 'pending'
               AND poll_due_at IS NULL)
         + (SELECT count(*) FROM notifications WHERE state = 'pending')
"""


def repair(product: Product) -> dict[str, Any]:
    result = command(product, "audit", "--repair", "--json")
    assert result.exit_code == 0, result.stdout
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def lose_everything_at_every_step(product: Product) -> set[str]:
    """Repeat until nothing is left: lose all outstanding work, repair, do one step. Returns what was repaired."""
    repaired: set[str] = set()
    for _ in range(ROUNDS):
        if not product.value(UNFINISHED):
            return repaired
        product.rows(LOSS)
        done = repair(product)["repaired"]
        assert all(item["repaired"] for item in done if item["rule"] == "pending_without_work")
        repaired |= {item["about"].split()[0] for item in done if item["rule"] == "pending_without_work"}
        product.beat()
        product.relay.run_once()
        product.run_queued()
    raise AssertionError("it did not end")


def test_after_any_loss_at_any_step_each_is_filed_once_and_notified_once(product: Product) -> None:
    reconfigure(product, bdd_instructions="qualified")
    claim = file_claim(product)
    itf_steps.sign_in(product).ask()
    person = form526_steps.filer(product)
    person.file(person.attach())
    filing = file(product)
    repaired = lose_everything_at_every_step(product)
    everybody = {"travel_claim", "intent_to_file", "form526_submission", "form526_document", "travel_pay_claim"}
    assert repaired == {*everybody, "notification"}
    product.rows("UPDATE form526_document_submissions SET poll_due_at = NULL RETURNING 1")
    assert [item["did"] for item in repair(product)["repaired"]] == ["it is due to be polled again"]
    form526_steps.poll(product)
    assert (claim.state["state"], len(product.submits()), len(product.filed())) == ("submitted", 1, 1)
    assert (len(itf_steps.on_file(product)), len(form526_steps.submissions(product))) == (1, 1)
    assert (form526_steps.statuses(product), len(form526_steps.uploaded(product))) == (["done"], 1)
    assert_filed_once(filing, "answered")
    notified = "SELECT subject_type FROM notifications WHERE state IN ('sent', 'delivered') ORDER BY 1"
    assert [row[0] for row in product.rows(notified)] == sorted(everybody - {"form526_document"})
    assert command(product, "audit", "--trace").exit_code == 0


def test_a_lost_notification_of_any_flow_is_looked_up_and_not_sent_twice(product: Product) -> None:
    reconfigure(product, bdd_instructions="qualified")
    product.control.set("documents", "status", status=413, operation=form526_steps.UPLOADS)
    file_claim(product)
    itf_steps.sign_in(product).ask()
    person = form526_steps.filer(product)
    person.file(person.attach())
    file(product)
    product.work()
    everything = len(product.phone(5))
    before = {str(row[0]) for row in product.rows("SELECT id FROM notifications")}
    assert len(before) == 5
    product.rows("DELETE FROM notifications RETURNING 1")
    assert {item["rule"] for item in repair(product)["repaired"]} == {"notification_missing"}
    product.work()
    assert {str(row[0]) for row in product.rows("SELECT id FROM notifications")} == before, "under their own ids"
    assert len(product.phone(5)) == everything, "VANotify knew them all"
    assert not product.value("SELECT count(*) FROM notifications WHERE state = 'pending'")
    assert travel_pay_steps.on_file(product, ADA)
