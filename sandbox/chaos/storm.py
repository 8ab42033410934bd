"""Faults, one after another and often one inside another, and how long the system took to work again after each.

After each fault somebody new posts at once. Recovery is the time from when the struck thing is whole again until that
person is notified. It is the same measure for all kinds: it does not count how long a fault itself lasts, only what
comes of it.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

import psycopg2
import redis
import requests

from sandbox.chaos.crowd import Crowd
from sandbox.chaos.ground import Ground
from sandbox.chaos.strikes import Aim, Strike, deck
from sandbox.chaos.witness import Witness

LOOK_SECONDS = 0.1
AGAIN_SECONDS = 0.3
NOT_NOW = (psycopg2.Error, redis.RedisError, requests.RequestException)
# After this time a system that still does not work counts as not recovered.
PATIENCE_SECONDS = 90.0


@dataclass
class Fault:
    """One fault of this run. `recovery` is in seconds; it stays infinite when nobody was notified.

    `began` and `ended` (when the struck thing was whole again) are by this machine's clock, in seconds.
    """

    kind: str
    target: str
    recovery: float = math.inf
    began: float = 0.0
    ended: float = math.inf


class Storm:
    """Strikes, in the main thread, because the thread that starts a process must live on. `now` says what is broken
    just now."""

    def __init__(self, ground: Ground, crowd: Crowd, witness: Witness, random: Random, aims: Mapping[str, Aim]) -> None:
        self.ground = ground
        self.crowd = crowd
        self.witness = witness
        self.random = random
        self.aims = aims
        self.faults: list[Fault] = []
        self._kinds = deque(itertools.chain.from_iterable(deck(random, aims) for _ in range(20)))
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._under_way: dict[str, str] = {}
        self._probes: list[threading.Thread] = []

    @property
    def now(self) -> str:
        return ", ".join(f"{kind} ({target})" for target, kind in list(self._under_way.items()))

    def rage(self, seconds: float, times: int) -> None:
        """So many faults, spread evenly over so many seconds. Ends when everything that was struck is whole again."""
        began = time.monotonic()
        for number in range(times):
            self._play_until(began + number * seconds / times)
            self._strike()
        while self._due:
            self._play_until(self._due[0][0])

    def settle(self) -> None:
        """Wait for the last people who check whether the system works."""
        for probe in self._probes:
            probe.join()

    def _strike(self) -> None:
        """Play the next kind whose target is whole just now."""
        for _ in range(len(self._kinds)):
            kind = self._kinds.popleft()
            strike = self.aims[kind](self.ground, self.random)
            if strike.target not in self._under_way:
                return self._begin(kind, strike)
            self._kinds.append(kind)
        return None

    def _begin(self, kind: str, strike: Strike) -> None:
        fault = Fault(kind, strike.target, began=time.time())
        self.faults.append(fault)
        self._under_way[strike.target] = kind
        self._await_step(fault, strike, 0, time.monotonic())
        self._play_until(time.monotonic())

    def _await_step(self, fault: Fault, strike: Strike, place: int, began: float) -> None:
        def take() -> None:
            try:
                strike.steps[place][1]()
            except NOT_NOW:
                # The target itself is down with another fault: try a little later.
                self._at(time.monotonic() + AGAIN_SECONDS, take)
            else:
                self._after_step(fault, strike, place + 1, began)

        self._at(began + strike.steps[place][0], take)

    def _after_step(self, fault: Fault, strike: Strike, place: int, began: float) -> None:
        if place < len(strike.steps):
            return self._await_step(fault, strike, place, began)
        del self._under_way[fault.target]
        fault.ended = time.time()
        probe = threading.Thread(target=self._look, args=(fault, strike.flow, time.monotonic()), daemon=True)
        probe.start()
        self._probes.append(probe)
        return None

    def _at(self, timestamp: float, step: Callable[[], None]) -> None:
        heapq.heappush(self._due, (timestamp, next(self._order), step))

    def _play_until(self, timestamp: float) -> None:
        """Do what is due until then, and start again what ended without having been struck."""
        while True:
            while self._due and self._due[0][0] <= time.monotonic():
                heapq.heappop(self._due)[2]()
            self.ground.fleet.tend(set(self._under_way))
            left = timestamp - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, LOOK_SECONDS))

    def _look(self, fault: Fault, flow: str, whole: float) -> None:
        """Somebody posts, as a page does, and waits for the notification."""
        promise = self.crowd.submit(flow)
        while promise is not None and time.monotonic() < whole + PATIENCE_SECONDS:
            if self.witness.is_notified(promise):
                fault.recovery = time.monotonic() - whole
                return
            time.sleep(LOOK_SECONDS)
