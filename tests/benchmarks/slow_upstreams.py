"""One upstream hangs and sixty people wait for it: what everybody else waits, for each upstream that people wait for.

Quiet and loaded rounds alternate, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from redis import Redis

from sandbox.processes import surroundings
from sandbox.server import free_port
from sandbox.system import System
from tests.benchmarks.ground import ROOT, Ground, Quiet, status_of
from tests.benchmarks.people import ADA, DAYS, Person, headers_of, until
from tests.benchmarks.rows import Row, Run, at_most, measurement, no_more_than, percentile

CROWD = 60
SAMPLES, WARM_UP = 30, 2
# After this the crowd has taken every place that it gets, and those who were refused come again at times of their own.
GATHERING_SECONDS = 4.0
PAUSE_SECONDS = 1.0
MOST_TIMES, LIVENESS_SECONDS = 3.0, 0.05
LIVENESS = "GET liveness"


@dataclass(frozen=True)
class Call:
    """One request, and the upstreams whose places it needs."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    status: int
    seconds: float
    retry_after: float


class Caller:
    """A browser with one connection, opened again when it was closed."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)

    def close(self) -> None:
        self._connection.close()

    def send(self, call: Call) -> Answer:
        with suppress(ConnectionError, http.client.HTTPException):
            return self._send(call)
        self._connection.close()
        return self._send(call)

    def _send(self, call: Call) -> Answer:
        body = json.dumps(call.body) if call.body is not None else None
        headers = {**call.headers, **({"Content-Type": "application/json"} if body else {})}
        began = time.perf_counter()
        self._connection.request(call.method, call.path, body, headers)
        reply = self._connection.getresponse()
        reply.read()
        return Answer(reply.status, time.perf_counter() - began, float(reply.headers.get("Retry-After", 0)))


Calls = dict[str, Callable[[], Call]]
Crowd = Callable[[int], Call]
Times = dict[str, list[float]]


def others(person: Person, reader: Person, signed_in: dict[str, str]) -> Calls:
    """What other people do meanwhile, by name. `reader` is checked in as well: whoever reads their check-in data may
    claim only for the days in it."""
    cookie = {"Cookie": reader.cookie}
    check_in = {"patientCheckIns": {"uuid": ADA.uuid, "appointmentIen": "4444"}}

    def claim() -> Call:
        day = date(2031, 1, 1) + timedelta(days=next(DAYS))
        body = {"travelClaims": {"uuid": ADA.uuid, "appointmentDate": day.isoformat()}}
        return Call("POST", "/check_in/v0/travel_claims/", {"Cookie": person.cookie}, body)

    fixed = {
        LIVENESS: Call("GET", "/healthz/live"),
        "GET readiness": Call("GET", "/healthz/ready"),
        "GET check-in session": Call("GET", f"/check_in/v2/sessions/{ADA.uuid}", cookie),
        "GET check-in data": Call("GET", f"/check_in/v2/patient_check_ins/{ADA.uuid}", cookie, needs=("lorota",)),
        "POST check-in": Call("POST", "/check_in/v2/patient_check_ins/", cookie, check_in, needs=("chip",)),
        "GET ITF": Call("GET", "/v0/intent_to_file/compensation", signed_in),
        "POST ITF": Call("POST", "/v0/intent_to_file/compensation", signed_in),
        "GET pension ITF": Call("GET", "/v0/intent_to_file/pension", signed_in, needs=("lighthouse",)),
        "GET travel pay": Call("GET", "/travel_pay/v0/claims", signed_in, needs=("travel_pay", "sts", "veis")),
    }
    return {"POST check-in claim": claim, **{name: lambda call=call: call for name, call in fixed.items()}}  # type: ignore[misc]


def crowds(person: Person) -> dict[str, Callable[[], Crowd]]:
    """For each upstream that people wait for, the crowd of one round: what its people send, by their number."""
    known = headers_of(person.control, CROWD)
    session = {"session": {"uuid": ADA.uuid, "dob": ADA.dob, "lastName": ADA.last_name}}
    check_in = {"patientCheckIns": {"uuid": ADA.uuid, "appointmentIen": "4444"}}
    pension, claims = "/v0/intent_to_file/pension", "/travel_pay/v0/claims"
    with closing(Caller(person.port)) as caller:
        for headers in known:
            assert caller.send(Call("GET", pension, headers)).status == 404

    def reading(path: str) -> Callable[[], Crowd]:
        return lambda: lambda number: Call("GET", path, known[number])

    def unknown() -> Crowd:
        people = headers_of(person.control, CROWD)
        return lambda number: Call("GET", pension, people[number])

    return {
        "lorota": lambda: lambda _: Call("POST", "/check_in/v2/sessions/", body=session),
        "chip": lambda: lambda _: Call("POST", "/check_in/v2/patient_check_ins/", {"Cookie": person.cookie}, check_in),
        "accounts": unknown,
        "lighthouse": reading(pension),
        "sts": reading(claims),
        "veis": reading(claims),
        "travel_pay": reading(claims),
        "va_profile": reading("/travel_pay/v0/contact_discrepancies"),
    }


@contextmanager
def waiting(port: int, crowd: Crowd) -> Iterator[list[Answer]]:
    """Everybody of the crowd sends, waits as long as a `Retry-After` says, and sends again; yields their answers."""
    over, answers = threading.Event(), list[Answer]()

    def go_on(number: int) -> None:
        with closing(Caller(port)) as caller:
            while not over.is_set():
                answers.append(caller.send(crowd(number)))
                over.wait(max(PAUSE_SECONDS, answers[-1].retry_after))

    with ThreadPoolExecutor(CROWD) as pool:
        running = [pool.submit(go_on, number) for number in range(CROWD)]
        try:
            yield answers
        finally:
            over.set()
    for each in running:
        each.result()


def measured(port: int, calls: Calls, times: Times) -> None:
    """Take each call in turn, so that all of them meet the same moments. None may fail."""
    with closing(Caller(port)) as caller:
        for sample in range(WARM_UP + SAMPLES):
            for name, make in calls.items():
                answer = caller.send(make())
                assert answer.status < 300 or (name == "GET pension ITF" and answer.status == 404), (name, answer)
                if sample >= WARM_UP:
                    times.setdefault(name, []).append(answer.seconds)


def rows_of(upstream: str, quiet: Times, loaded: Times, answers: Counter[int]) -> Iterator[Row]:
    """Liveness by the clock; everything else against its own quiet p99."""
    answered = ", ".join(f"{status}: {times}" for status, times in sorted(answers.items()))
    for name, seconds in loaded.items():
        ours, baseline = (1000 * percentile(times, 99) for times in (seconds, quiet[name]))
        what = f"{upstream} hangs: {name}, p99"
        if name == LIVENESS:
            yield no_more_than(what, ours, 1000 * LIVENESS_SECONDS, "ms", f"the crowd was answered {answered}")
        else:
            yield at_most(what, ours, baseline, MOST_TIMES, "ms", "quiet")


def settled(port: int, calls: Sequence[Call]) -> None:
    """Wait until upstream is called again: an open breaker has to close first."""
    with closing(Caller(port)) as caller:
        for call in calls:
            until(lambda call=call: caller.send(call).status < 500, 120)  # type: ignore[misc]


def forget_tokens(system: System, upstream: str) -> None:
    """A token that is kept would hide that its service hangs."""
    if upstream in ("sts", "veis"):
        with closing(Redis.from_url(system.environment["REDIS_URL"])) as redis:
            for key in redis.scan_iter("*token*"):
                redis.delete(key)


@contextmanager
def sandboxed(ground: Ground, folder: str) -> Iterator[System]:
    """The whole system on its own database, with every fake, which alone can hang."""
    # It draws keys of its own, so nothing may have been stored with others.
    ground.redis.flushall()
    environ = {"DATABASE_URL": ground.postgres.create_database(folder), "REDIS_URL": ground.redis_server.url}
    with System(ROOT, environ=environ, folder=ground.folder / folder, say=lambda text: None) as system:
        yield system


@measurement("slow_upstreams", usual=False)
def slow_upstreams(ground: Ground, run: Run) -> Iterator[Row]:
    """One upstream hangs and sixty people wait for it: what everybody else waits. About eight minutes."""
    with (
        sandboxed(ground, "slow") as system,
        closing(Person(system)) as person,
        closing(Person(system)) as reader,
    ):
        (signed_in,) = headers_of(person.control, 1)
        calls = others(person, reader, signed_in)
        measured(system.port, calls, {})
        for upstream, gather in crowds(person).items():
            unaffected = {name: make for name, make in calls.items() if upstream not in make().needs}
            quiet, loaded, answers = Times(), Times(), Counter[int]()
            for number in range(run.repeats):
                run.say(f"{upstream}, round {number + 1} of {run.repeats}")
                measured(system.port, unaffected, quiet)
                forget_tokens(system, upstream)
                crowd = gather()
                person.control.set(upstream, "hold")
                try:
                    with waiting(system.port, crowd) as answered:
                        threading.Event().wait(GATHERING_SECONDS)
                        measured(system.port, unaffected, loaded)
                        person.control.clear(upstream)
                finally:
                    person.control.clear(upstream)
                answers += Counter(answer.status for answer in answered)
                settled(system.port, [crowd(0)])
            yield from rows_of(upstream, quiet, loaded, answers)
            person.until_nothing_is_outstanding(240)


@contextmanager
def cold_web(system: System, log: Path) -> Iterator[int]:
    """A web process that starts now, on the same servers; yields its port."""
    port = free_port()
    process = Quiet("cold", system.commands["web"], surroundings(system.environment, port), log)
    process.start()
    try:
        process.wait_ready(lambda: status_of(port, "/healthz/live") == 200)
        yield port
    finally:
        process.terminate()


@measurement("cold_start", usual=False)
def cold_start(ground: Ground, run: Run) -> Iterator[Row]:
    """A web process starts while the sign-in keys hang and sixty signed-in people come: what others wait."""
    with (
        sandboxed(ground, "cold") as system,
        closing(Person(system)) as person,
        closing(Person(system)) as reader,
    ):
        people, all_calls = headers_of(person.control, CROWD), others(person, reader, {})
        calls = {name: make for name, make in all_calls.items() if not make().path.startswith(("/v0", "/travel"))}
        quiet, loaded, answers = Times(), Times(), Counter[int]()

        def pension(number: int) -> Call:
            return Call("GET", "/v0/intent_to_file/pension", people[number])

        person.control.set("sign_in", "hold")
        try:
            with cold_web(system, ground.folder / "logs" / "cold.log") as port:
                for number in range(run.repeats):
                    run.say(f"round {number + 1} of {run.repeats}")
                    measured(port, calls, quiet)
                    with waiting(port, pension) as found:
                        threading.Event().wait(GATHERING_SECONDS)
                        measured(port, calls, loaded)
                    answers += Counter(answer.status for answer in found)
        finally:
            person.control.clear("sign_in")
    assert set(answers) == {503}, answers
    yield from rows_of("sign_in", quiet, loaded, answers)
