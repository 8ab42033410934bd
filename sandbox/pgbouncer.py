"""The distribution's PgBouncer before a PostgreSQL of ours, in transaction mode and with its defaults otherwise."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg2

from sandbox import unprivileged
from sandbox.server import Server, tethered

PLACES = ("/usr/sbin", "/usr/bin", "/usr/local/bin")


def find_pgbouncer() -> str | None:
    """Where PgBouncer is installed, or None."""
    return shutil.which("pgbouncer", path=os.pathsep.join((os.environ.get("PATH", ""), *PLACES)))


class PgBouncer(Server):
    """PgBouncer on 127.0.0.1 for every database of the server at `behind`, whose user and password are its own.

    `settings` are pgbouncer.ini settings. Who connects to `url_of(url)` connects to what is at `url`, through it.
    """

    name = "PgBouncer"
    program = "pgbouncer"
    stop_signal = signal.SIGINT

    def __init__(
        self, folder: Path, behind: str, port: int | None = None, *, settings: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(folder, port)
        self.behind = urlsplit(behind)
        self.settings = dict(settings or {})

    @property
    def url(self) -> str:
        return self.url_of(urlunsplit(self.behind))

    def url_of(self, url: str) -> str:
        parts = urlsplit(url)
        return urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@{self.address}:{self.port}"))

    def _prepare(self) -> None:
        users = self._write("users", f'"{self.behind.username}" "{self.behind.password}"\n')
        settings = {
            "listen_addr": self.address,
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "plain",
            "auth_file": str(users),
            "pool_mode": "transaction",
            **self.settings,
        }
        lines = [f"* = host={self.behind.hostname} port={self.behind.port}", "", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in settings.items()]
        self._write(f"{self.mark}.ini", "\n".join(["[databases]", *lines, ""]))

    def _write(self, name: str, text: str) -> Path:
        path = unprivileged.home_for(self.folder) / name
        path.touch(mode=0o600)
        path.write_text(text)
        unprivileged.own(path)
        return path

    def _launch(self) -> subprocess.Popen[bytes]:
        argv = [find_pgbouncer() or self.program, str(unprivileged.home_for(self.folder) / f"{self.mark}.ini")]
        options: dict[str, Any] = {"env": {"PATH": os.defpath, "LC_ALL": "C"}, "cwd": "/", "start_new_session": True}
        # The words that enter another host change the user too.
        options |= {"stdin": subprocess.DEVNULL, **({} if self.enter else unprivileged.user_and_group())}
        with self.log.open("wb") as log:
            return subprocess.Popen([*self.enter, *tethered(argv, "INT")], stdout=log, stderr=log, **options)

    def _answers(self) -> bool:
        try:
            with closing(psycopg2.connect(self.url, connect_timeout=10)):
                return True
        except psycopg2.OperationalError:
            return False
