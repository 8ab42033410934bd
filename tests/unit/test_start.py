"""The start of a process happens at every deploy and after every crash, so it loads only what every process needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from flask import Flask

from flaskapp import create_help_app
from jobs.cli import attach
from sandbox.settings import environment, kept_secrets
from tests.conftest import NOWHERE

ROOT = Path(__file__).parents[2]
START = """
import gc, json, sys
import wsgi
print(json.dumps({
    "packages": sorted({name.partition(".")[0] for name in sys.modules}),
    "kept": gc.get_freeze_count(), "collecting": gc.isenabled(), "rounds": gc.get_stats()[2]["collections"],
}))
"""
# What migrates, with its dependencies; what makes PDFs; what checks and tests.
FOR_FEW = {"alembic", "mako", "pygments", "fpdf", "pikepdf", "lxml", "PIL", "rich", "pytest", "sandbox", "tests"}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The state of the interpreter when `flask` or gunicorn has loaded its application."""
    kept = kept_secrets(tmp_path_factory.mktemp("start"))
    settings = environment("postgres://nobody@127.0.0.1:1/x", "redis://127.0.0.1:1/0", NOWHERE, kept)
    output = subprocess.check_output(
        [sys.executable, "-c", START], cwd=ROOT, env={**os.environ, **settings}, timeout=60
    )
    found: dict[str, object] = json.loads(output)
    return found


def test_a_process_loads_only_what_every_process_needs(started: dict[str, object]) -> None:
    packages = started["packages"]
    assert isinstance(packages, list) and "flask" in packages
    assert FOR_FEW & set(packages) == set()


def test_the_garbage_collector_skips_what_the_start_made_and_works_after_it(started: dict[str, object]) -> None:
    kept = started["kept"]
    assert isinstance(kept, int) and kept > 50_000
    assert (started["rounds"], started["collecting"]) == (0, True)


# -- help, for somebody who has no settings yet ---------------------------------


def every_command(group: click.Group, *before: str) -> Iterator[list[str]]:
    for name, command in group.commands.items():
        yield [*before, name]
        if isinstance(command, click.Group):
            yield from every_command(command, *before, name)


def flask(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `flask`, with no setting at all."""
    known = {"PATH": os.environ["PATH"], **environ}
    argv = [str(Path(sys.executable).parent / "flask"), *arguments]
    return subprocess.run(argv, cwd=ROOT, env=known, timeout=60, text=True, capture_output=True, check=False)


def test_every_command_explains_itself_without_settings() -> None:
    app: Flask = create_help_app()
    attach(app)
    found = list(every_command(app.cli))
    assert ["outbox", "requeue"] in found and ["operators", "hash"] in found and ["worker"] in found
    for words in found:
        result = app.test_cli_runner().invoke(args=[*words, "--help"])
        assert result.exit_code == 0 and words[-1] in result.output, result.output


def test_flask_explains_itself_and_completes_words_without_settings() -> None:
    assert "outbox" in flask().stderr
    shown = flask("outbox", "requeue", "--help")
    assert (shown.returncode, shown.stderr) == (0, "") and "parked messages" in shown.stdout
    completed = flask(_FLASK_COMPLETE="bash_complete", COMP_WORDS="flask outb", COMP_CWORD="1")
    assert completed.stdout == "plain,outbox\n"
    refused = flask("outbox", "list")
    assert refused.returncode == 1 and "DATABASE_URL is not set" in refused.stderr
