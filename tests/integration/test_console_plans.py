"""Pages of the console read what they show and not what there is, by Postgres's plans and not by the time it takes."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import text

from flaskapp.db import db, transaction
from flaskapp.ops.cases import Filters, groups_of, ids_of
from flaskapp.ops.console import DAYS_AT_RISK, OPEN_CASES
from outbox.messages import PARKED_GROUPS
from tests.product import Product

SCAN = re.compile(r"([A-Z][a-z]+(?: [A-Z][a-z]+)* Scan)(?: Backward)?(?: using (\w+))? on (\w+)")
# A small table would be read whole, which tells nothing of a large one.
AS_IF_LARGE = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off"
PARKED = {"job": "", "reason": "", "only": False, "limit": 1, "most": 1}


def scans(statement: Any, **values: Any) -> set[tuple[str, str]]:
    """How and by which index the statement reads each of its tables."""
    query = str(statement.compile(db.engine, compile_kwargs={"literal_binds": True})) if not values else str(statement)
    with transaction() as session:
        session.execute(text(AS_IF_LARGE))
        plan = "\n".join(session.execute(text(f"EXPLAIN {query}"), values).scalars())
        session.rollback()
    found = SCAN.findall(plan)
    # Otherwise rows would be sorted that nobody is shown; groups are few.
    assert "Sort" not in plan or "Aggregate" in plan, plan
    return {(how, index) for how, index, table in found if table not in ("causes", "first", "c")}


def test_no_page_reads_every_case_or_all_that_waits(product: Product) -> None:
    opened, closed = Filters(), Filters(closed=True, kind="refused")
    by_inbox, by_closed = {("Index Only Scan", "ix_cases_inbox")}, {("Index Only Scan", "ix_cases_closed")}
    assert scans(ids_of(opened, 150)) == scans(groups_of(opened)) == scans(OPEN_CASES) == by_inbox
    assert scans(ids_of(Filters(owner="team", kind="refused"), 2)) == by_inbox
    assert scans(ids_of(closed, 150)) == scans(groups_of(closed)) == by_closed
    assert {index for _, index in scans(DAYS_AT_RISK)} == {"ix_intents_to_file_pending"}
    assert {index for _, index in scans(PARKED_GROUPS, **PARKED)} == {"ix_outbox_messages_cause"}
