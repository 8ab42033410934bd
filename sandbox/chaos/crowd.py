"""Many people who post through every flow at a steady pace, whatever is struck meanwhile."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing

import requests

from sandbox.chaos.journeys import Person, Promise
from sandbox.chaos.page import GivenUp, Odd, Page
from sandbox.faults import Control, Refused

HANDS = 10
# How much faster than the pace people come who were held up.
CATCHING_UP = 1.5
# After an answer that makes no sense: a thousand more of them would show nothing new.
PAUSE_SECONDS = 0.5


class Closed(Exception):
    """Nobody begins anything new."""


class Crowd:
    """Makes `per_second` submissions in all, at the web processes `doors` (host:port).

    `promises` is what was answered so far, `troubles` how often pages had to repeat a request and why, `odd` every
    answer that no page expects.
    """

    def __init__(self, doors: Sequence[str], control_url: str, per_second: float) -> None:
        self.doors = doors
        self.control_url = control_url
        self.promises: list[Promise] = []
        self.troubles: Counter[str] = Counter()
        self.odd: list[str] = []
        self._gap = 1 / per_second
        self._closed = threading.Event()
        self._over = threading.Event()
        self._journeys = itertools.count()
        self._lock = threading.Lock()
        self._next_turn = self._last_turn = 0.0
        self._hands = [threading.Thread(target=self._post_on, name=f"page-{n}", daemon=True) for n in range(HANDS)]

    def start(self) -> None:
        self._next_turn = time.monotonic()
        for hand in self._hands:
            hand.start()

    def close(self) -> None:
        """Nobody begins anything new from here on."""
        self._closed.set()

    def finish(self, seconds: float) -> None:
        """Wait until everybody has an answer; after so many seconds they give up."""
        self.close()
        ends_at = time.monotonic() + seconds
        for hand in self._hands:
            hand.join(max(0.0, ends_at - time.monotonic()))
        self._over.set()

    def submit(self, flow: str) -> Promise | None:
        """One submission by somebody new, at once and outside the pace; None when there was no answer until the end."""
        made: list[Promise] = []

        def kept(promise: Promise) -> None:
            made.append(promise)
            self._keep(promise)

        with closing(self._person(lambda: None, kept)) as person:
            self._tried(lambda: person.only(flow))
        return next(iter(made), None)

    def _post_on(self) -> None:
        with closing(self._person(self._turn, self._keep)) as person:
            while not self._closed.is_set():
                self._tried(lambda: person.journey(next(self._journeys)))

    def _person(self, turn: Callable[[], None], kept: Callable[[Promise], None]) -> Person:
        return Person(Page(self.doors, self.troubles, self._over), Control(self.control_url), turn, kept)

    def _keep(self, promise: Promise) -> None:
        self.promises.append(promise)

    def _turn(self) -> None:
        """Wait for the next time that the pace allows. Turns that were missed while nobody answered are made up for
        slowly."""
        with self._lock:
            timestamp = max(self._next_turn, self._last_turn + self._gap / CATCHING_UP)
            self._next_turn += self._gap
            self._last_turn = max(timestamp, time.monotonic())
        if self._closed.wait(max(0.0, timestamp - time.monotonic())):
            raise Closed

    def _tried(self, journey: Callable[[], None]) -> None:
        try:
            journey()
        except Closed:
            return
        except GivenUp as given_up:
            self.troubles[f"never answered: {given_up}"] += 1
        except (Odd, Refused, requests.RequestException, KeyError, ValueError) as error:
            self.odd.append(f"{type(error).__name__}: {error}")
            self._closed.wait(PAUSE_SECONDS)
