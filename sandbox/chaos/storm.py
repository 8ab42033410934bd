"""Faults, one after the other and often one inside the other, and how long the system took to work again after each.

After each, somebody new posts at once: recovery is the time from the moment the struck thing is whole again until that
person is told. It is the same measure for all kinds; what a fault itself lasts does not count, what comes of it does.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import psycopg2
import redis
import requests

from sandbox.chaos.crowd import Crowd
from sandbox.chaos.ground import Ground
from sandbox.chaos.strikes import AIMS, Strike, deck
from sandbox.chaos.witness import Witness

LOOK_SECONDS = 0.1
AGAIN_SECONDS = 0.3
NOT_NOW = (psycopg2.Error, redis.RedisError, requests.RequestException)
# Nobody looks longer than this whether a system works again: it does not.
PATIENCE_SECONDS = 90.0


@dataclass
class Fault:
    """One fault of this run, its `recovery` in seconds once it is known; infinite when nobody was told in the end.

    `began` and `ended`, when the struck thing was whole again, are by this machine's clock, in seconds.
    """

    kind: str
    target: str
    recovery: float = math.inf
    began: float = 0.0
    ended: float = math.inf


class Storm:
    """Strikes from the main thread: whoever starts a process must stay. `now` says what is broken at this moment."""

    def __init__(self, ground: Ground, crowd: Crowd, witness: Witness, random: Random, short: bool) -> None:
        self.ground = ground
        self.crowd = crowd
        self.witness = witness
        self.random = random
        self.faults: list[Fault] = []
        self._kinds = deque(itertools.chain.from_iterable(deck(random, short) for _ in range(20)))
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._under_way: dict[str, str] = {}
        self._probes: list[threading.Thread] = []

    @property
    def now(self) -> str:
        return ", ".join(f"{kind} ({target})" for target, kind in list(self._under_way.items()))

    def rage(self, seconds: float, times: int) -> None:
        """So many faults, evenly over so many seconds; ends when all that was struck is whole again."""
        began = time.monotonic()
        for number in range(times):
            self._play_until(began + number * seconds / times)
            self._strike()
        while self._due:
            self._play_until(self._due[0][0])

    def settle(self) -> None:
        """Wait for the last people who looked whether the system works."""
        for probe in self._probes:
            probe.join()

    def _strike(self) -> None:
        """The next kind whose target is whole just now."""
        for _ in range(len(self._kinds)):
            kind = self._kinds.popleft()
            strike = AIMS[kind](self.ground, self.random)
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
                # What is to be struck is itself down, with something else: a little later, then.
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
        """Do what is due until then, and start again whatever ended without having been struck."""
        while True:
            while self._due and self._due[0][0] <= time.monotonic():
                heapq.heappop(self._due)[2]()
            self.ground.fleet.tend(set(self._under_way))
            left = timestamp - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, LOOK_SECONDS))

    def _look(self, fault: Fault, flow: str, whole: float) -> None:
        """Somebody posts, as a page does, and waits to be told."""
        promise = self.crowd.submit(flow)
        while promise is not None and time.monotonic() < whole + PATIENCE_SECONDS:
            if self.witness.is_notified(promise):
                fault.recovery = time.monotonic() - whole
                return
            time.sleep(LOOK_SECONDS)
