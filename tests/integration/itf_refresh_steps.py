"""Steps for tests of the rolling refresh: people with ITFs on record, a cycle that passes, changes upstream."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jobs import housekeeping
from sandbox.upstreams.cast import Veteran
from tests.integration.itf_steps import itfs, on_file, pass_time, sign_in
from tests.product import ADA, Product

DUE = "SELECT count(*) FROM intents_to_file WHERE refresh_due_at <= outbox_now()"
OUTSTANDING_NOW = "SELECT count(*) FROM outbox_messages WHERE state <> 'parked' AND due_at <= outbox_now()"


def confirm(product: Product, *people: Veteran) -> None:
    """Each of them requests an ITF, and upstream confirms it."""
    for veteran in people:
        sign_in(product, veteran).ask()
    product.work()
    assert [row_of(product, veteran)["state"] for veteran in people] == ["confirmed"] * len(people)


def row_of(product: Product, veteran: Veteran = ADA) -> dict[str, Any]:
    """The person's latest ITF in our database."""
    return [row for row in itfs(product) if str(row["account_id"]) == veteran.account][-1]


def compare_all_due(product: Product) -> None:
    """Run the refresh minute by minute, and the reads that it enqueues, until nothing is due any more."""
    while product.value(DUE):
        pass_time(product, minutes=1)
        housekeeping.refresh_itfs()
        work_what_is_due(product)


def work_what_is_due(product: Product) -> None:
    """Do all work but what is enqueued for later, such as a second look."""
    product.work(until=lambda: product.value(OUTSTANDING_NOW) == 0)


def let_a_cycle_pass(product: Product) -> None:
    """Let a week pass, and compare whatever falls due in it."""
    pass_time(product, days=7)
    compare_all_due(product)


def change(product: Product, veteran: Veteran, **values: str) -> None:
    """Upstream changes the status or the dates of its only ITF of this person."""
    (filed,) = on_file(product, veteran)
    product.control.call("PATCH", "lighthouse", f"itfs/{filed['id']}", json=values)


def remove(product: Product, veteran: Veteran) -> dict[str, Any]:
    """Upstream loses its only ITF of this person; returns what it was."""
    (filed,) = on_file(product, veteran)
    product.control.call("DELETE", "lighthouse", f"itfs/{filed['id']}")
    return filed


def plant(product: Product, veteran: Veteran, **values: Any) -> datetime:
    """Upstream gets an active ITF of this person that we did not create; returns when it began."""
    planted = product.control.call("POST", "lighthouse", "itfs", json={"icn": veteran.icn, **values})
    return datetime.fromisoformat(planted["created_at"])


def replace_upstream(product: Product, veteran: Veteran, **values: Any) -> datetime:
    remove(product, veteran)
    return plant(product, veteran, **values)
