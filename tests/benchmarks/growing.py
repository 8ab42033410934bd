"""What things cost with a million messages waiting and five million attempts on record, and beside an open transaction.

Two databases on one server, an empty one and a full one, take turns. What a job or a claim of the relay costs is
Postgres's own time for it, which a busy machine changes little.
"""

from __future__ import annotations

import http.client
import itertools
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass

import psycopg2
import requests
from redis import Redis

from outbox import breakers
from sandbox.processes import surroundings
from sandbox.settings import OPERATOR
from tests.benchmarks.enqueuing import READY, copy_claims, enqueue
from tests.benchmarks.ground import ROOT, THEIRS, Ground, Site, frozen
from tests.benchmarks.load import drive
from tests.benchmarks.noop import BENCH, WORK
from tests.benchmarks.people import until
from tests.benchmarks.posting import CLAIMS, ITFS, Claimants, itfs_of, visitors
from tests.benchmarks.rows import Row, Run, at_least, at_most, measurement, rate_until
from tests.benchmarks.starting import engine_of

WAITING, ATTEMPTS = 1_000_000, 5_000_000
# Of those who wait, so many are claims that the consoles count; the others wait for a job that does nothing.
CLAIMS_WAITING = 400_000
CHUNK, STEADY, SLOW = 1_000_000, 1.2, 2.0
MOVED, REQUESTS, SLOW_REQUESTS = 2_000, 60, 3
AUDIT = "flask audit"
STEADY_CALLS = ("POST claim", "GET claim", "GET ITF")
PAST = """
    INSERT INTO outbox_attempts (message_id, fence, subject_type, subject_id, job, upstream, purpose, status,
                                 started_at, finished_at, end_number, answered, worker_id)
    SELECT -(number / 4) - 1, number, 'bench', (number / 4)::text, '{job}', '{upstream}', 'write', 'success',
           at - number * interval '1 second', at - number * interval '1 second',
           nextval('outbox_attempts_id_seq'), true, 'bench'
      FROM (SELECT outbox_now() AS at OFFSET 0) AS clock, generate_series({first}, {last}) AS number
"""
# Indexes are made after the rows, which is several times as fast; those of constraints stay.
INDEXES = """
    SELECT i.indexname, i.indexdef FROM pg_indexes i
     WHERE i.tablename = %s AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conname = i.indexname)
"""
MODULE = "tests.benchmarks.noop"


@dataclass
class Side:
    """One of the two databases, with what asks it."""

    site: Site
    port: int
    claimants: Claimants
    claim: str
    token: str
    cookie: str


def remember(site: Site, count: int) -> None:
    """So many attempts of the past: four for each message that is done, all answered, the last just now."""
    with closing(psycopg2.connect(site.url)) as own, own.cursor() as cursor:
        own.autocommit = True
        cursor.execute("SET statement_timeout = 0")
        cursor.execute("SET synchronous_commit = off")
        for first in range(0, count, CHUNK):
            last = min(first + CHUNK, count) - 1
            cursor.execute(PAST.format(job=WORK.path, upstream=BENCH.upstream, first=first, last=last))


def fill(site: Site, run: Run) -> None:
    """A million messages that wait, and five million attempts."""
    site.execute("SET synchronous_commit = off")
    site.execute("SET maintenance_work_mem = '512MB'")
    with ExitStack() as stack:
        for table in ("outbox_attempts", "outbox_messages", "travel_claims"):
            for name, definition in site.rows(INDEXES, table):
                site.execute(f"DROP INDEX {name}")
                stack.callback(site.patiently, definition)
        run.say("attempts of the past, and messages that wait")
        with ThreadPoolExecutor() as pool:
            past = pool.submit(remember, site, run.whole(ATTEMPTS, 1_000))
            copy_claims(site, run.whole(CLAIMS_WAITING, 1_000))
            enqueue(site, run.whole(WAITING - CLAIMS_WAITING, 1_000))
            past.result()
        run.say("indexes")
    site.patiently("VACUUM ANALYZE")


def prepared(stack: ExitStack, ground: Ground, name: str, redis_database: int) -> Side:
    """A database with one claim and one ITF that were posted, and a web process."""
    site = stack.enter_context(ground.site(name, redis_database, METRICS_KEEP_SECONDS="0"))
    # A breaker that is missing where work waits would be made open.
    with engine_of(site) as engine, engine.begin() as connection:
        breakers.ensure_breakers(connection, [BENCH])
    web = stack.enter_context(site.web())
    claimants = Claimants(site, web.port)
    (token,) = visitors(site, 1)
    drive(web.port, itfs_of(iter([token]), ITFS), clients=1, seconds=30).expect(202)
    drive(web.port, itertools.islice(claimants.next_claims(), 1), clients=1, seconds=30).expect(202)
    claim = str(site.value("SELECT id FROM travel_claims"))
    return Side(site, web.port, claimants, claim, token, f"cie_session={claimants.tokens[0]}")


def requests_of(side: Side, password: str) -> dict[str, Callable[[], float]]:
    """Seconds of one request each, by name; what is steady first."""
    operator = http.client.HTTPConnection("127.0.0.1", side.port, timeout=120)

    def get(path: str, **headers: str) -> Callable[[], float]:
        def once() -> float:
            began = time.perf_counter()
            operator.request("GET", path, headers=headers)
            reply = operator.getresponse()
            body = reply.read()
            assert reply.status == 200, (path, reply.status, body[:300])
            return time.perf_counter() - began

        return once

    def post() -> float:
        some = itertools.islice(side.claimants.next_claims(), 1)
        return drive(side.port, some, clients=1, seconds=30).expect(202).times[0]

    def audit() -> float:
        began = time.perf_counter()
        done = subprocess.run(
            AUDIT.split(),
            cwd=ROOT,
            env=surroundings(side.site.environ, 0),
            capture_output=True,
            text=True,
            check=False,
        )
        assert "unaccounted" in done.stdout, done.stdout + done.stderr
        return time.perf_counter() - began

    signed_in = {"Authorization": f"Bearer {side.token}"}
    return {
        "POST claim": post,
        "GET claim": get(f"{CLAIMS}{side.claim}", Cookie=side.cookie),
        "GET ITF": get(ITFS, **signed_in),
        "/metrics": get("/metrics", Authorization=f"Bearer {password}"),
        "/ops": get("/ops/", Cookie=operators_cookie(side.port, OPERATOR, password)),
        "/healthz/ready": get("/healthz/ready"),
        AUDIT: audit,
    }


def operators_cookie(port: int, name: str, password: str) -> str:
    """Log in to the console as a browser does."""
    with closing(requests.Session()) as browser:
        page = browser.get(f"http://127.0.0.1:{port}/ops/login", timeout=30)
        token = page.text.split('name="csrf_token"', 1)[1].split('value="', 1)[1].split('"', 1)[0]
        form = {"name": name, "password": password, "csrf_token": token}
        browser.post(f"http://127.0.0.1:{port}/ops/login", data=form, timeout=30).raise_for_status()
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies)


RELAYS = "query LIKE '%%SKIP LOCKED%%'"
POSTGRES_TIME = f"""
    SELECT COALESCE(sum(total_exec_time + total_plan_time) FILTER (WHERE {RELAYS}), 0)::float,
           COALESCE(sum(total_exec_time + total_plan_time) FILTER (WHERE NOT {RELAYS}), 0)::float FROM {THEIRS}
"""
PUBLISHED = "SELECT count(*) FROM outbox_messages WHERE queue = %s AND state = 'published'"
PUT_BACK = "UPDATE outbox_messages SET state = 'ready' WHERE queue = %s AND state = 'published'"
ATTEMPTED = "SELECT count(*) FROM outbox_attempts WHERE started_at > to_timestamp(%s)"
HOLD = ("flask", "breakers", "hold", "btsss", "--for", "1d", "--reason", "only no-op jobs are measured")


def postgres_time(site: Site) -> tuple[float, float]:
    """Milliseconds since the last reset: of the relay's claims, and of everything else."""
    (row,) = site.ground.administer(POSTGRES_TIME, site.database)
    return row


def steps(site: Site, seconds: float) -> tuple[float, float]:
    """Milliseconds of Postgres for one message: the relay's claim of 2,000, and a job while a worker is at it."""
    site.execute(PUT_BACK, BENCH.name)
    with closing(Redis.from_url(site.environ["REDIS_URL"])) as redis:
        redis.flushdb()
    if site.value(READY, BENCH.name) < MOVED:
        enqueue(site, 5 * MOVED)
    site.reset_statements()
    with site.beating("relay", module=MODULE, BENCH_DEPTH=str(MOVED)):
        until(lambda: site.value(PUBLISHED, BENCH.name) >= MOVED, 60)
        claims, _ = postgres_time(site)
        with site.beating("worker", module=MODULE, BENCH_DEPTH=str(MOVED)):
            since = site.value("SELECT extract(epoch FROM outbox_now())::float")
            site.reset_statements()
            time.sleep(seconds)
            _, rest = postgres_time(site)
            done = site.value(ATTEMPTED, since)
    assert done > 0
    return claims / MOVED, rest / done


@measurement("growth")
def growth(ground: Ground, run: Run) -> Iterator[Row]:
    """A million messages waiting and five million attempts on record, against an empty system."""
    password = ground.secrets.operator_password
    with ExitStack() as stack:
        empty, full = prepared(stack, ground, "empty", 1), prepared(stack, ground, "full", 2)
        fill(full.site, run)
        loaded = f"{run.whole(WAITING):,} waiting and {run.whole(ATTEMPTS):,} attempts, against an empty system"
        sides = {"empty": empty, "full": full}
        calls = {name: requests_of(side, password) for name, side in sides.items()}
        for name in calls["empty"]:
            times = REQUESTS if name in STEADY_CALLS else SLOW_REQUESTS
            # A command is a new process each time, and nothing is warm in it.
            unmeasured = 0 if name == AUDIT else 1
            found: dict[str, list[float]] = {side: [] for side in sides}
            for number in range(times + unmeasured):
                for side in sides:
                    seconds = calls[side][name]()
                    found[side] += [seconds] if number >= unmeasured else []
            ours, baseline = (1000 * statistics.median(found[side]) for side in ("full", "empty"))
            bar = STEADY if name in STEADY_CALLS else SLOW
            yield at_most(f"growth: {name}", ours, baseline, bar, "ms", loaded)
        for side in sides.values():
            subprocess.run(
                HOLD, cwd=ROOT, env=surroundings(side.site.environ, 0), check=True, stdout=subprocess.DEVNULL
            )
        spent: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
        for number in range(2):
            for name, side in sides.items():
                spent[name].append(steps(side.site, run.seconds(3, 2)))
                run.say(f"{name}, turn {number + 1}: claim {spent[name][-1][0]:.3f}, job {spent[name][-1][1]:.3f} ms")
        for place, name in enumerate(("claim of the relay", "grant and settle")):
            ours, baseline = (min(turn[place] for turn in spent[side]) for side in ("full", "empty"))
            yield at_most(f"growth: {name}", ours, baseline, STEADY, "ms", "Postgres's time for one message")


@measurement("open_transaction")
def open_transaction(ground: Ground, run: Run) -> Iterator[Row]:
    """A transaction that somebody leaves open: the relay, and grant and settle after 12,000 messages."""
    count = run.whole(4_000, 300)
    with (
        ground.site("open") as site,
        site.beating("relay", "worker", module=MODULE) as (relay, worker),
        closing(psycopg2.connect(site.url)) as other,
    ):

        def batch() -> tuple[float, float]:
            """Messages a second of the relay, and milliseconds of Postgres for a job."""
            with frozen(worker):
                with frozen(relay):
                    enqueue(site, count)
                rate = rate_until(lambda: site.value(READY, BENCH.name) == 0, count)
                site.reset_statements()
            until(lambda: site.work_left() == 0, 120)
            return rate, site.statements()[1] / count

        def last_of(what: str, batches: int) -> tuple[float, float]:
            for _ in range(batches):
                rate, spent = batch()
                run.say(f"{what}: relay {rate:,.0f}/s, a job {spent:.2f} ms of Postgres")
            return rate, spent

        site.patiently("VACUUM ANALYZE")
        alone = [last_of("none open", 1)]
        # Statistics of a quiet hour: nothing is in flight.
        site.patiently("VACUUM ANALYZE")
        other.set_session(isolation_level="REPEATABLE READ")
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id()")
            pinned = last_of("one open", 3)
        other.rollback()
        site.patiently("VACUUM ANALYZE")
        alone.append(last_of("none open", 1))
    rate, spent = (statistics.mean(each[place] for each in alone) for place in (0, 1))
    yield at_least("open transaction: relay", pinned[0], rate, 0.95, "/s", "none open")
    yield at_most(
        "open transaction: grant and settle", pinned[1], spent, STEADY, "ms", "Postgres's time for a job, none open"
    )
