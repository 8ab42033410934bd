"""What every page of the console costs with a million attempts, 100,000 messages waiting and 10,000 cases.

A full database and one with a page's worth of each on one server, each with a web process, take turns. A page costs the
CPU time of the web process and Postgres's own time, which a busy machine changes little; how long it takes is shown
beside that, and judged by the 200 ms that a person does not notice.
"""

from __future__ import annotations

import http.client
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import quote

from flaskapp import create_app
from flaskapp.config import from_env
from flaskapp.ops.cases import ON_A_PAGE
from outbox import tally
from sandbox.settings import OPERATOR
from tests.benchmarks.enqueuing import copy_claims
from tests.benchmarks.ground import THEIRS, Ground, Site, WebProcess
from tests.benchmarks.growing import operators_cookie, remember
from tests.benchmarks.load import drive
from tests.benchmarks.posting import ITFS, Claimants, itfs_of, visitors
from tests.benchmarks.rows import Row, Run, at_most, measurement, no_more_than
from tests.benchmarks.starting import engine_of

ATTEMPTS, WAITING, CASES, FILED = 1_000_000, 100_000, 10_000, 5_000
CAUSES = 40
TIMES, WARM = 12, 2
MORE, PATIENCE_MS = 2.0, 200.0
# Signing in shows nothing of what is stored.
NOT_SHOWN = {"/ops/login", "/ops/login/oidc", "/ops/login/oidc/back"}
PARKED = """
    UPDATE outbox_messages SET state = 'parked', fence = id, parked_reason = 'refused' || id % {causes}
     WHERE id IN (SELECT id FROM outbox_messages WHERE state = 'ready' AND subject_type = 'travel_claim'
                   ORDER BY id LIMIT {count})
"""
FAILED = """
    UPDATE travel_claims SET state = 'failed', finished_at = outbox_now()
     WHERE id::text IN (SELECT subject_id FROM outbox_messages WHERE state = 'parked')
"""
OPENED = """
    INSERT INTO cases (id, kind, subject_type, subject_id, owner, opened_at)
    SELECT gen_random_uuid(), (ARRAY['refused', 'exhausted', 'may_exist_upstream', 'unsettled'])[1 + id % 4],
           subject_type, subject_id, 'team ' || id % 7, outbox_now() - id % 1000 * interval '1 minute'
      FROM outbox_messages WHERE state = 'parked'
"""
# What they were told of is sealed: what is decrypted for a search is as long as what they asked for.
ENDED = """
    UPDATE travel_claims SET state = 'submitted', finished_at = outbox_now(), filed = identity
     WHERE id IN (SELECT id FROM travel_claims WHERE state = 'pending' ORDER BY id LIMIT {count})
"""
COPY_ITFS = """
    WITH one AS (SELECT * FROM intents_to_file LIMIT 1),
         people AS (INSERT INTO accounts (id) SELECT gen_random_uuid() FROM generate_series(1, {count}) RETURNING id)
    INSERT INTO intents_to_file
    SELECT copied.* FROM one, people, LATERAL jsonb_populate_record(NULL::intents_to_file, to_jsonb(one)
        || jsonb_build_object('id', gen_random_uuid(), 'account_id', people.id)) AS copied
"""
TRIPPED = """
    INSERT INTO outbox_breaker_trips (upstream, reason, opened_at, closed_at)
    SELECT 'btsss', 'unanswered', outbox_now() - number * interval '1 hour', outbox_now() - number * interval '1 hour'
      FROM generate_series(1, {count}) AS number
"""
DEAREST = f"SELECT total_exec_time + total_plan_time, query FROM {THEIRS} ORDER BY 1 DESC LIMIT 1"
CSRF = re.compile(rb'name="csrf_token" value="([^"]+)"')


@dataclass
class Console:
    """One database, its web process, and an operator who is logged in."""

    site: Site
    web: WebProcess
    operator: http.client.HTTPConnection
    cookie: str
    token: str = ""
    began: float = 0.0

    def ask(self, path: str) -> float:
        """Seconds of one page. A path with a text after a blank is that text in the search box."""
        path, _, wanted = path.partition(" ")
        headers, body = {"Cookie": self.cookie}, None
        if wanted:
            headers |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.origin}
            body = f"csrf_token={quote(self.token)}&wanted={quote(wanted)}"
        began = time.perf_counter()
        self.operator.request("POST" if wanted else "GET", path, body, headers)
        reply = self.operator.getresponse()
        answer = reply.read()
        assert reply.status in (200, 302, 303), (path, reply.status, answer[:300])
        found = CSRF.search(answer)
        self.token = found[1].decode() if found is not None else self.token
        return time.perf_counter() - began

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.web.port}"

    def begin(self) -> None:
        self.site.reset_statements()
        self.began = self.web.process.cpu_seconds()

    def spent(self) -> tuple[float, float]:
        """Milliseconds of CPU of the web process, and of Postgres, since it began."""
        return 1000 * (self.web.process.cpu_seconds() - self.began), self.site.statements()[1]

    def dearest(self) -> str:
        """The statement that Postgres spent most on since then, and its milliseconds."""
        ((spent, query),) = self.site.ground.administer(DEAREST, self.site.database)
        return f"{spent / TIMES:.1f} ms in {' '.join(query.split())[:90]}"

    def count_as_the_sweep_does(self) -> None:
        """The sweep counts what waits before anybody has to."""
        with engine_of(self.site) as engine, engine.begin() as connection:
            tally.count_and_keep(connection)


def opened(stack: ExitStack, ground: Ground, name: str, redis_database: int) -> Console:
    """A console beside one claim and one ITF that were posted."""
    site = stack.enter_context(ground.site(name, redis_database))
    web = stack.enter_context(site.web())
    (token,) = visitors(site, 1)
    drive(web.port, itfs_of(iter([token]), ITFS), clients=1, seconds=30).expect(202)
    claims = Claimants(site, web.port).next_claims()
    drive(web.port, iter([next(claims), next(claims)]), clients=1, seconds=30).expect(202)
    cookie = operators_cookie(web.port, OPERATOR, ground.secrets.operator_password)
    return Console(site, web, http.client.HTTPConnection("127.0.0.1", web.port, timeout=120), cookie)


def fill(site: Site, run: Run, cases: int) -> None:
    """What years and an outage leave. `cases` of what waits is parked, and each has its case."""
    run.say("attempts of the past, and what waits")
    remember(site, run.whole(ATTEMPTS, 1_000))
    half = run.whole(WAITING / 2, 500)
    copy_claims(site, half)
    # Each of somebody else.
    site.patiently("UPDATE travel_claims SET person_digest = md5(id::text)")
    site.patiently(COPY_ITFS.format(count=half))
    for statement in (PARKED.format(count=cases, causes=CAUSES), FAILED, OPENED):
        site.patiently(statement)
    site.patiently(ENDED.format(count=run.whole(FILED, 100)))
    site.patiently(TRIPPED.format(count=run.whole(CASES, 100)))
    site.patiently("VACUUM ANALYZE")


def pages(site: Site) -> dict[str, str]:
    """An address of each page, by its rule; the search box by what is looked for."""
    claim, cause = site.rows(
        "SELECT subject_id, COALESCE(parked_reason, '') FROM outbox_messages WHERE subject_type = 'travel_claim'"
        " ORDER BY state = 'parked' DESC, id LIMIT 1"
    )[0]
    last_page = -(-site.value("SELECT count(*) FROM cases") // ON_A_PAGE)
    case = site.value("SELECT min(id::text) FROM cases")
    message = site.value("SELECT min(id) FROM outbox_messages")
    account = site.value("SELECT min(id::text) FROM accounts")
    job = quote("jobs.travel_claims.file_check_in_claim")
    return {
        "/ops/": "/ops/",
        "/ops/cases/": f"/ops/cases/?page={last_page}",
        "/ops/cases/<case_id>": f"/ops/cases/{case}",
        "/ops/parked/": "/ops/parked/",
        "/ops/parked/group": f"/ops/parked/group?job={job}&cause={quote(cause)}",
        "/ops/breakers/": "/ops/breakers/",
        "/ops/breakers/<upstream>": "/ops/breakers/btsss",
        "/ops/people/": "/ops/people/",
        "/ops/submissions/<kind>/<subject_id>": f"/ops/submissions/travel_claim/{claim}",
        "/ops/messages/<int:message_id>": f"/ops/messages/{message}",
        "/ops/accounts/<uuid:account_id>": f"/ops/accounts/{account}",
        "find an id": f"/ops/find {claim[:8]}",
        "find the last four of a claim number": "/ops/find 12ab",
        "find nothing": "/ops/find nothing-like-it",
    }


def rules_of(site: Site) -> set[str]:
    """Every page under /ops that the product serves."""
    rules = create_app(from_env(site.environ)).url_map.iter_rules()
    return {rule.rule for rule in rules if "GET" in (rule.methods or ()) and rule.rule.startswith("/ops/")} - NOT_SHOWN


@measurement("console", usual=False)
def console(ground: Ground, run: Run) -> Iterator[Row]:
    """Every page of the console with a million attempts, 100,000 waiting and 10,000 cases, against a page's worth."""
    with ExitStack() as stack:
        empty, full = opened(stack, ground, "empty", 1), opened(stack, ground, "full", 2)
        cases = run.whole(CASES, 50)
        fill(full.site, run, cases)
        # A page's worth of each: to render what a page shows is no scan.
        copy_claims(empty.site, 2 * ON_A_PAGE)
        for statement in (PARKED.format(count=ON_A_PAGE, causes=1), FAILED, OPENED):
            empty.site.patiently(statement)
        sides = {"empty": empty, "full": full}
        addresses = {name: pages(side.site) for name, side in sides.items()}
        found = {rule for rule in addresses["full"] if rule.startswith("/")}
        assert found == rules_of(full.site), found ^ rules_of(full.site)
        loaded = f"{run.whole(ATTEMPTS):,} attempts, {run.whole(WAITING):,} waiting, {cases:,} cases; CPU and Postgres"
        for rule in addresses["full"]:
            cost: dict[str, float] = {}
            times: dict[str, list[float]] = {}
            for name, side in sides.items():
                side.count_as_the_sweep_does()
                for _ in range(WARM):
                    side.ask(addresses[name][rule])
                side.begin()
                times[name] = [side.ask(addresses[name][rule]) for _ in range(TIMES)]
                ours, postgres = (each / TIMES for each in side.spent())
                cost[name] = ours + postgres
                run.say(f"{rule}, {name}: {ours:.0f} ms of ours, {postgres:.1f} of Postgres; {side.dearest()}")
            yield at_most(f"console: {rule}", cost["full"], cost["empty"], MORE, "ms", loaded)
            took = 1000 * statistics.median(times["full"])
            yield no_more_than(f"console: {rule}, wall clock", took, PATIENCE_MS, "ms", "the median")
