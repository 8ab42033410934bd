"""The script of one seed: what goes wrong, where and when.

Each seed has a profile: much of a few faults rather than a little of all. Everything is drawn from the seed only, so a
seed is one story, in whichever process it is played.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from tests.simulator.hub import Task
from tests.simulator.upstreams import WITHIN_SECONDS, Fate

SLOWEST = {
    "btsss": 20.0,
    "va_notify": 10.0,
    "accounts": 5.0,
    "lighthouse_claims": 10.0,
    "form526": 10.0,
    "lighthouse_documents": 10.0,
}
# Upstream endings and how often, before a seed's profile changes it.
WRITES = {
    "answered": 8.0,
    "lost": 2.0,
    "lost, in time": 2.0,
    "lost, later": 2.0,
    "hangs": 0.4,
    "refused": 0.7,
    "unavailable": 1.5,
    "throttled": 0.5,
    "unauthorized": 0.3,
}
LOOKS = {"answered": 6.0, "lost": 1.5, "unavailable": 1.5, "elsewhere": 0.5, "refused": 0.3, "throttled": 0.3}
EVENTS = {
    "nothing": 4.0,
    "ask": 2.0,
    "sweep": 0.9,
    "beat": 0.5,
    "stall": 1.0,
    "mistake for dead": 1.2,
    "stop": 1.0,
    "kill": 0.8,
    "lose thread": 0.4,
    "reopen": 0.7,
    "requeue": 2.0,
    "park": 0.7,
    "callback": 0.7,
    "elsewhere": 0.5,
    "outage": 0.4,
    "flush": 0.3,
    "bring back": 1.0,
    "lose pointer": 0.5,
    "snapshot": 0.5,
    "restart": 0.2,
    "poll": 0.3,
    "repair": 0.2,
    "damage": 0.4,
}
TEMPER = (0.0, 0.5, 1.0, 1.0, 2.0, 5.0)
# What every story needs, whatever its profile.
STEADY = frozenset({"nothing", "ask", "answered"})
# About how many boundaries a story has. Those around a COMMIT meet more than their share of faults.
BOUNDARIES, COMMITS = 200.0, 50.0


class Script:
    """Draws every fault. `calm` ends them all, and the world comes to rest."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.calm = False
        self.crashes = rng.choice((0, 1, 2, 3, 4))
        self.losses = rng.choice((0, 0, 1, 1, 2))
        self.failures = rng.choice((0, 0, 0, 1, 2))
        self.forgets = rng.choice((0, 0, 0, 1))
        self.writes = self.tempered(WRITES)
        self.looks = self.tempered(LOOKS)
        self.events = self.tempered(EVENTS)
        self.slow = rng.random()
        self.outages: set[str] = set()
        self.met: Counter[str] = Counter()

    def tempered(self, weights: dict[str, float]) -> dict[str, float]:
        return {
            name: weight if name in STEADY else weight * self.rng.choice(TEMPER) for name, weight in weights.items()
        }

    def pick(self, weights: dict[str, float]) -> str:
        return self.rng.choices(list(weights), list(weights.values()))[0]

    # -- faults of processes, Postgres and Redis ----------------------------------------------------

    def strikes(self, left: int, chances: float) -> bool:
        return not self.calm and left > 0 and self.rng.random() < left / chances

    def crashes_here(self, task: Task, where: str, what: str) -> bool:
        if not self.strikes(self.crashes, COMMITS if what == "COMMIT" else BOUNDARIES):
            return False
        self.crashes -= 1
        return True

    def loses(self, task: Task, where: str, what: str) -> bool:
        """Whether Postgres is lost here. `forgotten`: it restarts before an asynchronous commit was on disk."""
        if where == "forgotten":
            if not self.strikes(self.forgets, 10.0):
                return False
            self.forgets -= 1
        elif not self.strikes(self.losses, COMMITS if what == "COMMIT" else BOUNDARIES):
            return False
        else:
            self.losses -= 1
        self.met["restart of Postgres" if where == "forgotten" else f"connection lost {where}"] += 1
        return True

    def fails(self, task: Task) -> str | None:
        if not self.strikes(self.failures, 20.0):
            return None
        self.failures -= 1
        how = self.rng.choice(("before", "after"))
        self.met[f"Redis fails {how}"] += 1
        return how

    # -- upstreams ----------------------------------------------------------------------------------

    def fate(self, name: str, what: str) -> Fate:
        if self.calm:
            return Fate("answered", 0.5, 0.2)
        if name in self.outages and self.rng.random() < 0.9:
            kind = self.rng.choice(("unavailable", "lost"))
        else:
            kind = self.pick(self.writes if what == "write" else self.looks)
        self.met[f"{name} {what} {kind}"] += 1
        return self.shaped(name, kind)

    def shaped(self, name: str, kind: str) -> Fate:
        limit = SLOWEST[name]
        seconds = self.rng.choice((1.0, limit / 3, limit)) if self.rng.random() < self.slow else 0.5
        if kind == "answered":
            return Fate(kind, seconds, seconds / 2)
        if kind == "hangs":
            return Fate("answered", 900.0, 1.0)
        if kind.startswith("lost"):
            later = self.rng.uniform(1.0, WITHIN_SECONDS[name] - 1.0)
            return Fate("lost", seconds, {"lost": None, "lost, in time": 0.1, "lost, later": later}[kind])
        return Fate(kind, seconds)
