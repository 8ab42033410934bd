"""The demo's script: who files what while what goes wrong. It plans endings; what became of them others find out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import requests
from requests.cookies import RequestsCookieJar

from sandbox.faults import Control
from sandbox.processes import Crew
from sandbox.upstreams.cast import DEFAULT_CAST, Appointment, Veteran

SUBMIT = "POST /EC/ClaimIngestSvc/api/ClaimIngest/submitclaim"
TEXT = "POST /v2/notifications/sms"
IDENTICAL_POSTS = 20
OUTAGE_SECONDS = 7.0
RETRY_AFTER_SECONDS = 3
SCENE_SECONDS = 40.0

# Told means a text with the right number; held means a named human has the case.
CREATED, DUPLICATE, REFUSED, UNDELIVERABLE = "created", "duplicate", "refused", "undeliverable"

NEWCOMERS = (
    "Pia Aldana",
    "Quinn Becker",
    "Rhea Castro",
    "Saul Dunn",
    "Tess Egan",
    "Umar Farah",
    "Vera Gibbs",
    "Wade Hale",
    "Xenia Ibarra",
    "Yara Jensen",
    "Zeke Kimura",
    "Abel Lowe",
    "Bryn Maddox",
    "Cora Novak",
    "Dean Ortiz",
    "Esme Pruitt",
    "Finn Quist",
    "Gwen Rao",
    "Hugo Silva",
    "Iris Tran",
)


class Stuck(Exception):
    """The story cannot go on; the text says what it waited for."""


@dataclass(frozen=True)
class Promise:
    """One claim we answered with 202, and the ending its scene sets up. `answer_ms` are those of its first 202."""

    claim_id: str
    veteran: Veteran
    day: date
    scene: str
    planned: str
    answer_ms: float


@dataclass(frozen=True)
class Scene:
    title: str
    planned: str
    people: tuple[Veteran, ...]
    play: Callable[[Stage, Scene], None]


class Stage:
    """What a scene may use: the front end's calls, the switches of the outside world, and the processes.

    `settled()` names the claims whose person has been reached, or cannot be; `heard` is told each new promise.
    """

    def __init__(
        self,
        url: str,
        control: Control,
        crew: Crew,
        settled: Callable[[], set[str]],
        heard: Callable[[Promise], None],
    ) -> None:
        self.url = url
        self.control = control
        self.crew = crew
        self.settled = settled
        self.heard = heard
        self.promises: dict[str, Promise] = {}
        self._lock = threading.Lock()

    def file_all(self, scene: Scene) -> None:
        """Everybody of the scene asks for travel pay, eight at a time."""
        with ThreadPoolExecutor(8) as hands:
            list(hands.map(lambda veteran: self.file(scene, veteran, self.sign_in(veteran)), scene.people))

    def sign_in(self, veteran: Veteran) -> requests.Session:
        """Check in as the pages do: prove who one is, load the appointments, keep the cookie."""
        browser = new_browser()
        who = {"uuid": veteran.uuid, "dob": veteran.dob, "lastName": veteran.last_name}
        expect(browser.post(f"{self.url}/check_in/v2/sessions/", json={"session": who}, timeout=30), 200)
        expect(browser.get(f"{self.url}/check_in/v2/patient_check_ins/{veteran.uuid}", timeout=30), 200)
        return browser

    def file(self, scene: Scene, veteran: Veteran, browser: requests.Session) -> None:
        """One POST of the claim for today's appointment; its 202 is a promise."""
        day = veteran.appointments[0].today()
        asked = {"travelClaims": {"uuid": veteran.uuid, "appointmentDate": day.isoformat()}}
        began = time.perf_counter()
        reply = browser.post(f"{self.url}/check_in/v0/travel_claims/", json=asked, timeout=30)
        took = (time.perf_counter() - began) * 1000
        claim_id = expect(reply, 202)["data"]["id"]
        promise = Promise(claim_id, veteran, day, scene.title, scene.planned, took)
        with self._lock:
            new = self.promises.setdefault(claim_id, promise) is promise
        if new:
            self.heard(promise)

    @contextmanager
    def broken(self, upstream: str, kind: str, **fields: Any) -> Iterator[None]:
        """An upstream with one fault, lifted at the end of the block."""
        self.control.set(upstream, kind, **fields)
        try:
            yield
        finally:
            self.control.clear(upstream, kind)

    def until_struck(self, upstream: str) -> None:
        """Wait until a fault of so many times has struck as often."""
        self.until(lambda: not self.control.faults(upstream), f"{upstream} to fail as often as planned")

    def until_settled(self) -> None:
        self.until(lambda: set(self.promises) <= self.settled(), "everybody who filed to be told")

    def until(self, condition: Callable[[], bool], what: str, seconds: float = SCENE_SECONDS) -> None:
        """Raises Stuck after so many seconds, ProcessEnded as soon as a process is gone."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.crew.must_run()
            if time.monotonic() > deadline:
                raise Stuck(f"waited {seconds:.0f} s for {what}")
            time.sleep(0.1)


def new_browser(cookies: RequestsCookieJar | None = None) -> requests.Session:
    """Sends keys as the front end does, and asks no proxy about this machine."""
    browser = requests.Session()
    browser.trust_env = False
    browser.headers["X-Key-Inflection"] = "camel"
    browser.cookies.update(cookies or {})
    return browser


def expect(reply: requests.Response, status: int) -> Any:
    if reply.status_code != status:
        raise Stuck(f"{reply.request.method} {reply.request.url} answered {reply.status_code}: {reply.text[:300]}")
    return reply.json()


def nothing_fails(stage: Stage, scene: Scene) -> None:
    stage.file_all(scene)


def impatient(stage: Stage, scene: Scene) -> None:
    """Twenty identical POSTs at once: a double click, a retrying network and a second tab, all together."""
    (veteran,) = scene.people
    cookies = stage.sign_in(veteran).cookies
    tabs = [new_browser(cookies) for _ in range(IDENTICAL_POSTS)]
    with ThreadPoolExecutor(IDENTICAL_POSTS) as hands:
        list(hands.map(lambda tab: stage.file(scene, veteran, tab), tabs))
    stage.until_settled()


def reply_lost(stage: Stage, scene: Scene) -> None:
    with stage.broken("btsss", "drop", times=len(scene.people), operation=SUBMIT):
        stage.file_all(scene)
        stage.until_struck("btsss")
    stage.until_settled()


def text_reply_lost(stage: Stage, scene: Scene) -> None:
    with stage.broken("va_notify", "drop", times=len(scene.people), operation=TEXT):
        stage.file_all(scene)
        stage.until_struck("va_notify")
    stage.until_settled()


def throttled(stage: Stage, scene: Scene) -> None:
    """The first 429 closes the gate; a second one comes to whoever was on the way, or to whoever asks next."""
    with stage.broken("btsss", "throttle", times=2, retry_after=str(RETRY_AFTER_SECONDS), operation=SUBMIT):
        stage.file_all(scene)
        stage.until_struck("btsss")
    stage.until_settled()


def worker_killed(stage: Stage, scene: Scene) -> None:
    """BTSSS has filed the claims but not answered yet; then the worker is gone, without a word, and a new one comes."""
    icns = {veteran.icn for veteran in scene.people}
    with stage.broken("btsss", "late", seconds=4, times=len(scene.people), operation=SUBMIT):
        stage.file_all(scene)
        stage.until(lambda: icns <= {claim["icn"] for claim in stage.control.call("GET", "btsss", "claims")}, "BTSSS")
        stage.crew["worker"].kill()
    stage.crew["worker"].start()


def outage(stage: Stage, scene: Scene) -> None:
    with stage.broken("btsss", "refuse"):
        stage.file_all(scene)
        over = time.monotonic() + OUTAGE_SECONDS
        stage.until(lambda: time.monotonic() > over, "the end of the outage")


def newcomers() -> list[Veteran]:
    """People beyond the usual cast, for the scenes that need many; every fourth at an Oracle Health clinic."""
    return [
        Veteran(
            uuid=f"{number:08x}-de30-4c1a-9f00-{number:012x}",
            last_name=name.split()[1],
            dob=f"19{50 + number}-06-15",
            icn=f"10456{number:05d}V{754000 + number:06d}",
            phone=f"+1555556{100 + number:04d}",
            first_name=name.split()[0],
            facility_type="oh" if number % 4 == 3 else "vista",
            appointments=(Appointment(station="757" if number % 4 == 3 else "983"),),
        )
        for number, name in enumerate(NEWCOMERS)
    ]


def introduce(control: Control, people: Sequence[Veteran]) -> None:
    """Make people known to every fake."""
    control.call("POST", "lorota", "veterans", json=[asdict(veteran) for veteran in people])


def scenes(crowd: Sequence[Veteran]) -> list[Scene]:
    """The story, in order. The last two overlap: the worker dies, and BTSSS goes away before anybody is told."""
    by_habit: dict[str, list[Veteran]] = {}
    for veteran in DEFAULT_CAST:
        by_habit.setdefault("refused" if len(veteran.appointments) > 1 else veteran.habit, []).append(veteran)
    refused = (*by_habit["refused"], *by_habit["not_found"])
    unreachable = (*by_habit["no_contact"], *by_habit["blocked"], *by_habit["unreachable"])
    return [
        Scene("nothing fails", CREATED, tuple(by_habit["ok"]), nothing_fails),
        Scene("filed at the kiosk before", DUPLICATE, tuple(by_habit["filed"]), nothing_fails),
        Scene("BTSSS refuses", REFUSED, refused, nothing_fails),
        Scene("the text cannot be delivered", UNDELIVERABLE, unreachable, nothing_fails),
        Scene(f"{IDENTICAL_POSTS} identical POSTs at once", CREATED, tuple(crowd[0:1]), impatient),
        Scene("BTSSS files, its reply is lost", CREATED, tuple(crowd[1:3]), reply_lost),
        Scene("VANotify texts, its reply is lost", CREATED, tuple(crowd[3:4]), text_reply_lost),
        Scene(f"429, Retry-After {RETRY_AFTER_SECONDS}", CREATED, tuple(crowd[4:7]), throttled),
        Scene("worker killed mid-call", CREATED, tuple(crowd[7:9]), worker_killed),
        Scene(f"BTSSS away for {OUTAGE_SECONDS:.0f} s", CREATED, tuple(crowd[9:]), outage),
    ]
