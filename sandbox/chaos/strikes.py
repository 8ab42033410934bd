"""Every kind of fault, as data: what it strikes, in which steps, and in which flow its recovery is looked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from signal import SIGCONT, SIGSTOP

from sandbox.chaos.ground import Ground
from sandbox.chaos.journeys import FORM, ITF, TRAVEL_CLAIM, TRAVEL_PAY

Step = tuple[float, Callable[[], None]]

# The upstreams that people wait for, and the flow that each of them serves.
SERVED = {
    "btsss": TRAVEL_CLAIM,
    "va_notify": TRAVEL_CLAIM,
    "veis": TRAVEL_CLAIM,
    "accounts": ITF,
    "lighthouse": ITF,
    "form526": FORM,
    "documents": FORM,
    "travel_pay": TRAVEL_PAY,
}
# A process without a heartbeat for ten seconds counts as dead, and its work is given to others.
SILENT_SECONDS = 14.0
# Longer than any lease of the run: twice a token and a call, and the margin.
LEASE_SECONDS = 48.0
FLAPS = 3
AHEAD_SECONDS, BEHIND_SECONDS = 30.0, -20.0


@dataclass(frozen=True)
class Strike:
    """One blow at `target`: its steps, each with the seconds after the first; the last one makes the target whole
    again.

    `flow` is the flow in which somebody posts then, to see whether the system works.
    """

    target: str
    steps: Sequence[Step]
    flow: str = TRAVEL_CLAIM


Aim = Callable[[Ground, Random], Strike]


def killed(process: str) -> Aim:
    """SIGKILL. The dyno manager starts a new one at once, or a little later."""

    def aim(ground: Ground, random: Random) -> Strike:
        name = random.choice(ground.fleet.of_kind(process))
        pause = random.choice((0.0, 1.5))
        steps = [(0.0, partial(ground.fleet.kill, name)), (pause, partial(ground.fleet.start_again, name))]
        return Strike(name, steps)

    return aim


def stopped(process: str) -> Aim:
    """SIGTERM under load. A new one comes when it has ended."""

    def aim(ground: Ground, random: Random) -> Strike:
        name = random.choice(ground.fleet.of_kind(process))
        steps = [(0.0, partial(ground.fleet.terminate, name)), (0.0, partial(ground.fleet.start_again, name))]
        return Strike(name, steps)

    return aim


def frozen(process: str, seconds: float) -> Aim:
    """SIGSTOP for some seconds; then it goes on as if nothing had happened."""

    def aim(ground: Ground, random: Random) -> Strike:
        name = random.choice(ground.fleet.of_kind(process))
        signal = ground.fleet.signal
        steps = [(0.0, partial(signal, name, SIGSTOP)), (seconds, partial(signal, name, SIGCONT))]
        return Strike(name, steps)

    return aim


def server(target: str, *steps: tuple[float, Callable[[Ground], None]]) -> Aim:
    def aim(ground: Ground, random: Random) -> Strike:
        return Strike(target, [(after, partial(step, ground)) for after, step in steps])

    return aim


def clock(seconds: float) -> Aim:
    def aim(ground: Ground, random: Random) -> Strike:
        steps = [(0.0, partial(ground.step_clock, seconds)), (4.0, partial(ground.step_clock, 0.0))]
        return Strike("clock", steps)

    return aim


def upstream(fault: str, seconds: float, **fields: object) -> Aim:
    """One upstream, any, has this fault for so many seconds."""

    def aim(ground: Ground, random: Random) -> Strike:
        name = random.choice(list(SERVED))
        steps = [
            (0.0, partial(ground.break_upstream, name, fault, **fields)),
            (seconds, partial(ground.mend_upstream, name)),
        ]
        return Strike(name, steps, SERVED[name])

    return aim


def flapping(ground: Ground, random: Random) -> Strike:
    """An upstream refuses connections, takes them, refuses them again."""
    name = random.choice(list(SERVED))
    steps: list[Step] = []
    for flap in range(FLAPS):
        steps += [
            (flap * 1.2, partial(ground.break_upstream, name, "refuse")),
            (flap * 1.2 + 0.6, partial(ground.mend_upstream, name)),
        ]
    return Strike(name, steps, SERVED[name])


def documents_flap(ground: Ground, random: Random) -> Strike:
    """What was done is under way again, and then done once more."""
    steps: list[Step] = [
        (0.0, partial(ground.hold_documents, 2.0)),
        (1.0, partial(ground.hold_documents, 0.0)),
        (4.0, partial(ground.hold_documents, None)),
    ]
    return Strike("documents", steps, FORM)


AIMS: dict[str, Aim] = {
    "web killed": killed("web"),
    "web stopped": stopped("web"),
    "relay killed": killed("relay"),
    "relay frozen and taken for dead": frozen("relay", SILENT_SECONDS),
    "worker killed": killed("worker"),
    "worker stopped": stopped("worker"),
    "worker frozen and taken for dead": frozen("worker", SILENT_SECONDS),
    "worker frozen past its leases": frozen("worker", LEASE_SECONDS),
    "scheduler killed": killed("scheduler"),
    "Postgres killed": server("postgres", (0.0, Ground.kill_postgres), (0.5, Ground.start_postgres)),
    "Postgres restarted, fast": server("postgres", (0.0, Ground.restart_postgres)),
    "Postgres restarted in mid-settle": server("postgres", (0.0, Ground.restart_postgres_in_mid_settle)),
    "Postgres sessions ended": server("postgres", (0.0, Ground.end_sessions)),
    "Redis killed": server("redis", (0.0, Ground.kill_redis), (1.0, Ground.start_redis)),
    "Redis frozen": server("redis", (0.0, Ground.freeze_redis), (4.0, Ground.thaw_redis)),
    "Redis flushed": server("redis", (0.0, Ground.flush_redis)),
    "Redis put back to an old snapshot": server("redis", (0.0, Ground.save_snapshot), (5.0, Ground.restore_snapshot)),
    "Redis out of memory": server("redis", (0.0, Ground.fill_memory), (3.0, Ground.free_memory)),
    "Redis out of disk": server("redis", (0.0, Ground.fill_disk), (3.0, Ground.free_disk)),
    "clock steps ahead and back": clock(AHEAD_SECONDS),
    "clock steps back and ahead": clock(BEHIND_SECONDS),
    "upstream flaps": flapping,
    "upstream away": upstream("down", 2.0),
    "upstream drops replies": upstream("drop", 3.0, chance=0.4),
    "upstream throttles": upstream("throttle", 2.0, chance=0.5, retry_after="1"),
    "callbacks contradict": server("va_notify", (0.0, Ground.contradict), (4.0, Ground.be_silent)),
    "document statuses flap": documents_flap,
}
# What lasts longer than a short run.
LONG = ("worker frozen past its leases",)


def aims_for(short: bool) -> dict[str, Aim]:
    """Every kind, or those that end in time in a short run."""
    return {name: aim for name, aim in AIMS.items() if not (short and name in LONG)}


def deck(random: Random, aims: Iterable[str]) -> list[str]:
    """Every kind once, in an order of its own."""
    names = list(aims)
    random.shuffle(names)
    return names
