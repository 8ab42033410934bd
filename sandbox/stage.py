"""The demo's stage: what its scenes may use, and the promises made on it.

The judges find out what became of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import redis
import requests
from requests.cookies import RequestsCookieJar

from sandbox.faults import Control
from sandbox.system import System
from sandbox.upstreams.cast import Veteran

SCENE_SECONDS = 40.0
AT_A_TIME = 8


class Stuck(Exception):
    """The story cannot go on. The text says what it was waiting for."""


@dataclass(frozen=True)
class Promise:
    """What we answered a person, and the ending that its scene sets up. `key` is the name by which Postgres knows it.

    `answer_ms` is how long the person had to wait for the first answer.
    """

    key: str
    veteran: Veteran
    scene: str
    planned: str
    answer_ms: float


Made = TypeVar("Made", bound=Promise)


@dataclass(frozen=True)
class Scene:
    """`meanwhile` are scenes that are played while this one waits."""

    title: str
    planned: str
    people: tuple[Veteran, ...]
    play: Callable[[Stage, Scene], None]
    meanwhile: tuple[Scene, ...] = ()


class Stage:
    """The product, the switches of the outside world, and the promises made so far.

    `settled()` names the keys of the promises whose person has been reached, or cannot be. `begun` is called with each
    scene, `received` with each new promise.
    """

    def __init__(
        self,
        system: System,
        control: Control,
        settled: Callable[[], set[str]],
        begun: Callable[[Scene], None],
        received: Callable[[Promise], None],
    ) -> None:
        self.url = system.url
        self.redis_url = system.environment["REDIS_URL"]
        self.metrics_token = system.environment["METRICS_TOKEN"]
        self.crew = system.crew
        self.control = control
        self.settled = settled
        self.begun = begun
        self.received = received
        self.promises: dict[str, Promise] = {}
        self._lock = threading.Lock()

    def play(self, scene: Scene) -> None:
        self.begun(scene)
        scene.play(self, scene)

    def play_meanwhile(self, scene: Scene) -> None:
        for other in scene.meanwhile:
            self.play(other)

    def each(self, scene: Scene, action: Callable[[Veteran], None]) -> None:
        """Everybody of the scene does it, eight at a time."""
        with ThreadPoolExecutor(AT_A_TIME) as hands:
            list(hands.map(action, scene.people))

    def promised(self, promise: Made) -> Made:
        """Keep a promise. Returns the one made before under its key, if there is one."""
        with self._lock:
            kept = self.promises.setdefault(promise.key, promise)
        if kept is promise:
            self.received(promise)
        assert isinstance(kept, type(promise))
        return kept

    @contextmanager
    def broken(self, upstream: str, kind: str, **fields: Any) -> Iterator[None]:
        """An upstream with one fault, which ends with the block."""
        self.control.set(upstream, kind, **fields)
        try:
            yield
        finally:
            self.control.clear(upstream, kind)

    def flush_redis(self) -> None:
        with closing(redis.Redis.from_url(self.redis_url)) as client:
            client.flushall()

    def until_struck(self, upstream: str) -> None:
        """Wait until a fault of so many times has struck so often."""
        self.until(lambda: not self.control.faults(upstream), f"{upstream} to fail as often as planned")

    def until_settled(self, scene: Scene | None = None, kind: type[Promise] = Promise) -> None:
        """Wait until everybody so far is notified: everybody of one scene, or with this kind of promise."""
        meant = (promise for promise in self.promises.values() if isinstance(promise, kind))
        keys = {promise.key for promise in meant if scene is None or promise.scene == scene.title}
        self.until(lambda: keys <= self.settled(), "everybody to be notified")

    def until_over(self, timestamp: float, breaker: str) -> None:
        """Wait for a time of the monotonic clock, and until the product has met the outage: its breaker is open."""
        is_open = f'surefile_breaker_open{{upstream="{breaker}"}} 1.0'
        with new_browser() as browser:
            browser.headers["Authorization"] = f"Bearer {self.metrics_token}"
            self.until(lambda: is_open in browser.get(f"{self.url}/metrics", timeout=30).text, f"{breaker} being down")
        self.until(lambda: time.monotonic() > timestamp, "the end of the outage")

    def until(self, condition: Callable[[], bool], what: str, seconds: float = SCENE_SECONDS) -> None:
        """Raises Stuck after so many seconds, ProcessEnded as soon as a process is gone."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.crew.must_run()
            if time.monotonic() > deadline:
                raise Stuck(f"{seconds:.0f} s were too short for {what}")
            time.sleep(0.1)


def new_browser(cookies: RequestsCookieJar | None = None) -> requests.Session:
    """Sends keys as the front end does, and uses no proxy for this machine."""
    browser = requests.Session()
    browser.trust_env = False
    browser.headers["X-Key-Inflection"] = "camel"
    browser.cookies.update(cookies or {})
    return browser


def sign_in(stage: Stage, people: Sequence[Veteran]) -> list[requests.Session]:
    """A browser each, with an access token."""
    wanted = [{"account": veteran.account} for veteran in people]
    browsers = []
    for issued in stage.control.call("POST", "sign_in", "tokens", json=wanted):
        browser = new_browser()
        browser.headers["Authorization"] = f"Bearer {issued['access_token']}"
        browsers.append(browser)
    return browsers


def expect(reply: requests.Response, *statuses: int) -> Any:
    if reply.status_code not in statuses:
        raise Stuck(f"{reply.request.method} {reply.request.url} answered {reply.status_code}: {reply.text[:300]}")
    return reply.json()
