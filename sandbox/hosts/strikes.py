"""Every kind of fault of a host or of the wire, as data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import cast

from sandbox.chaos.ground import Ground
from sandbox.chaos.strikes import SILENT_SECONDS, Aim, Step, Strike, frozen, server, upstream
from sandbox.hosts.ground import HostsGround

HostStep = tuple[float, Callable[[HostsGround], None]]
# A manager of servers looks so long before it believes that one is lost.
NOTICED_SECONDS = 3.0
BETWEEN_REPLACEMENTS = 1.0


def host(kind: str, blow: Callable[[HostsGround, str], None], seconds: float) -> Aim:
    """One host of this kind has this for so many seconds."""

    def aim(ground: Ground, random: Random) -> Strike:
        known = cast(HostsGround, ground)
        name = random.choice(known.fleet.of_kind(kind))
        steps: list[Step] = [(0.0, partial(blow, known, name)), (seconds, partial(known.join, name))]
        return Strike(name, steps)

    return aim


def servers(target: str, *steps: HostStep) -> Aim:
    return server(target, *cast("tuple[tuple[float, Callable[[Ground], None]], ...]", steps))


def from_database(ground: HostsGround, name: str) -> None:
    ground.go_deaf(name, *ground.database_addresses)


def from_redis(ground: HostsGround, name: str) -> None:
    ground.go_deaf(name, ground.redis_address)


def from_upstreams(ground: HostsGround, name: str) -> None:
    ground.go_deaf(name, ground.outside_address)


def rolling(ground: Ground, random: Random) -> Strike:
    """The next release: migrated while all are old, then one process after another, old and new side by side."""
    known = cast(HostsGround, ground)
    names = [name for kind in ("relay", "worker", "scheduler", "web") for name in known.fleet.of_kind(kind)]
    steps: list[Step] = [(0.0, known.release_next)]
    steps += [((place + 1) * BETWEEN_REPLACEMENTS, partial(known.replace, name)) for place, name in enumerate(names)]
    return Strike("release", steps)


AIMS: dict[str, Aim] = {
    "web host unplugged": host("web", HostsGround.cut, 4.0),
    "web host frozen": frozen("web", 6.0),
    "web host cannot reach Postgres": host("web", from_database, 6.0),
    "relay host unplugged and taken for dead": host("relay", HostsGround.cut, SILENT_SECONDS),
    "relay host frozen": frozen("relay", 6.0),
    "relay host cannot reach Redis": host("relay", from_redis, 6.0),
    "worker host unplugged and taken for dead": host("worker", HostsGround.cut, SILENT_SECONDS),
    "worker host slow": host("worker", HostsGround.slow_down, 8.0),
    "worker host half-open to Postgres": host("worker", from_database, SILENT_SECONDS),
    "worker host half-open to Redis": host("worker", from_redis, 8.0),
    "worker host half-open to the upstreams": host("worker", from_upstreams, 6.0),
    "scheduler host unplugged": host("scheduler", HostsGround.cut, 8.0),
    "Postgres primary killed, standby promoted": servers(
        "postgres",
        (0.0, HostsGround.kill_primary),
        (NOTICED_SECONDS, HostsGround.fail_over),
        (NOTICED_SECONDS + 2, HostsGround.follow),
    ),
    "Postgres primary unplugged, standby promoted": servers(
        "postgres",
        (0.0, HostsGround.cut_primary),
        (NOTICED_SECONDS, HostsGround.fail_over),
        (NOTICED_SECONDS + 2, HostsGround.follow),
    ),
    "Postgres standby unplugged": servers(
        "postgres",
        (0.0, HostsGround.cut_standby),
        (NOTICED_SECONDS, HostsGround.wait_for_nobody),
        (NOTICED_SECONDS + 2, HostsGround.follow),
    ),
    "pooler killed": servers("pooler", (0.0, HostsGround.kill_pooler), (1.0, HostsGround.start_pooler)),
    "pooler unplugged": servers("pooler", (0.0, HostsGround.cut_pooler), (5.0, HostsGround.join_pooler)),
    "pooler half-open to Postgres": servers("pooler", (0.0, HostsGround.deafen_pooler), (5.0, HostsGround.join_pooler)),
    "pooler slow": servers("pooler", (0.0, HostsGround.slow_pooler), (5.0, HostsGround.join_pooler)),
    "Valkey killed, replica promoted": servers(
        "redis",
        (0.0, HostsGround.kill_valkey),
        (NOTICED_SECONDS, HostsGround.promote_replica),
        (NOTICED_SECONDS + 2, HostsGround.follow_valkey),
    ),
    "Valkey unplugged, replica promoted": servers(
        "redis",
        (0.0, HostsGround.cut_valkey),
        (NOTICED_SECONDS, HostsGround.promote_replica),
        (NOTICED_SECONDS + 2, HostsGround.follow_valkey),
    ),
    "a release rolled through": rolling,
    "upstream away": upstream("down", 3.0),
}
