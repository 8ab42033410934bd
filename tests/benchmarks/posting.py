"""From POST to 202: against handlers that do the same by hand, and against those that promise less."""

from __future__ import annotations

import itertools
import json
import statistics
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import requests

from sandbox.faults import UPSTREAMS, Control
from sandbox.upstreams.cast import DEFAULT_CAST, Veteran
from tests.benchmarks import peers_web
from tests.benchmarks.ground import Ground, Site, WebProcess
from tests.benchmarks.load import Load, drive, request
from tests.benchmarks.people import until
from tests.benchmarks.rows import Row, Run, at_least, at_most, measurement, percentile, shown

CLAIMS, ITFS = "/check_in/v0/travel_claims/", "/v0/intent_to_file/compensation"
PEERS, STOCK = "gunicorn tests.benchmarks.peers_web:app", "gunicorn --config {} --workers {} --bind 127.0.0.1:$PORT"
FEW, MANY = 8, 32
SECONDS, TOKENS_PER_SECOND = 2.5, 700
FIRST_DAY = date(2031, 1, 1)
# One caller for the tail: it is to be the server's, not that of a queue.
CALLS, RUNS, RUN_SECONDS = 200, 6, 2.0
SYNC_WORKERS = 2
LOOKED = """
    INSERT INTO itf_first_looks (id, account_id, type, state, found, finished_at)
    SELECT gen_random_uuid(), account, 'compensation', 'done', false, outbox_now() FROM unnest(%s::uuid[]) account
"""
SAME = "bare Flask and psycopg2, the same work, same gunicorn"


class Claimants:
    """People who are checked in and may claim any day. `next_claims` are requests that nobody has made before."""

    def __init__(self, site: Site, port: int, count: int = 8) -> None:
        self.days = itertools.count()
        self.people: list[Veteran] = list(DEFAULT_CAST[:count])
        self.tokens = [self._checked_in(port, person) for person in self.people]
        # As in a session from before appointments were kept: any day may be claimed.
        site.execute("UPDATE check_in_sessions SET appointments = NULL")

    def _checked_in(self, port: int, person: Veteran) -> str:
        body = {"session": {"uuid": person.uuid, "dob": person.dob, "lastName": person.last_name}}
        with closing(requests.Session()) as browser:
            browser.post(f"http://127.0.0.1:{port}/check_in/v2/sessions/", json=body, timeout=30).raise_for_status()
            return browser.cookies["cie_session"]

    def sessions(self) -> list[tuple[str, str, Any]]:
        """Token, uuid and identity, as a peer keeps them."""
        return [
            (token, who.uuid, {"icn": who.icn, "phone": "5550100", "station": "983", "facility_type": "vista"})
            for token, who in zip(self.tokens, self.people, strict=True)
        ]

    def next_claims(self, path: str = CLAIMS) -> Iterator[bytes]:
        for number in self.days:
            person, token = self.people[number % len(self.people)], self.tokens[number % len(self.people)]
            day = FIRST_DAY + timedelta(days=number // len(self.people))
            body = {"travelClaims": {"uuid": person.uuid, "appointmentDate": day.isoformat()}}
            yield request("POST", path, json.dumps(body), Cookie=f"cie_session={token}")


def visitors(site: Site, count: int) -> list[str]:
    """Access tokens of so many people who have just seen the first page: upstream was asked about them, and they have
    no ITF. Whoever was never looked up waits for that in their first POST."""
    accounts = [str(uuid.uuid4()) for _ in range(count)]
    site.execute("INSERT INTO accounts (id) SELECT unnest(%s::uuid[])", accounts)
    site.execute(LOOKED, accounts)
    issue = site.ground.fakes.fakes.sign_in.access_token
    return [issue(account, time.time() + 3600) for account in accounts]


def itfs_of(issued: Iterator[str], path: str) -> Iterator[bytes]:
    for token in issued:
        yield request("POST", path, Authorization=f"Bearer {token}")


@dataclass(frozen=True)
class Doors:
    """Our web process, the peers' under the same gunicorn, and the peers' under stock sync workers."""

    ours: WebProcess
    peers: WebProcess
    stock: WebProcess


@contextmanager
def doors(ground: Ground) -> Iterator[tuple[Site, Claimants, Doors]]:
    """All three on one database, warm, and the people who post at them."""
    empty = ground.folder / "stock.conf.py"
    empty.write_text("")
    sync = f"{STOCK.format(empty, SYNC_WORKERS)} tests.benchmarks.peers_web:app"
    with ground.site("posting") as site, site.web() as ours:
        claimants = Claimants(site, ours.port)
        sealed_with = site.environ["ENCRYPTION_KEYS"].split(",")[0]
        peers_web.prepare(site.connection, sealed_with, site.environ["DIGEST_KEY"], claimants.sessions())
        with site.web("peers", PEERS, live="/live") as peers, site.web("sync", sync, live="/live") as stock:
            for web, path in ((ours, CLAIMS), (peers, "/claims"), (peers, "/enqueued"), (stock, "/claims")):
                drive(web.port, claimants.next_claims(path), clients=MANY, seconds=1).expect(202)
            yield site, claimants, Doors(ours, peers, stock)


@measurement("posting")
def posting(ground: Ground, run: Run) -> Iterator[Row]:
    """POST to 202, claims and ITFs, against bare handlers, the ORM with RQ, and Procrastinate."""
    with doors(ground) as (site, claimants, web):
        yield from claim_rows(run, claimants, web)
        run.say("people who request an ITF")
        wanted = round(run.repeats * run.seconds(SECONDS) * TOKENS_PER_SECOND)
        yield from itf_rows(run, visitors(site, wanted), web)


def claim_rows(run: Run, claimants: Claimants, web: Doors) -> Iterator[Row]:
    tails: list[float] = []

    def claims(door: WebProcess, path: str = CLAIMS, clients: int = FEW) -> Load:
        requests = claimants.next_claims(path)
        return drive(door.port, requests, clients=clients, seconds=run.seconds(SECONDS)).expect(202)

    def ours() -> float:
        load = claims(web.ours)
        tails.append(1000 * percentile(load.times, 99))
        return load.rate

    found = run.in_turn(
        "POST claim, requests a second",
        {
            "ours": ours,
            "bare": lambda: claims(web.peers, "/claims").rate,
            "ORM, then rq.enqueue": lambda: claims(web.peers, "/enqueued").rate,
            "Procrastinate": lambda: claims(web.peers, "/deferred").rate,
            "bare, stock sync workers": lambda: claims(web.stock, "/claims").rate,
            "ours, 32 clients": lambda: claims(web.ours, clients=MANY).rate,
        },
    )
    mine, enqueued, deferred = found["ours"], found["ORM, then rq.enqueue"], found["Procrastinate"]
    sync = f"the bare handler, {SYNC_WORKERS} sync workers"
    yield at_least("POST claim, 8 clients", mine, found["bare"], 0.65, "/s", SAME)
    yield at_least("POST claim, 8 clients, RQ", mine, enqueued, 0.7, "/s", "ORM commit, then rq.enqueue")
    yield shown("POST claim, 8 clients, Procrastinate", mine, deferred, "/s", "defer in the transaction")
    yield shown("POST claim, 8 clients, stock sync", mine, found["bare, stock sync workers"], "/s", sync)
    yield at_least("POST claim, 32 clients", found["ours, 32 clients"], mine, 1.0, "/s", "ours with 8 clients")
    yield shown("POST claim, 8 clients, p99", statistics.median(tails), None, "ms", "")


def itf_rows(run: Run, issued: list[str], web: Doors) -> Iterator[Row]:
    unused = {door.port: iter(issued) for door in (web.ours, web.peers)}

    def itfs(door: WebProcess, path: str) -> float:
        requests = itfs_of(unused[door.port], path)
        return drive(door.port, requests, clients=FEW, seconds=run.seconds(SECONDS)).expect(202).rate

    found = run.in_turn(
        "POST ITF, requests a second",
        {"ours": lambda: itfs(web.ours, ITFS), "bare": lambda: itfs(web.peers, "/itfs")},
    )
    yield at_least("POST ITF, 8 clients", found["ours"], found["bare"], 0.5, "/s", SAME)


@contextmanager
def everything_away(ground: Ground) -> Iterator[None]:
    """No upstream answers, and Redis is gone."""
    ground.stop_upstream()
    ground.redis_server.stop()
    with closing(Control(ground.fakes["control"])) as control:
        for upstream in UPSTREAMS:
            control.set(upstream, "refuse")
        try:
            yield
        finally:
            ground.redis_server.start()
            ground.start_upstream()
            for upstream in UPSTREAMS:
                control.clear(upstream)


@measurement("outage")
def outage(ground: Ground, run: Run) -> Iterator[Row]:
    """POST p99, one caller: every upstream and Redis away, against everything up and the worker busy."""
    calls = run.whole(CALLS, 50)
    times: dict[str, list[float]] = {"up": [], "away": []}
    with ground.site("outage", BREAKER_OPEN_SECONDS="0.5", BREAKER_CAP_SECONDS="1") as site, site.web() as web:
        claimants = Claimants(site, web.port)
        with site.beating("relay", "worker"):

            def tail(what: str) -> float:
                some = itertools.islice(claimants.next_claims(), calls)
                with_those = drive(web.port, some, clients=1, seconds=600).expect(202).times
                times[what] += with_those
                return 1000 * percentile(with_those, 99)

            def away() -> float:
                with everything_away(ground):
                    found = tail("away")
                until(lambda: site.work_left() == 0, 120)
                return found

            tail("up")
            times["up"].clear()
            run.in_turn("POST p99, one caller, ms", {"up": lambda: tail("up"), "away": away})
    ours, baseline = (1000 * percentile(times[what], 99) for what in ("away", "up"))
    yield at_most("POST p99, upstreams and Redis away", ours, baseline, 1.1, "ms", "everything up, the worker busy")


@measurement("balance")
def balance(ground: Ground, run: Run) -> Iterator[Row]:
    """Both gunicorn workers used, whatever connections the router keeps: the worst of six runs against the best."""
    rates, shares = [], []
    with ground.site("balance") as site, site.web() as web:
        claimants = Claimants(site, web.port)
        children = web.process.family()[-2:]
        for number in range(RUNS):
            before = [sum(child.cpu_times()[:2]) for child in children]
            load = drive(web.port, claimants.next_claims(), clients=FEW, seconds=run.seconds(RUN_SECONDS)).expect(202)
            used = [sum(child.cpu_times()[:2]) - first for child, first in zip(children, before, strict=True)]
            rates.append(load.rate)
            shares.append(2 * min(used) / (sum(used) or 1))
            run.say(
                f"run {number + 1} of {RUNS}: {load.rate:.0f}/s, CPU of both workers {used[0]:.2f} and {used[1]:.2f} s"
            )
    run.rounds["kept-open connections, requests a second"] = {"each run": rates}
    least = f"the best run; the idler worker did at least {min(shares):.0%} of an even share"
    yield at_least("both gunicorn workers used", min(rates), max(rates), 0.9, "/s", least)
