"""The product on many hosts: two of web, relay and scheduler, four workers, and servers in pairs behind a pooler."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from flaskapp.config import Config
from sandbox.chaos.fleet import Fleet
from sandbox.hosts.network import Host, Network
from sandbox.hosts.servers import Pooler, PostgresPair, ValkeyPair
from sandbox.processes import Process
from sandbox.settings import fake_settings
from sandbox.system import Ports
from sandbox.upstreams.serve import Upstreams, serve

MORE = {
    "web.2": "web",
    "relay.2": "relay",
    "worker.2": "worker",
    "worker.3": "worker",
    "worker.4": "worker",
    "scheduler.2": "scheduler",
}
POSTGRES_FLOATS, VALKEY_FLOATS = 200, 201
# What a release holds; the rest of the checkout is not deployed.
RELEASED = ("wsgi.py", "gunicorn.conf.py", "flaskapp", "jobs", "outbox", "migrations")
NEXT_MIGRATION = '''"""Nothing that this release minds: a column of the next one."""

from alembic import op

revision, down_revision = "{number}", "{before}"


def upgrade() -> None:
    op.execute("ALTER TABLE cases ADD COLUMN next_release text")


def downgrade() -> None:
    op.execute("ALTER TABLE cases DROP COLUMN next_release")
'''


class HostsFleet(Fleet):
    """Each process on a host of its own name, and so each server. `tend` starts again what ended by itself."""

    more = MORE

    def __init__(self, root: Path, folder: Path, say: Callable[[str], None], network: Network) -> None:
        super().__init__(root, folder, say)
        self.network = network
        self.hosts = {name: network.host(name) for name in self.commands if name != "release"}
        self.pair = PostgresPair(network, folder, network.floating(POSTGRES_FLOATS))
        self.valkeys = ValkeyPair(network, folder, network.floating(VALKEY_FLOATS))
        self.pooler = Pooler(folder / "pooler", network.host("pooler"), self.pair)
        self._next = folder / "next-release"

    @property
    def database_url(self) -> str:
        return self.pair.url

    @property
    def doors(self) -> list[str]:
        return [f"{self.hosts[name].address}:{self.port}" for name in self.of_kind("web")]

    def host_of(self, name: str) -> Host:
        return self.hosts[name]

    def release_next(self) -> None:
        """Migrate the database to the next release, while every process is still of this one."""
        if not self._next.exists():
            self._make_next()
        release = self._process("release")
        release.root = self._next
        release.start()
        if release.wait(60) != 0:
            release.must_run()

    def replace(self, name: str) -> None:
        """Stop a process as a deploy does, and start the next release's in its place."""
        self.terminate(name)
        self.crew[name].root = self._next
        self.crew[name].start()

    def _make_next(self) -> None:
        self._next.mkdir()
        for part in RELEASED:
            source = self.root / part
            if source.is_dir():
                shutil.copytree(source, self._next / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, self._next / part)
        versions = self._next / "migrations" / "versions"
        before = max(path.name for path in versions.glob("[0-9]*.py")).partition("_")[0]
        number = f"{int(before) + 1:04}"
        (versions / f"{number}_next.py").write_text(NEXT_MIGRATION.format(number=number, before=before))

    def _listen(self, ports: Ports) -> Upstreams:
        self.port, self.url = ports.web, f"http://{self.hosts['web'].address}:{ports.web}"
        upstreams = serve(ports.fakes, fake_settings(self.url), self.network.address)
        return self._running.enter_context(upstreams)

    def _servers(self, config: Config) -> tuple[str, str]:
        for name, server in (("PostgreSQL", self.pair), ("Valkey", self.valkeys), ("PgBouncer", self.pooler)):
            self.say(f"Starting {name} ...")
            self._running.callback(self._stop, name, server.stop)
            server.start()
        direct, pooled = self.pair.url, self.pooler.url
        self.environ = {**self.environ, "DATABASE_URL": pooled, "DATABASE_DIRECT_URL": direct}
        return self.pooler.url, self.valkeys.url

    def _process(self, name: str) -> Process:
        process = super()._process(name)
        if name in self.hosts:
            process.enter = [*self.hosts[name].enter, "--"]
            # Its own address, and nobody but the other hosts is on that wire.
            process.environment["WEB_ADDRESS"] = self.hosts[name].address
        return process
