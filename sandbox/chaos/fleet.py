"""The product as it runs under chaos: two relays, three workers, servers of its own, and a dyno manager.

The dyno manager starts again every process that ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from flaskapp.config import Config
from sandbox.servers import EmbeddedPostgres, EmbeddedValkey
from sandbox.system import System

# Names of further processes of a kind, which run the Procfile line of that kind.
MORE = {"relay.2": "relay", "worker.2": "worker", "worker.3": "worker"}
# Limits of calls are short, and so are the leases; days of retries pass in seconds. The rules stay as they are.
COMPRESSED = {
    "LOG_LEVEL": "WARNING",
    "RETRY_SCALE": "0.05",
    "VEIS_TOTAL_SECONDS": "3",
    "BTSSS_TOTAL_SECONDS": "4",
    "BTSSS_CONFIRM_SECONDS": "10",
    "VANOTIFY_TOTAL_SECONDS": "4",
    "VANOTIFY_CONFIRM_SECONDS": "10",
    "ACCOUNTS_TOTAL_SECONDS": "4",
    "LIGHTHOUSE_TOTAL_SECONDS": "2",
    "LIGHTHOUSE_CONFIRM_SECONDS": "10",
    "FORM526_TOTAL_SECONDS": "4",
    "FORM526_CONFIRM_SECONDS": "10",
    "DOCUMENT_UPLOAD_SECONDS": "4",
    "DOCUMENT_STATUS_SECONDS": "4",
    "DOCUMENT_POLL_MINUTES": "0.1",
    "TRAVEL_PAY_TOTAL_SECONDS": "3",
    "TRAVEL_PAY_CONFIRM_SECONDS": "10",
    "TRAVEL_PAY_WAIT_SECONDS": "0",
    "STS_TOTAL_SECONDS": "2",
    "VA_PROFILE_TOTAL_SECONDS": "2",
    "BREAKER_OPEN_SECONDS": "0.5",
    "BREAKER_CAP_SECONDS": "4",
}
# A kill is no power cut: the kernel still writes what it was given.
POSTGRES = {"fsync": "off", "log_min_messages": "fatal", "pg_stat_statements.track": "none"}
# Without it, nobody may change the folder of a running server, which is how its disk is filled.
VALKEY = {"enable-protected-configs": "local"}
STOP_SECONDS = 30.0


class Fleet(System):
    """`ended` names each process that ended without being struck; `tend` looks for such processes and starts them
    again.

    Everything that starts a process must be called in the main thread: when that thread ends, the kernel ends them all.
    """

    more: Mapping[str, str] = MORE

    def __init__(self, root: Path, folder: Path, say: Callable[[str], None]) -> None:
        super().__init__(root, environ=COMPRESSED, folder=folder, say=say)
        self.commands |= {name: self.commands[kind] for name, kind in self.more.items()}
        self.postgres = EmbeddedPostgres(folder / "postgres", settings=POSTGRES)
        self.redis = EmbeddedValkey(folder / "valkey", settings=VALKEY)
        self.ended: list[str] = []

    @property
    def database_url(self) -> str:
        """PostgreSQL itself, for those who look at what became of everything."""
        return self.postgres.url

    @property
    def doors(self) -> list[str]:
        """Where the web processes listen, as host:port."""
        return [f"127.0.0.1:{self.port}"]

    def of_kind(self, kind: str) -> list[str]:
        """The names of the processes of a kind."""
        return [name for name in self.crew.processes if name.partition(".")[0] == kind]

    def kill(self, name: str) -> None:
        self.crew[name].kill()

    def terminate(self, name: str) -> None:
        """SIGTERM, as at a deploy, and wait until it ends by itself."""
        self.crew[name].terminate(STOP_SECONDS)

    def signal(self, name: str, number: int) -> None:
        self.crew[name].signal(number)

    def start_again(self, name: str) -> None:
        """Start one that has ended; do nothing if that has been done."""
        if not self.crew[name].running:
            self.crew[name].start()

    def tend(self, struck: set[str]) -> None:
        """Start again what ended by itself; `struck` are down on purpose just now."""
        for name, process in self.crew.processes.items():
            if name not in struck and not process.running:
                self.ended.append(name)
                process.start()

    def _servers(self, config: Config) -> tuple[str, str]:
        return self._server(self.postgres), self._server(self.redis)

    def _processes(self) -> None:
        self.environment["WEB_CONCURRENCY"] = "1"
        super()._processes()
