"""The README's tables match the code: a test fails when something is in one and not in the other."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from flaskapp.audit.repair import OF_REDIS
from flaskapp.audit.rules import OF_FLOW, OF_SUBJECTS, OF_THE_GONE
from flaskapp.cases.kinds import KINDS
from flaskapp.config import setting_names
from flaskapp.form526.states import DOCUMENT, SUBMISSION
from flaskapp.intent_to_file.states import INTENT_TO_FILE
from flaskapp.notifications.states import NOTIFICATION
from flaskapp.statemachine import StateMachine
from flaskapp.travel_claims.states import TRAVEL_CLAIM
from flaskapp.travel_pay.states import TRAVEL_PAY_CLAIM
from jobs.periodic.schedule import PERIODIC
from outbox.audit import BREAKER_LIMIT_DIFFERS, BREAKER_MISSING, BREAKER_RULES, RULES
from outbox.tables import ATTEMPT_STATUSES, MESSAGE_STATES
from sandbox.upstreams.templates import TEMPLATE_IDS

README = (Path(__file__).parent.parent / "README.md").read_text()
CODE = re.compile(r"`([^`]+)`")
Table = dict[str, list[str]]


def tables() -> list[Table]:
    """Every table whose first column is code: the rest of each row, by that name."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", README, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in block.splitlines()[2:]]
        named = [(CODE.fullmatch(row[0]), row[1:]) for row in rows]
        if all(name for name, _ in named):
            found.append({name[1]: rest for name, rest in named if name})
    return found


def table_of(names: Iterable[str]) -> Table:
    """The table with exactly these names, in any order."""
    wanted = set(names)
    near = max(tables(), key=lambda table: len(wanted & table.keys()))
    assert near.keys() == wanted, f"missing {wanted - near.keys()}, left over {near.keys() - wanted}"
    return near


MACHINES = (TRAVEL_CLAIM, TRAVEL_PAY_CLAIM, INTENT_TO_FILE, SUBMISSION, DOCUMENT, NOTIFICATION)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.subject)
def test_the_state_tables_hold_every_state_and_every_move(machine: StateMachine) -> None:
    """Machines may share the names of their states; then each has a table with them."""
    named_alike = [table for table in tables() if table.keys() == set(machine.states)]
    assert len(named_alike) == len([each for each in MACHINES if set(each.states) == set(machine.states)])
    for table in named_alike:
        for state, (_, leads_to) in table.items():
            assert set(CODE.findall(leads_to)) == machine.moves[state], state


@pytest.mark.parametrize("names", [MESSAGE_STATES, ATTEMPT_STATUSES])
def test_the_ledgers_tables_hold_every_state(names: tuple[str, ...]) -> None:
    assert all(table_of(names).values())


def test_every_kind_of_case_is_explained() -> None:
    assert all(table_of(KINDS).values())


def test_every_rule_of_the_audit_is_explained() -> None:
    of_submissions = {rule.name for rule in (*OF_SUBJECTS, *OF_THE_GONE, *chain(*OF_FLOW.values()))}
    of_code = {BREAKER_MISSING, BREAKER_LIMIT_DIFFERS}
    assert all(table_of({*of_submissions, *RULES, *BREAKER_RULES, *of_code, *OF_REDIS}).values())


def test_every_kind_of_notification_is_explained() -> None:
    assert table_of({name.partition(".")[2] for name in TEMPLATE_IDS})


def test_the_periodic_table_is_the_schedule() -> None:
    table = table_of(entry.name for entry in PERIODIC)
    assert {name: rest[0] for name, rest in table.items()} == {
        entry.name: f"{entry.every_seconds} s" for entry in PERIODIC
    }


def test_every_setting_is_listed_with_its_default_and_its_meaning() -> None:
    table = table_of(setting_names())
    for name, item in setting_names().items():
        assert table[name] == [shown_default(item), item.metadata["text"]], name


def shown_default(item: Any) -> str:
    if item.metadata["required"]:
        return "required"
    if item.default is None or item.default == ():
        return "unset"
    if isinstance(item.default, bool):
        return "`yes`" if item.default else "`no`"
    if isinstance(item.default, tuple):
        return f"`{','.join(item.default)}`"
    return f"`{item.default}`"
