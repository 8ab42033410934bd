"""A Redis in memory, for RQ's own code: it forgets, repeats, brings back and fails when the script says so.

It has only what RQ and the ledger use. Every round trip is a boundary, and none may happen inside a transaction.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from redis.exceptions import ConnectionError

from outbox import rq_side
from tests.simulator.hub import Hub, PromiseBroken, Task


def encoded(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else str(value).encode()


class Data:
    """The commands themselves, on plain values."""

    def __init__(self) -> None:
        self.lists: dict[str, list[bytes]] = {}
        self.hashes: dict[str, dict[bytes, bytes]] = {}
        self.sorted_sets: dict[str, dict[bytes, float]] = {}
        self.strings: dict[str, bytes] = {}

    def set(self, key: str, value: Any) -> bool:
        self.strings[key] = encoded(value)
        return True

    def get(self, key: str) -> bytes | None:
        return self.strings.get(key)

    def rpush(self, key: str, *values: Any) -> int:
        self.lists.setdefault(key, []).extend(map(encoded, values))
        return len(self.lists[key])

    def lrange(self, key: str, start: int, end: int) -> list[bytes]:
        return list(self.lists.get(key, []))

    def lmove(self, source: str, target: str) -> bytes | None:
        if not self.lists.get(source):
            return None
        moved = self.lists[source].pop(0)
        self.lists.setdefault(target, []).append(moved)
        return moved

    def eval(self, script: str, keys: int, *given: Any) -> Any:
        return {rq_side.TAKE: self.take, rq_side.PUSH: self.push}[script](*given)

    def push(self, queue: str, jobs: str, shared: int, *given: Any) -> None:
        """Append pointers, each with the hash of its job."""
        fields, own = given[:shared], given[shared:]
        for identifier, data, description in zip(own[::3], own[1::3], own[2::3], strict=True):
            alike = dict(zip(fields[::2], fields[1::2], strict=True))
            self.hset(jobs + identifier, mapping={**alike, "data": data, "description": description})
            self.rpush(queue, identifier)

    def take(self, source: str, target: str, jobs: str, most: int) -> list[Any] | None:
        """Take pointers and their jobs, and how many are left."""
        taken = [self.lmove(source, target) for _ in range(min(most, len(self.lists.get(source, []))))]
        hashes = [self.hgetall(jobs + each.decode()) for each in taken if each is not None]
        fields = [[each for pair in found.items() for each in pair] for found in hashes]
        return [taken, fields, len(self.lists[source])] if taken else None

    def lrem(self, key: str, count: int, value: Any) -> int:
        """The first `count` of them from the left; all of them for 0."""
        found = self.lists.get(key, [])
        removed = [place for place, each in enumerate(found) if each == encoded(value)][: count or None]
        self.lists[key] = [each for place, each in enumerate(found) if place not in removed]
        return len(removed)

    def lpush(self, key: str, *values: Any) -> int:
        for value in values:
            self.lists.setdefault(key, []).insert(0, encoded(value))
        return len(self.lists[key])

    def ltrim(self, key: str, start: int, end: int) -> int:
        self.lists[key] = self.lists.get(key, [])[start : end + 1]
        return 1

    def hset(self, key: str, name: Any = None, value: Any = None, mapping: dict[Any, Any] | None = None) -> int:
        given = mapping if mapping is not None else {name: value}
        self.hashes.setdefault(key, {}).update({encoded(field): encoded(each) for field, each in given.items()})
        return len(given)

    def hgetall(self, key: str) -> dict[bytes, bytes]:
        return dict(self.hashes.get(key, {}))

    def zadd(self, key: str, mapping: dict[str, float], **_: Any) -> int:
        self.sorted_sets.setdefault(key, {}).update({encoded(name): score for name, score in mapping.items()})
        return len(mapping)

    def zrange(self, key: str, start: int, end: int) -> list[bytes]:
        return sorted(self.sorted_sets.get(key, {}))

    def zrem(self, key: str, *names: Any) -> int:
        found = self.sorted_sets.get(key, {})
        return sum(found.pop(encoded(name), None) is not None for name in names)

    def delete(self, *keys: str) -> int:
        kinds: tuple[dict[str, Any], ...] = (self.hashes, self.sorted_sets, self.lists)
        return sum(kind.pop(key, None) is not None for key in keys for kind in kinds)

    def smembers(self, key: str) -> set[bytes]:
        """Always empty: what is read this way depends on a job, and no job of ours depends on another."""
        return set()

    def begun(self, queue: str) -> set[bytes]:
        """What is noted there as taken or as started, for people who look."""
        return {*self.lists.get(f"rq:queue:{queue}:intermediate", ()), *self.sorted_sets.get(f"rq:wip:{queue}", ())}

    def unread(self, *_: Any, **__: Any) -> int:
        """Names of queues and workers, their counts, results and life times: nothing here reads them again."""
        return 1

    sadd = srem = xadd = expire = persist = hincrby = hincrbyfloat = watch = unread


COMMANDS = frozenset(name for name in vars(Data) if not name.startswith("_"))


class Pipeline:
    """Commands that are kept until `execute` sends them together; those after a `watch` are sent at once."""

    def __init__(self, redis: ScriptedRedis) -> None:
        self.redis = redis
        self.watching = False
        self.kept: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_: Any) -> None:
        self.kept = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in COMMANDS:
            raise AttributeError(name)

        def keep(*args: Any, **options: Any) -> Any:
            self.watching = self.watching or name == "watch"
            if self.watching:
                return self.redis.send([(name, args, options)])[0]
            self.kept.append((name, args, options))
            return self

        return keep

    def execute(self) -> list[Any]:
        kept, self.kept = self.kept, []
        return self.redis.send(kept) if kept else []


class ScriptedRedis:
    """`fails(task)` says how a round trip goes wrong: before or after it took effect, or not at all."""

    def __init__(self, hub: Hub, fails: Callable[[Task], str | None]) -> None:
        self.hub, self.fails = hub, fails
        self.data = Data()
        self.pushed: list[tuple[str, bytes, dict[bytes, bytes]]] = []

    def info(self, section: str = "") -> dict[str, str]:
        return {"redis_version": "6.2.5"}

    def client_setname(self, name: str) -> bool:
        return True

    def client_info(self) -> dict[str, str]:
        return {"addr": "127.0.0.1:1"}

    def pipeline(self, transaction: bool = True) -> Pipeline:
        return Pipeline(self)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in COMMANDS:
            raise AttributeError(name)
        return lambda *args, **options: self.send([(name, args, options)])[0]

    def send(self, commands: list[tuple[str, tuple[Any, ...], dict[str, Any]]]) -> list[Any]:
        """One round trip. Raises redis's ConnectionError where the script loses it, before or after its effect."""
        task = self.hub.current()
        if task is None:
            return self.apply(commands)
        if not task.dying and any(connection.in_transaction for connection in task.connections):
            raise PromiseBroken("a transaction was open while it talked to Redis")
        what = f"Redis {commands[-1][0]}"
        self.hub.boundary("before", what)
        fault = self.fails(task)
        if fault is not None:
            task.troubled = True
            self.hub.steps.append(f"{self.hub.now:.3f} {task.name}: Redis fails {fault} {what}")
        if fault == "before":
            raise ConnectionError("Connection refused")
        answers = self.apply(commands)
        self.hub.boundary("after", what)
        if fault == "after":
            raise ConnectionError("Connection closed by server")
        return answers

    def apply(self, commands: list[tuple[str, tuple[Any, ...], dict[str, Any]]]) -> list[Any]:
        answers = []
        for name, args, options in commands:
            answers.append(getattr(self.data, name)(*args, **options))
            if name == "rpush":
                self.note_pushed(args[0], encoded(args[1]))
            elif name == "eval" and args[0] == rq_side.PUSH:
                queue, _, shared, *given = args[2:]
                for identifier in given[shared::3]:
                    self.note_pushed(queue, encoded(identifier))
        return answers

    # -- events ------------------------------------------------------------------------------------

    def note_pushed(self, key: str, identifier: bytes) -> None:
        self.pushed.append((key, identifier, dict(self.data.hashes[f"rq:job:{identifier.decode()}"])))

    def bring_back(self, index: int) -> str:
        """Put an old pointer in its queue again, in front of all later ones. Returns the queue's name."""
        key, identifier, job = self.pushed[index]
        self.data.hashes[f"rq:job:{identifier.decode()}"] = dict(job)
        self.data.lists.setdefault(key, []).insert(0, identifier)
        return key.removeprefix("rq:queue:")

    def snapshot(self) -> Data:
        return copy.deepcopy(self.data)

    def flush(self) -> None:
        self.data = Data()

    def waiting(self, queue: str) -> int:
        return len(self.data.lists.get(f"rq:queue:{queue}", []))
