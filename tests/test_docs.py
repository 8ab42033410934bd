"""The README and docs/ match the code: what they name exists, and their tables hold all that there is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from click import Command, Group
from flask import Flask

from flaskapp import REGISTERED, create_app
from flaskapp.cases.kinds import KINDS
from flaskapp.config import from_env, setting_names
from flaskapp.db import db
from flaskapp.form526.states import DOCUMENT, SUBMISSION
from flaskapp.intent_to_file.states import INTENT_TO_FILE
from flaskapp.notifications.states import NOTIFICATION
from flaskapp.ops.commands.docs import PAGES
from flaskapp.statemachine import StateMachine
from flaskapp.travel_claims.states import TRAVEL_CLAIM
from flaskapp.travel_pay.states import TRAVEL_PAY_CLAIM
from flaskapp.web.error_codes import CODES, NAMED
from jobs.cli import attach
from jobs.periodic.schedule import PERIODIC
from outbox.tables import ATTEMPT_STATUSES, MESSAGE_STATES
from outbox.tables import metadata as ledger
from sandbox.settings import environment, kept_secrets
from sandbox.upstreams.templates import TEMPLATE_IDS
from tests.conftest import NOWHERE
from tests.tour import FOLDER, MOST_BYTES, PICTURES

ROOT = Path(__file__).parent.parent
DOCS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
# What upstreams say and call their own files is not ours.
OURS = [path for path in DOCS if "contracts" not in path.parts]
CODE = re.compile(r"`([^`]+)`")
FENCED = re.compile(r"^(?:```|    ).*$", re.MULTILINE)
# Not settings of the application: gunicorn's and make's own, and words that only look like one.
OTHER_NAMES = {
    "WEB_CONCURRENCY",
    "WEB_ADDRESS",
    "OSV_URL",
    *CODES,
}
Table = dict[str, list[str]]


@cache
def text_of(path: Path) -> str:
    return path.read_text()


def words_in_code(path: Path) -> Iterator[str]:
    """What stands in backquotes, outside of drawings and programs."""
    prose = re.sub(r"^```.*?^```", "", text_of(path), flags=re.MULTILINE | re.DOTALL)
    yield from CODE.findall(prose)


@cache
def tables() -> list[Table]:
    """Every table whose first column is code: the rest of each row, by that name."""
    found = []
    for path in OURS:
        for block in re.findall(r"(?:^\|.*\n)+", text_of(path), re.MULTILINE):
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


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    kept = kept_secrets(tmp_path_factory.mktemp("docs"))
    made = create_app(from_env(environment("postgres://nobody@127.0.0.1:1/x", "redis://127.0.0.1:1/0", NOWHERE, kept)))
    attach(made)
    return made


MACHINES = (TRAVEL_CLAIM, TRAVEL_PAY_CLAIM, INTENT_TO_FILE, SUBMISSION, DOCUMENT, NOTIFICATION)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.subject)
def test_the_state_tables_hold_every_state_and_every_move(machine: StateMachine) -> None:
    """Machines may share the names of their states; then each has a table with them, in the order of MACHINES."""
    alike = [each for each in MACHINES if set(each.states) == set(machine.states)]
    tables_alike = [table for table in tables() if table.keys() == set(machine.states)]
    assert len(tables_alike) == len(alike)
    for state, (_, leads_to) in tables_alike[alike.index(machine)].items():
        assert set(CODE.findall(leads_to)) == machine.moves[state], state


@pytest.mark.parametrize("names", [MESSAGE_STATES, ATTEMPT_STATUSES])
def test_the_ledgers_tables_hold_every_state(names: tuple[str, ...]) -> None:
    assert all(table_of(names).values())


def test_every_kind_of_case_is_explained() -> None:
    assert all(table_of(KINDS).values())


def test_every_kind_of_notification_is_explained() -> None:
    assert table_of({name.partition(".")[2] for name in TEMPLATE_IDS})


def test_the_periodic_table_is_the_schedule() -> None:
    table = table_of(entry.name for entry in PERIODIC)
    assert {name: rest[0] for name, rest in table.items()} == {
        entry.name: f"{entry.every_seconds} s" for entry in PERIODIC
    }


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    """`make docs` writes it anew."""
    assert text_of(ROOT / name) == PAGES[name](REGISTERED)


def test_every_code_of_an_error_is_explained_and_sent() -> None:
    """Which code comes with which status is checked wherever a test is refused (`tests/described.py`)."""
    files = [path for path in (ROOT / "flaskapp").rglob("*.py") if path.name != "error_codes.py"]
    calls = [node for path in files for node in ast.walk(ast.parse(text_of(path))) if isinstance(node, ast.Call)]
    made = [call for call in calls if getattr(call.func, "id", "") in ("Problem", "entry", "refusal")]
    written = [call.args[3] for call in made if len(call.args) > 3]
    written += [keyword.value for call in made for keyword in call.keywords if keyword.arg == "code"]
    sent = {each.value for each in written if isinstance(each, ast.Constant) and isinstance(each.value, str)}
    assert sent <= CODES.keys() and len(sent) >= 10
    code = "".join(map(text_of, files)).replace("CHIP-API_{status}", "CHIP-API_5xx")
    assert {name for name in NAMED if f'"{name}"' not in code} == set()


def test_the_readme_can_be_read_in_one_sitting() -> None:
    assert len(text_of(ROOT / "README.md").splitlines()) <= 250


# -- what they name exists ----------------------------------------------------


def command_of(app: Flask, words: list[str]) -> Command | None:
    """The command that these words begin with; None where there is none."""
    found: Command | None = app.cli.commands.get(words[0])
    if isinstance(found, Group) and len(words) > 1 and re.fullmatch(r"[a-z][a-z-]*", words[1]):
        return found.commands.get(words[1])
    return found


def test_every_flask_command_exists(app: Flask) -> None:
    named = {
        match[1]
        for path in OURS
        for match in re.finditer(r"(?<![\w/])flask ([a-z][a-z-]*(?: [a-z-]+)?)", text_of(path))
    }
    own = {"run", "shell", "routes"}
    assert {name for name in named if name.split()[0] not in own and command_of(app, name.split()) is None} == set()


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    named = {match[1] for path in OURS for word in words_in_code(path) if (match := re.match(r"make ([a-z-]+)", word))}
    assert named <= targets


def test_every_setting_exists() -> None:
    pattern = re.compile(r"(?<![A-Z_*.`<-])([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?![A-Z_*…])")
    named = {found for path in OURS for word in words_in_code(path) for found in pattern.findall(word)}
    steps = {"CLAIMS_EVIDENCE", "BENEFITS_GATEWAY_SERVICE", "NO_WORD", "IN_PROGRESS", "REMOVE_FILE_BINARY"}
    assert named - set(setting_names()) - OTHER_NAMES - steps == set()


def test_every_table_of_the_ledger_exists() -> None:
    known = {table.name for table in (*ledger.sorted_tables, *db.metadata.sorted_tables)}
    named = {found for path in OURS for word in words_in_code(path) for found in re.findall(r"\boutbox_[a-z_]+", word)}
    functions = {"outbox_now", "outbox_ready", "outbox_clock"}
    assert named - known - functions == set()


def test_every_path_exists() -> None:
    pattern = re.compile(r"(?:flaskapp|jobs|outbox|sandbox|tests|docs|migrations)/[\w./{}*-]*[\w/]")
    missing = set()
    for path in OURS:
        for word in words_in_code(path):
            for named in pattern.findall(word):
                if not set(named) & set("<{*"):
                    missing |= set() if (ROOT / named).exists() else {f"{path.name}: {named}"}
    assert missing == set()


def test_every_link_leads_somewhere() -> None:
    missing = set()
    for path in DOCS:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text_of(path)):
            if "://" not in target and not (path.parent / target).exists():
                missing.add(f"{path.name}: {target}")
    assert missing == set()


def test_the_tour_shows_the_pictures_that_its_command_makes() -> None:
    """`make tour` makes them anew; whether they still look like the pages is for eyes to see."""
    shown = re.findall(r"!\[[^\]]+\]\(tour/([^)]+)\)", text_of(ROOT / "docs" / "tour.md"))
    assert shown == list(PICTURES)
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert sizes.keys() == set(PICTURES) and max(sizes.values()) <= MOST_BYTES


CITATION = re.compile(r"\(contract: ([^)]*)\)")
CITED = re.compile(r"(travel|benefits|frontend) \d+(?:\.\d+)?(?:, \d+(?:\.\d+)?)*")


def test_every_contract_cited_names_a_section_that_exists() -> None:
    sections = {
        path.stem: set(re.findall(r"^#+ (\d+(?:\.\d+)?)\.? ", text_of(path), re.MULTILINE))
        for path in (ROOT / "docs" / "contracts").glob("*.md")
    }
    folders = ("outbox", "flaskapp", "jobs", "sandbox", "tests")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    wrong, found = set(), 0
    for path in (*sources, *OURS):
        if path == Path(__file__):
            continue
        for citation in CITATION.findall(re.sub(r"\s*\n\s*#?\s*", " ", text_of(path))):
            for each in citation.split("; "):
                found += 1
                name, _, numbers = each.partition(" ")
                if not CITED.fullmatch(each) or not set(numbers.split(", ")) <= sections[name]:
                    wrong.add(f"{path.relative_to(ROOT)}: {each}")
    assert wrong == set()
    assert found > 30


def test_adding_a_flow_tells_the_toy_flow_word_for_word() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", text_of(ROOT / "docs" / "adding-a-flow.md"), re.MULTILINE | re.DOTALL)
    toy = text_of(ROOT / "tests" / "toy_flow.py")
    assert len(blocks) >= 8
    assert [block for block in blocks if block not in toy] == []
