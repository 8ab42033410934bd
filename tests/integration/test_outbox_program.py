"""The program of docs/outbox.md, run where nothing of this repository but outbox/ can be imported."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import Connection, create_engine, text

from flaskapp.config import read_database_url
from outbox import metadata
from sandbox.servers import EmbeddedPostgres, EmbeddedValkey
from tests.integration.test_migrations import BESIDE_THE_MODELS, described

ROOT = Path(__file__).parents[2]
(PROGRAM,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "outbox.md").read_text(), re.MULTILINE | re.DOTALL)
OTHERS = ("flaskapp", "jobs", "sandbox")
MAKE = """
import sys, outbox, sqlalchemy
with sqlalchemy.create_engine(sys.argv[1]).begin() as db:
    outbox.schema.create(db)
"""
DATABASE = "program"


@dataclass(frozen=True)
class IsolatedOutbox:
    """A folder with a copy of outbox/ and nothing else, an empty database and an empty Redis."""

    folder: Path
    database_url: str
    redis: Redis
    redis_url: str

    def run(self, program: str) -> subprocess.CompletedProcess[str]:
        """Run a program in that folder, with the installed packages and without the rest of this repository."""
        command = [sys.executable, "-c", program, self.database_url, self.redis_url]
        return subprocess.run(
            command, cwd=self.folder, env={"PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, timeout=60
        )

    def read(self, look: Callable[[Connection], object]) -> object:
        engine = create_engine(self.database_url)
        try:
            with engine.connect() as db:
                return look(db)
        finally:
            engine.dispose()

    def rows(self, query: str) -> object:
        return self.read(lambda db: [tuple(row) for row in db.execute(text(query))])


@pytest.fixture
def isolated(tmp_path: Path, postgres: EmbeddedPostgres, redis_server: EmbeddedValkey) -> Iterator[IsolatedOutbox]:
    shutil.copytree(ROOT / "outbox", tmp_path / "outbox", ignore=shutil.ignore_patterns("__pycache__"))
    with Redis.from_url(redis_server.url) as redis:
        redis.flushall()
        yield IsolatedOutbox(tmp_path, read_database_url(postgres.create_database(DATABASE)), redis, redis_server.url)
    postgres.drop_database(DATABASE)


def test_the_program_of_the_page_needs_nothing_else_of_this_repository(isolated: IsolatedOutbox) -> None:
    assert len(PROGRAM.splitlines()) <= 40
    for name in OTHERS:
        assert f"No module named '{name}'" in isolated.run(f"import {name}").stderr
    result = isolated.run(PROGRAM)
    assert (result.returncode, result.stderr) == (0, "")
    assert isolated.rows("SELECT id, label FROM parcels") == [("42", "label for write of parcel 42")]
    assert isolated.rows("SELECT subject_id, purpose, status, answered FROM outbox_attempts") == [
        ("42", "write", "success", True)
    ]
    assert isolated.rows("SELECT * FROM outbox_messages") == []
    assert isolated.rows("SELECT upstream, opened_at FROM outbox_breakers") == [("post_office", None)]
    assert set(isolated.redis.scan_iter("rq:*")) == {b"rq:queues"}, "its pointer is gone"


def test_the_schema_that_outbox_creates_is_the_one_of_the_migrations(
    isolated: IsolatedOutbox, database_url: str
) -> None:
    assert isolated.run(MAKE).returncode == 0
    migrated = replace(isolated, database_url=read_database_url(database_url))
    names = tuple(table.name for table in metadata.sorted_tables)

    def of_the_ledger(db: Connection) -> object:
        return {kind: {line for line in lines if line.startswith(names)} for kind, lines in described(db).items()}

    assert isolated.read(of_the_ledger) == migrated.read(of_the_ledger)
    assert isolated.rows(BESIDE_THE_MODELS) == migrated.rows(BESIDE_THE_MODELS)
    assert isolated.rows("SELECT * FROM outbox_clock") == migrated.rows("SELECT * FROM outbox_clock")


def test_a_second_schema_is_refused_and_leaves_the_first_as_it_is(isolated: IsolatedOutbox) -> None:
    assert isolated.run(MAKE).returncode == 0
    assert "ProgrammingError" in isolated.run(MAKE).stderr
