"""The fault switches of one fake: what goes wrong, how often, and for which calls.

A switch is drawn once for a request, before anything else is decided, so `times` counts requests.
"""

from __future__ import annotations

import base64
import itertools
import random
import re
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

KINDS = {
    "refuse": "nobody listens: connections are refused (the whole upstream, until lifted)",
    "down": "the connection is reset at once, nothing is read",
    "slow": "waits `seconds`, then does the work and answers",
    "late": "does the work, then waits `seconds` before answering",
    "hold": "waits until it is lifted, then does the work and answers",
    "status": "answers `status`; does the work first only with `works`",
    "throttle": "answers 429, with Retry-After when `retry_after` is set",
    "drop": "does the work, then resets the connection: the reply is lost",
    "half": "does the work, then sends half of the body and closes",
    "html": "answers an HTML page with `status`; does the work first only with `works`",
    "empty": "answers `status` without a body; does the work first only with `works`",
    "answer": "answers exactly `status`, `headers` and `body`; does the work first only with `works`",
    "content_type": "the true answer, labelled as HTML",
    "expire": "the token is dead before its time (where tokens are handed out: new ones live `seconds`)",
    "drip": "does the work, then sends the body a byte at a time, one every `seconds`",
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "slow": {"seconds": 30.0},
    "late": {"seconds": 30.0},
    "drip": {"seconds": 0.2},
    "status": {"status": 503},
    "html": {"status": 502},
    "empty": {"status": 502},
    "answer": {"status": 200},
    "throttle": {"status": 429},
}

# What the server itself writes into every answer: how long the body is, and whether the connection stays open.
_SERVERS_OWN = frozenset({"content-length", "transfer-encoding", "connection"})
# A caller reads no body after these, and would take one for the beginning of the next answer.
_BODILESS = frozenset({*range(100, 200), 204, 304})
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class BadFault(ValueError):
    """A switch that does not exist or makes no sense. The text says why."""


@dataclass(frozen=True)
class Fault:
    """One switch. `operation` is looked for in `METHOD /path`, one that ends with `$` at its end only; `times` of None
    means until it is turned off.

    A body that is no text is given as `body_base64`.
    """

    kind: str
    operation: str = ""
    chance: float = 1.0
    times: int | None = None
    seconds: float = 0.0
    status: int = 0
    retry_after: str | None = None
    works: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    body_base64: str = ""
    id: int = 0

    @property
    def content(self) -> bytes:
        return base64.b64decode(self.body_base64) if self.body_base64 else self.body.encode()

    def is_meant_for(self, request: str) -> bool:
        end = self.operation.removesuffix("$")
        return request.endswith(end) if end != self.operation else self.operation in request

    def touches(self, request: str) -> bool:
        return self.is_meant_for(request) and (self.chance >= 1 or random.random() < self.chance)


def fault_from(data: dict[str, Any]) -> Fault:
    """A fault from JSON, with the defaults of its kind; raises BadFault."""
    kind = data.get("kind")
    if kind not in KINDS:
        raise BadFault(f"kind must be one of {', '.join(KINDS)}")
    unknown = set(data) - {item.name for item in fields(Fault)} | ({"id"} & set(data))
    if unknown:
        raise BadFault(f"unknown: {', '.join(sorted(unknown))}")
    fault = Fault(**{**_DEFAULTS.get(kind, {}), **data})
    if kind == "refuse" and (fault.operation or fault.times is not None or fault.chance < 1):
        raise BadFault("refuse acts on the whole upstream until it is lifted: no operation, times or chance")
    if kind == "hold" and fault.times is not None:
        raise BadFault("hold lasts until it is lifted: no times")
    if fault.times is not None and fault.times < 1:
        raise BadFault("times must be at least 1")
    if kind == "answer":
        _check_answer(fault)
    elif fault.headers or fault.body or fault.body_base64:
        raise BadFault("only answer has headers and a body")
    return fault


def _check_answer(fault: Fault) -> None:
    if type(fault.status) is not int or not 100 <= fault.status <= 599:
        raise BadFault("status must be a whole number from 100 to 599")
    if not isinstance(fault.headers, dict):
        raise BadFault("headers must be an object of names and texts")
    for name, value in fault.headers.items():
        _check_header(name, value)
    if not isinstance(fault.body, str) or not _can_be_sent(fault.body, "utf-8"):
        raise BadFault("body must be a text that UTF-8 can hold")
    if fault.body and fault.body_base64:
        raise BadFault("body or body_base64, not both")
    if not _is_base64(fault.body_base64):
        raise BadFault("body_base64 must be base64")
    if fault.content and fault.status in _BODILESS:
        raise BadFault(f"an answer with status {fault.status} has no body")


def _check_header(name: str, value: Any) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise BadFault(f"{name!r} cannot be the name of a header")
    if name.lower() in _SERVERS_OWN:
        raise BadFault(f"{name} is written by the server itself")
    if not isinstance(value, str) or "\r" in value or "\n" in value or not _can_be_sent(value, "latin-1"):
        raise BadFault(f"the header {name} must be one line of Latin-1 text")


def _is_base64(text: Any) -> bool:
    try:
        return isinstance(text, str) and bool(base64.b64decode(text, validate=True) or not text)
    except ValueError:
        return False


def _can_be_sent(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


class Faults:
    """The switches of one fake, safe to use from many threads. `on_refuse` is called, locked, with whether to
    refuse."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._ids = itertools.count(1)
        self._active: list[Fault] = []
        self.on_refuse: Callable[[bool], None] = lambda refused: None

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            kept = replace(fault, id=next(self._ids))
            self._active.append(kept)
            self._tell()
        return kept

    def clear(self, kind: str | None = None) -> None:
        with self._lock:
            self._active = [fault for fault in self._active if kind and fault.kind != kind]
            self._changed.notify_all()
            self._tell()

    def hold(self, fault: Fault, stopping: threading.Event) -> None:
        """Return once this fault is turned off, or everything stops.

        Dozens of calls may be held at once. If each looked a hundred times a second, the others would wait for them.
        """
        with self._changed:
            while not stopping.is_set() and any(each.id == fault.id for each in self._active):
                self._changed.wait(0.2)

    def listed(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(fault) for fault in self._active]

    def draw(self, request: str, kinds: Collection[str]) -> dict[str, Fault]:
        """The faults of these kinds that strike `request`, one of each kind, each counted down by one."""
        drawn: dict[str, Fault] = {}
        with self._lock:
            for fault in list(self._active):
                if fault.kind in kinds and fault.kind not in drawn and fault.touches(request):
                    drawn[fault.kind] = fault
                    self._count_down(fault)
        return drawn

    def _count_down(self, fault: Fault) -> None:
        if fault.times is None:
            return
        place = self._active.index(fault)
        self._active[place : place + 1] = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []

    def _tell(self) -> None:
        self.on_refuse(any(fault.kind == "refuse" for fault in self._active))
