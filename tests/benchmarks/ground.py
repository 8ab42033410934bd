"""The ground that measurements stand on: servers that wait for their disk, a minimal upstream, and our processes.

Every process writes its log into a file by itself: read by us, it would cost the product a part of this process's
time.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sandbox.databases import TemplateDatabase
from sandbox.processes import Process, procfile, surroundings
from sandbox.server import free_port
from sandbox.servers import ADMIN, OWNER, EmbeddedPostgres, EmbeddedValkey
from sandbox.settings import environment, fake_settings, kept_secrets
from sandbox.upstreams.keys import TODAYS_KEY, public_pem
from sandbox.upstreams.serve import Upstreams, serve
from tests.benchmarks.people import until

ROOT = Path(__file__).parents[2]
# The product's own statements: what we look up meanwhile is asked by another role.
THEIRS = f"""
    pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid JOIN pg_roles r ON r.oid = s.userid
     WHERE d.datname = %s AND r.rolname = '{OWNER}'
"""
STATEMENTS = f"""
    SELECT COALESCE(sum(calls), 0)::float, COALESCE(sum(total_exec_time + total_plan_time), 0)::float FROM {THEIRS}
"""
POSTGRES = {"max_connections": "200", "pg_stat_statements.track_planning": "on", "max_wal_size": "4GB"}
START_SECONDS = 120.0
NOT_DUE = "SELECT count(*) FROM outbox_messages WHERE state IN ('ready', 'published', 'running')"


class Quiet(Process):
    """A process whose log nobody reads while it runs."""

    def __init__(self, name: str, command: str, environ: Mapping[str, str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(name, f"{command} >>{log} 2>&1", environ, log.with_suffix(".out"), root=ROOT)
        self.written = log

    def family(self) -> list[psutil.Process]:
        own = psutil.Process(self.pid)
        return [own, *own.children(recursive=True)]

    def cpu_seconds(self) -> float:
        return cpu_of(self.family())

    def pss(self) -> int:
        """Bytes of memory, those shared with others counted in parts."""
        return sum(each.memory_full_info().pss for each in self.family())

    def rss(self) -> int:
        return sum(each.memory_info().rss for each in self.family())


def cpu_of(processes: Sequence[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


class Site:
    """One database with the processes that work on it. `execute` is its owner's, `rows` and `value` the superuser's."""

    def __init__(self, ground: Ground, name: str, environ: Mapping[str, str], redis_database: int) -> None:
        self.ground = ground
        self.name = name
        self.url = ground.template.copy()
        self.database = self.url.rpartition("/")[2]
        urls = {**ground.fakes, **dict.fromkeys(("veis", "btsss", "va_notify"), ground.upstream)}
        extra = {"SIS_PUBLIC_KEYS": public_pem(TODAYS_KEY), **environ}
        redis_url = f"{ground.redis_server.url.rpartition('/')[0]}/{redis_database}"
        self.environ = environment(self.url, redis_url, urls, ground.secrets, extra)
        self.connection = psycopg2.connect(self.url)
        self.looking = psycopg2.connect(ground.postgres.url_of(self.database, ADMIN))
        self.connection.autocommit = self.looking.autocommit = True

    def close(self) -> None:
        self.connection.close()
        self.looking.close()

    def rows(self, query: str, *values: Any) -> list[Any]:
        with self.looking.cursor() as cursor:
            cursor.execute(query, values or None)
            return list(cursor.fetchall()) if cursor.description else []

    def value(self, query: str, *values: Any) -> Any:
        return self.rows(query, *values)[0][0]

    def execute(self, statement: str, *values: Any) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values or None)

    def patiently(self, statement: str) -> None:
        """A statement that may take minutes."""
        self.execute("SET statement_timeout = 0")
        self.execute(statement)

    def statements(self) -> tuple[float, float]:
        """Calls and milliseconds of Postgres since the last reset, planning included."""
        (row,) = self.ground.administer(STATEMENTS, self.database)
        return row

    def reset_statements(self) -> None:
        self.ground.administer("SELECT pg_stat_statements_reset()")

    @contextmanager
    def running(self, name: str, command: str | None = None, **environ: str) -> Iterator[Quiet]:
        """A process of this site; without a command, that of the Procfile's line of this name."""
        port = int(environ.pop("PORT", 0)) or free_port()
        command = command or self.ground.commands[name.partition(".")[0]]
        log = self.ground.folder / "logs" / f"{self.name}-{name}.log"
        process = Quiet(name, command, {**surroundings(self.environ, port), **environ}, log)
        process.start()
        try:
            yield process
        finally:
            process.signal(signal.SIGCONT)
            process.terminate()

    @contextmanager
    def web(self, name: str = "web", command: str | None = None, live: str = "/healthz/live") -> Iterator[WebProcess]:
        port = free_port()
        with self.running(name, command, PORT=str(port)) as process:
            process.wait_ready(lambda: status_of(port, live) == 200, START_SECONDS)
            yield WebProcess(process, port)

    @contextmanager
    def beating(self, *names: str, module: str = "", **environ: str) -> Iterator[list[Quiet]]:
        """Processes of the Procfile, or of `module` with the same words, once each of them has beaten."""
        before = self.beats()
        with ExitStack() as stack:
            found = []
            for name in names:
                command = f"python -m {module} {name.partition('.')[0]}" if module else None
                found.append(stack.enter_context(self.running(name, command, **environ)))
            until(lambda: self.beats() - before >= len(names) and all(each.running for each in found), START_SECONDS)
            yield found

    def beats(self) -> int:
        return int(self.value("SELECT count(*) FROM outbox_processes"))

    def work_left(self) -> int:
        return int(self.value(NOT_DUE))

    def until_done(self, seconds: float = 120.0) -> None:
        until(lambda: self.work_left() == 0, seconds)


class WebProcess:
    def __init__(self, process: Quiet, port: int) -> None:
        self.process = process
        self.port = port


class Ground:
    """Everything below the product, in one folder, for one run. `say` gets each step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commands = procfile(ROOT / "Procfile")
        self.secrets = kept_secrets(folder)
        self._running = ExitStack()

    def __enter__(self) -> Ground:
        try:
            self._start()
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        self._running.close()

    def _start(self) -> None:
        self.fakes: Upstreams = self._running.enter_context(serve({}, fake_settings("http://127.0.0.1")))
        self.postgres = EmbeddedPostgres(self.folder / "postgres", settings=POSTGRES)
        self.redis_server = EmbeddedValkey(self.folder / "valkey")
        for server in (self.postgres, self.redis_server):
            server.start()
            self._running.callback(server.stop)
        self._admin = self._running.enter_context(closing(psycopg2.connect(self.postgres.admin_url)))
        self._admin.autocommit = True
        self.redis = redis.Redis.from_url(self.redis_server.url, retry=Retry(NoBackoff(), 0))
        self._running.callback(self.redis.close)
        port = free_port()
        self.upstream = f"http://127.0.0.1:{port}"
        self.upstream_process = Quiet(
            "upstream",
            f"python -m tests.benchmarks.minimal_upstream {port}",
            surroundings({}, port),
            self.folder / "logs" / "upstream.log",
        )
        self._running.callback(self.stop_upstream)
        self.start_upstream()
        self.template = TemplateDatabase(self.postgres, self._release)

    def start_upstream(self) -> None:
        self.upstream_process.start()
        self.upstream_process.wait_ready(lambda: status_of(int(self.upstream.rpartition(":")[2]), "/_counts") == 200)

    def stop_upstream(self) -> None:
        if self.upstream_process.running:
            self.upstream_process.kill()

    def _release(self, url: str) -> None:
        environ = environment(url, self.redis_server.url, self.fakes, self.secrets)
        log = self.folder / "logs" / "release.log"
        process = Quiet("release", self.commands["release"], surroundings(environ, 0), log)
        process.start()
        assert process.wait(120) == 0, log.read_text()[-2000:]

    def administer(self, query: str, *values: Any) -> list[Any]:
        """As the superuser, who may see everybody's statements."""
        with self._admin.cursor() as cursor:
            cursor.execute(query, values or None)
            return list(cursor.fetchall()) if cursor.description else []

    @contextmanager
    def site(self, name: str, redis_database: int = 0, **environ: str) -> Iterator[Site]:
        """A migrated database that nobody has used yet, and an empty Redis."""
        site = Site(self, name, environ, redis_database)
        redis.Redis.from_url(site.environ["REDIS_URL"]).flushdb()
        try:
            yield site
        finally:
            site.close()
            self.postgres.drop_database(site.database)

    def upstream_says(self, path: str) -> dict[str, Any]:
        with closing(http.client.HTTPConnection(self.upstream.removeprefix("http://"), timeout=10)) as connection:
            connection.request("GET", path)
            found: dict[str, Any] = json.loads(connection.getresponse().read())
            return found

    def postgres_family(self) -> list[psutil.Process]:
        own = psutil.Process(self.postgres.pid)
        return [own, *own.children(recursive=True)]

    def redis_family(self) -> list[psutil.Process]:
        return [psutil.Process(self.redis_server.pid)]

    def redis_commands(self) -> int:
        """Commands that Redis has executed, those of scripts and transactions one by one."""
        stats: dict[str, Any] = self.redis.info("commandstats")
        return sum(int(each["calls"]) for each in stats.values())


def status_of(port: int, path: str) -> int:
    """The status of a GET; 0 while nobody answers."""
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
            connection.request("GET", path)
            return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0


def freeze(*processes: Quiet) -> None:
    for process in processes:
        process.signal(signal.SIGSTOP)


def thaw(*processes: Quiet) -> None:
    for process in processes:
        process.signal(signal.SIGCONT)


@contextmanager
def frozen(*processes: Quiet) -> Iterator[None]:
    """They stand still in this block, as short as a heartbeat allows: rescue takes them for dead after 10 s."""
    freeze(*processes)
    try:
        yield
    finally:
        thaw(*processes)


def seconds_until(condition: Callable[[], bool], seconds: float = 120.0, pause: float = 0.005) -> float:
    """How long it takes until the condition holds. Raises AssertionError after `seconds`."""
    began = time.perf_counter()
    while not condition():
        assert time.perf_counter() - began < seconds, f"still not so after {seconds} s"
        time.sleep(pause)
    return time.perf_counter() - began


CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
