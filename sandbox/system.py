"""The whole product on one machine: upstreams, servers, migrations and the Procfile's processes, in that order.

`make run` shows it to a person; other scripts of the sandbox drive the same object.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import psycopg2
import redis
import requests
from redis.backoff import NoBackoff
from redis.retry import Retry

from flaskapp.config import Config, from_env
from sandbox.processes import Crew, Process, procfile, surroundings
from sandbox.server import Server, ServerError, free_port, held_folder, keep_private, port_is_free
from sandbox.servers import EmbeddedPostgres, EmbeddedValkey
from sandbox.settings import ENVIRONMENT_FILE, as_shell, environment, fake_settings, kept_secrets
from sandbox.site.app import create_site
from sandbox.site.serve import serving
from sandbox.upstreams.serve import PORTS, Upstreams, serve

RELEASE_SECONDS = 120.0
NOT_YET_KNOWN = {"database": "postgres://embedded/surefile", "redis": "redis://embedded"}


class PortTaken(ServerError):
    """Somebody else listens on a port that was wanted."""


@dataclass(frozen=True)
class Ports:
    """Where one system listens: the web process, and the fakes by name. A fake that is not named takes a free port.

    The person's pages listen on `site`, or on a free port if that is 0; None: there are none.
    """

    web: int
    fakes: Mapping[str, int] = field(default_factory=dict)
    site: int | None = None

    def check(self) -> None:
        """Raises PortTaken unless nobody listens on any of them."""
        wanted = {"web": self.web, **self.fakes, **({"site": self.site} if self.site else {})}
        taken = [f"{port} ({name})" for name, port in wanted.items() if not port_is_free(port)]
        if not taken and not port_is_free(self.web, "0.0.0.0"):
            taken = [f"{self.web} (web)"]
        if taken:
            raise PortTaken(f"port {taken[0]} is taken" + (f", and {len(taken) - 1} more" if taken[1:] else ""))


class System:
    """One running product. Start it from the main thread; after `start` the attributes below are set.

    `environ` may hold any setting of the product: DATABASE_URL and REDIS_URL replace the embedded servers. Data, logs
    and secrets are kept in `folder`, which only one system at a time may use. It listens on the first of `ports` that
    are all free; without any, on ports that nobody uses. `say` gets each step, `hear` each line the processes write.
    `process` begins each line of the Procfile.
    """

    port: int
    url: str
    environment: dict[str, str]
    upstreams: dict[str, str]
    site: str | None = None
    crew: Crew

    def __init__(
        self,
        root: Path,
        *,
        ports: Iterable[Ports] = (),
        environ: Mapping[str, str],
        folder: Path | None = None,
        say: Callable[[str], None] = print,
        hear: Callable[[str, str], None] | None = None,
        process: type[Process] = Process,
    ) -> None:
        self.root = root
        self.process = process
        self.ports = list(ports) or [Ports(free_port())]
        self.environ = environ
        self.folder = folder or root / ".run"
        self.say = say
        self.hear = hear
        self.commands = procfile(root / "Procfile")
        self._running = ExitStack()

    def start(self) -> Self:
        """Everything up to a ready web process; on any failure what had started is stopped and the error raised."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop all that was started, last things first. May be called again."""
        self._running.close()

    def must_run(self) -> None:
        """Raises ProcessEnded when one of the processes is gone."""
        self.crew.must_run()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def _start(self) -> None:
        self._running.enter_context(held_folder(self.folder, "Surefile"))
        self.secrets = kept_secrets(self.folder)
        config = self._settings(dict.fromkeys(PORTS, "http://127.0.0.1"), **NOT_YET_KNOWN)
        self.upstreams = self._upstreams()
        database, broker = self._servers(config)
        self._settings(self.upstreams, database=database, redis=broker)
        self._keep_environment()
        self._release()
        self._processes()

    def _settings(self, upstreams: Mapping[str, str], *, database: str, redis: str) -> Config:
        """Raises ConfigError naming every setting that cannot be read."""
        self.environment = environment(database, redis, upstreams, self.secrets, self.environ)
        if not self.environ.get("DATABASE_URL"):
            # A direct way to another database than the one that we start.
            self.environment["DATABASE_DIRECT_URL"] = ""
        return from_env(self.environment)

    def _keep_environment(self) -> None:
        """Write the environment for `python -m sandbox flask` and `shell`, as long as this runs."""
        path = self.folder / ENVIRONMENT_FILE
        keep_private(path, as_shell(self.environment))
        self._running.callback(path.unlink, missing_ok=True)

    def _upstreams(self) -> Upstreams:
        """Start the fakes, and with them decide all ports.

        They come before the servers, which may take long to start: two systems that start at once would find the same
        ports free, and only listening makes them ours.
        """
        self.say("Starting the sandbox upstreams ...")
        problem = ""
        for ports in self.ports:
            try:
                upstreams = self._listen(ports)
            except PortTaken as taken:
                problem = problem or str(taken)
            else:
                if problem:
                    self.say(f"Other ports are used, which are printed below: {problem}.")
                return upstreams
        raise ServerError(f"{problem}; is Surefile running already?")

    def _listen(self, ports: Ports) -> Upstreams:
        """The fakes, listening on these ports; raises PortTaken when they cannot, or the web process could not."""
        self.port, self.url = ports.web, f"http://127.0.0.1:{ports.web}"
        ports.check()
        try:
            with ExitStack() as listening:
                upstreams = listening.enter_context(serve(ports.fakes, fake_settings(self.url)))
                if ports.site is not None:
                    self.site = listening.enter_context(serving(create_site(self.url, upstreams), ports.site))
                self._running.push(listening.pop_all())
            return upstreams
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise PortTaken("a port of the upstreams has just been taken") from None

    def _servers(self, config: Config) -> tuple[str, str]:
        """The two URLs to use; raises ServerError when one that was given does not answer."""
        if self.environ.get("DATABASE_URL"):
            check_database(self.environ["DATABASE_URL"])
            database = self.environ["DATABASE_URL"]
        else:
            database = self._server(EmbeddedPostgres(self.folder / "postgres"))
        if self.environ.get("REDIS_URL"):
            check_redis(config.redis_url, config.redis_verify_tls)
            return database, self.environ["REDIS_URL"]
        return database, self._server(EmbeddedValkey(self.folder / "valkey"))

    def _server(self, server: Server) -> str:
        self.say(f"Starting {server.name} ...")
        server.start()
        self._running.callback(self._stop, server.name, server.stop)
        return server.url

    def _stop(self, what: str, stop: Callable[[], None]) -> None:
        self.say(f"Stopping {what} ...")
        stop()

    def _process(self, name: str) -> Process:
        environment = surroundings(self.environment, self.port)
        log = self.folder / "logs" / f"{name}.log"
        return self.process(name, self.commands[name], environment, log, root=self.root, hear=self.hear)

    def _release(self) -> None:
        """The Procfile's release line, to its end; raises ProcessEnded with its last lines when it fails."""
        self.say("Migrating the database ...")
        release = self._process("release")
        release.start()
        try:
            if release.wait(RELEASE_SECONDS) != 0:
                release.must_run()
        finally:
            release.kill()

    def _processes(self) -> None:
        self.crew = Crew(self._process(name) for name in self.commands if name != "release")
        self.say(f"Starting {', '.join(self.crew.processes)} ...")
        self._running.callback(self._stop, ", ".join(self.crew.processes), self.crew.stop)
        self.crew.start()
        self.crew.wait_ready("web", self._ready)

    def _ready(self) -> bool:
        """Whether the web process accepts requests and says that one of each other kind has beaten lately."""
        try:
            answer = requests.get(f"{self.url}/healthz/ready", timeout=5)
            beating = answer.json().get("processes", {}) if answer.status_code == 200 else {}
        except (requests.RequestException, ValueError):
            return False
        return {*beating, "web"} >= {name.partition(".")[0] for name in self.crew.processes}


def check_database(url: str) -> None:
    """Raises ServerError in one line, without the password, unless a PostgreSQL answers there."""
    try:
        psycopg2.connect(url.replace("+psycopg2", "", 1), connect_timeout=10).close()
    except psycopg2.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise ServerError(f"DATABASE_URL: no PostgreSQL to be had at {place(url)}: {reason}") from None
    except (psycopg2.Error, ValueError):
        raise ServerError("DATABASE_URL cannot be read: malformed") from None


def check_redis(url: str, verify_tls: bool) -> None:
    """The same for Redis, with the certificate checked or not as the product will."""
    trust = {"ssl_cert_reqs": "none"} if url.startswith("rediss://") and not verify_tls else {}
    try:
        client = redis.Redis.from_url(
            url, socket_connect_timeout=10, socket_timeout=10, retry=Retry(NoBackoff(), 0), **trust
        )
        with closing(client):
            client.ping()
    except redis.RedisError as error:
        reason = str(error).strip().splitlines()[0]
        raise ServerError(f"REDIS_URL: no Redis to be had at {place(url)}: {reason}") from None
    except ValueError:
        raise ServerError("REDIS_URL cannot be read: malformed") from None


def place(url: str) -> str:
    """Where a URL points, without its user, password and options."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] or parts.path
