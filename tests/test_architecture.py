"""The layout checks itself: who imports whom, which job paths resolve, and that Procfile and queues match the code."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from flask import Flask

import outbox
from flaskapp import REGISTERED, create_app
from flaskapp.config import from_env
from flaskapp.form526.uploads import PDF_MAKING
from flaskapp.web import access, openapi
from jobs import processes
from jobs.cli import COMMANDS
from jobs.engine.runner import Job
from jobs.periodic.schedule import PERIODIC
from jobs.processes import allow_our_jobs
from jobs.registry import spec_of
from outbox.rq_side import LedgerJob
from sandbox.settings import environment, kept_secrets
from tests.conftest import NOWHERE

ROOT = Path(__file__).parent.parent
TOP_FOLDERS = ("wsgi", "jobs", "flaskapp", "outbox")
FLOWS = (
    "check_in",
    "travel_claims",
    "intent_to_file",
    "form526",
    "travel_pay",
    "submissions",
    "notifications",
    "cases",
    "webhooks",
)
OPEN_TO_FLOWS = ("flaskapp.notifications.service", "flaskapp.cases.service")
# A person who checked in requests a claim, so it may read who that is, and a form is posted under an ITF; never the
# other way round. Receivers of webhooks are told of a case in the words of its kind.
BUILT_ON = {
    "travel_claims": ("flaskapp.check_in",),
    "form526": ("flaskapp.intent_to_file",),
    "webhooks": ("flaskapp.cases.kinds",),
}
JOB_PATH = re.compile(r"jobs\.\w+\.\w+")


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return found + [ROOT / f"{folder}.py" for folder in folders if (ROOT / f"{folder}.py").exists()]


@dataclass
class Source:
    """What the tests below need of a file. Kept instead of its tree, because all trees together are 200 MB."""

    lines: int
    why: str
    imports: list[ast.Import | ast.ImportFrom] = field(default_factory=list)
    imports_in_functions: list[int] = field(default_factory=list)
    functions: dict[str, int] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)

    def take(self, node: ast.AST, in_function: bool) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            self.imports.append(node)
            self.imports_in_functions += [node.lineno] if in_function else []
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            self.functions[node.name] = max(lines, self.functions.get(node.name, 0))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            self.texts.add(node.value)


@cache
def read(path: Path) -> Source:
    text = path.read_text()
    tree = ast.parse(text)
    source = Source(len(text.splitlines()), ast.get_docstring(tree) or "")
    rest: list[tuple[ast.AST, bool]] = [(tree, False)]
    while rest:
        node, in_function = rest.pop()
        source.take(node, in_function)
        in_function = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        rest += ((child, in_function) for child in ast.iter_child_nodes(node))
    return source


def imported(path: Path) -> Iterator[str]:
    """The modules a file imports; a name imported from a package counts as its module."""
    for node in read(path).imports:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif node.module:
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top_folder_of(module: str) -> str:
    return module.partition(".")[0]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    kept = kept_secrets(tmp_path_factory.mktemp("product"))
    return create_app(from_env(environment("postgres://nobody@127.0.0.1:1/x", "redis://127.0.0.1:1/0", NOWHERE, kept)))


# -- imports ------------------------------------------------------------------


@pytest.mark.parametrize("folder", TOP_FOLDERS)
def test_imports_run_only_to_the_right(folder: str) -> None:
    allowed = TOP_FOLDERS[TOP_FOLDERS.index(folder) :]
    wrong = {
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources(folder)
        for module in imported(path)
        if top_folder_of(module) in (*TOP_FOLDERS, "sandbox", "tests") and top_folder_of(module) not in allowed
    }
    assert wrong == set()


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def child_of(folder: str, module: str) -> str:
    return module.removeprefix(folder).lstrip(".").partition(".")[0] or "__init__"


def children_graph(folder: str) -> dict[str, set[str]]:
    """Which children of a package import which: its files, and its folders as wholes."""
    modules = {module_of(path) for path in sources(folder.partition(".")[0])}
    graph: dict[str, set[str]] = {}
    for path in (ROOT / Path(*folder.split("."))).rglob("*.py"):
        child = child_of(folder, module_of(path))
        named = {name if name in modules else name.rpartition(".")[0] for name in imported(path)}
        others = {child_of(folder, name) for name in named if f"{name}.".startswith(f"{folder}.")}
        graph.setdefault(child, set()).update(others - {child})
    return graph


def packages() -> list[str]:
    tops = [ROOT / top for top in (*TOP_FOLDERS, "sandbox") if (ROOT / top).is_dir()]
    folders = [path for top in tops for path in (top, *top.rglob("*")) if path.is_dir() and any(path.glob("*.py"))]
    return [".".join(path.relative_to(ROOT).parts) for path in folders]


@pytest.mark.parametrize("folder", packages())
def test_no_folder_holds_a_circle(folder: str) -> None:
    """The children of a package, files and folders, can be put in an order in which each imports only earlier ones."""
    try:
        list(TopologicalSorter(children_graph(folder)).static_order())
    except CycleError as error:
        pytest.fail(f"{folder}: {' imports '.join(reversed(error.args[1]))}")


def test_no_file_of_the_application_names_a_table_of_the_ledger() -> None:
    """Whole queries are functions of outbox/. Queries joined with other tables use fragments of `outbox.sql`."""
    table = re.compile(rf"\b({'|'.join(table.name for table in outbox.metadata.sorted_tables)})\b")
    files = [path for folder in ("flaskapp", "jobs") for path in (ROOT / folder).rglob("*.*") if path.suffix != ".pyc"]
    assert {str(path.relative_to(ROOT)) for path in files if table.search(path.read_text())} == set()


def test_the_application_imports_what_outbox_offers_and_no_module_inside_it() -> None:
    offered = {f"outbox.{name}" for name in outbox.__all__}
    wrong = {
        f"{path.relative_to(ROOT)} imports {module}"
        for path in sources("wsgi", "jobs", "flaskapp", "migrations")
        for module in imported(path)
        if top_folder_of(module) == "outbox" and module not in offered
    }
    assert wrong == set()


def test_the_sandbox_takes_from_the_product_its_settings_and_nothing_else() -> None:
    taken = {module for path in sources("sandbox") for module in imported(path) if top_folder_of(module) in TOP_FOLDERS}
    assert {module for module in taken if not module.startswith("flaskapp.config.")} == set()


def test_flows_do_not_import_each_other() -> None:
    wrong = set()
    for flow in FLOWS:
        allowed = (f"flaskapp.{flow}.", *OPEN_TO_FLOWS, *BUILT_ON.get(flow, ()))
        others = tuple(f"flaskapp.{other}" for other in FLOWS if other != flow)
        for path in (ROOT / "flaskapp" / flow).rglob("*.py"):
            names = {module for module in imported(path) if module.startswith(others)}
            wrong |= {f"{path.relative_to(ROOT)}: {module}" for module in names if not module.startswith(allowed)}
    assert wrong == set()


def test_upstream_clients_know_no_models_and_no_flask() -> None:
    for path in (ROOT / "flaskapp" / "upstreams").rglob("*.py"):
        ours = {module.split(".")[1] for module in imported(path) if module.startswith("flaskapp.")}
        assert ours <= {"clock", "config", "outside", "upstreams"}, path
        assert "flask" not in {top_folder_of(module) for module in imported(path)}, path


def test_what_only_a_setting_needs_is_imported_only_when_it_is_set() -> None:
    named = {top_folder_of(module) for path in sources(*TOP_FOLDERS) for module in imported(path)}
    assert not named & {"opentelemetry", "sentry_sdk"}


def test_nothing_is_imported_inside_a_function() -> None:
    inside = set()
    for path in sources(*TOP_FOLDERS, "sandbox", "tests", "migrations"):
        inside |= {f"{path.relative_to(ROOT)}:{line}" for line in read(path).imports_in_functions}
    assert inside == set()


def test_no_process_imports_the_libraries_for_files_before_it_needs_them() -> None:
    children = ("flaskapp.form526.attachments.pdf_child", "flaskapp.form526.attachments.picture_child")
    heavy = ("fpdf", "pikepdf", "PIL", "flaskapp.form526.pdf.making", *children)
    taken = {path.name for path in sources(*TOP_FOLDERS) for module in imported(path) if module.startswith(heavy)}
    assert taken == {"making.py", "pdf_child.py", "picture_child.py"}
    assert callable(callable_at(f"{PDF_MAKING}.form_0781"))


def test_a_worker_loads_what_changes_the_environment_before_it_has_a_second_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(processes, "import_module", loaded.append)
    monkeypatch.setattr(processes, "open_redis", lambda *settings: sys.exit(*loaded))
    worker = SimpleNamespace(extensions={"flows": REGISTERED, "config": None})
    with pytest.raises(SystemExit, match=PDF_MAKING):
        processes.run_worker(cast("Flask", worker))


def test_only_wsgi_reads_the_environment() -> None:
    readers = {path.name for path in sources(*TOP_FOLDERS) if re.search(r"os\.environ|getenv", code_of(path))}
    assert readers == {"wsgi.py"}


def code_of(path: Path) -> str:
    """A file without its comments and docstrings."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant("")
    return ast.unparse(tree)


# -- jobs, queues, processes --------------------------------------------------


def job_paths() -> set[str]:
    """Every job path that is named anywhere in the product."""
    texts = {text for path in sources("jobs", "flaskapp") for text in read(path).texts}
    return {text for text in texts if JOB_PATH.fullmatch(text) and text not in LOGGERS}


LOGGERS = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "jobs").rglob("*.py")}


def callable_at(path: str) -> object:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_every_job_that_is_named_exists_and_is_on_the_workers_list() -> None:
    allow_our_jobs(REGISTERED)
    assert job_paths() == LedgerJob.allowed
    for path in LedgerJob.allowed:
        assert callable(callable_at(path)), path


@pytest.mark.parametrize("entry", PERIODIC, ids=lambda entry: entry.name)
def test_a_periodic_job_takes_no_arguments_and_waits_between_runs(entry: object) -> None:
    path, seconds = vars(entry)["path"], vars(entry)["every_seconds"]
    function = callable_at(path)
    assert callable(function) and not inspect.signature(function).parameters
    assert seconds >= 10
    assert len({each.name for each in PERIODIC}) == len(PERIODIC)


@pytest.mark.parametrize("path", sorted(REGISTERED.works))
def test_the_job_of_a_work_takes_a_message_and_a_fence_and_nothing_else(path: str) -> None:
    assert list(inspect.signature(spec_of_job(path)).parameters) == ["message_id", "fence"]
    assert spec_of(path).work == REGISTERED.works[path]


def spec_of_job(path: str) -> Callable[..., object]:
    job = callable_at(path)
    assert isinstance(job, Job)
    return job.__call__


def test_every_queue_has_its_jobs_its_threads_and_one_upstream() -> None:
    served = {work.queue.name for work in REGISTERED.works.values()} - {"webhooks"}
    # Each receiver of webhooks is an upstream by itself, and its one message is its breaker.
    assert {queue.name for queue in REGISTERED.queues if queue.upstream is not None} == served
    upstreams = [queue.upstream for queue in REGISTERED.queues if queue.upstream is not None]
    assert len(set(upstreams)) == len(upstreams)
    for queue in REGISTERED.queues:
        assert 0 < queue.threads <= queue.concurrency
        assert queue.depth >= queue.threads
    assert {work.queue for work in REGISTERED.works.values()} <= set(REGISTERED.queues)


def test_the_procfile_starts_the_commands_that_exist(app: Flask) -> None:
    lines = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    assert list(lines) == ["release", "web", "relay", "worker", "scheduler"]
    assert lines["web"].startswith("gunicorn wsgi:app")
    commands = {name: line.removeprefix("flask ") for name, line in lines.items() if name != "web"}
    assert commands == {name: name for name in commands}
    assert set(commands) - {"release"} == set(COMMANDS)
    assert "release" in app.cli.commands


# -- routes -------------------------------------------------------------------


def test_every_blueprint_says_who_may_call_it(app: Flask) -> None:
    assert access.undeclared(app) == []


def test_every_public_route_is_described(app: Flask) -> None:
    assert openapi.undescribed(app) == []


# -- sizes --------------------------------------------------------------------


def test_functions_stay_short_enough_to_read_at_once() -> None:
    """A file ends where its idea ends, so files have no limit."""
    long = set()
    for path in sources(*TOP_FOLDERS, "sandbox", "tests"):
        name = str(path.relative_to(ROOT))
        long |= {f"{name}: {function}" for function, lines in read(path).functions.items() if lines > 50}
    assert long == set()


def test_the_application_has_few_loose_files() -> None:
    loose = {path.stem for path in (ROOT / "flaskapp").glob("*.py")} - {"__init__"}
    assert len(loose) <= 12, loose


def test_every_module_begins_with_a_docstring_of_one_to_five_lines() -> None:
    """The first paragraph has one to five lines; a drawing may follow."""
    silent = set()
    for path in sources(*TOP_FOLDERS, "sandbox", "tests", "migrations"):
        why = read(path).why
        if read(path).lines and not 1 <= len(why.partition("\n\n")[0].splitlines()) <= 5:
            silent.add(str(path.relative_to(ROOT)))
    assert silent == set()
