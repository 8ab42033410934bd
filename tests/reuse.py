"""What one application leaves to the next of a test run, because a process of the product makes it only once: compiled
URL rules and statements, what is known about the server, and open sessions of PostgreSQL.

Nothing of it is state of a test: a session is handed on as new, with nothing of its last user.
"""

from __future__ import annotations

import os
import sys
import typing
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from queue import LifoQueue
from typing import Any, ClassVar

import psycopg2
import redis.utils
import requests.utils
from flask import Flask
from psycopg2.extensions import connection
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.util import LRUCache
from urllib3 import HTTPConnectionPool
from werkzeug.routing import Rule

from flaskapp.db import has_unread_bytes
from outbox.connections import LimitedConnection
from outbox.statements import Statements


class CompiledRule(Rule):
    """URL rule that is compiled once in a run, and not again in every application: that was most of building one."""

    compiled: ClassVar[dict[tuple[Any, ...], dict[str, Any]]] = {}

    def compile(self) -> None:
        assert self.map is not None
        key = (
            *(self.rule, self.host, self.subdomain, repr(self.defaults)),
            *(self.merge_slashes, self.map.host_matching, self.websocket),
        )
        if key not in self.compiled:
            super().compile()
            made = {name: getattr(self, name) for name in ("_parts", "_trace", "_converters")}
            builders = {name: getattr(self, name).__func__ for name in ("_build", "_build_unknown")}
            self.compiled[key] = {"arguments": set(self.arguments), "made": made, "builders": builders}
        known = self.compiled[key]
        self.arguments = self.arguments | known["arguments"]
        vars(self).update(known["made"])
        vars(self).update({name: builder.__get__(self, None) for name, builder in known["builders"].items()})


class SharedDialect(PGDialect_psycopg2):
    """SQLAlchemy's dialect, one for all engines with the same options: it looks at the server once, and statements are
    compiled once."""

    supports_statement_cache = True
    made: ClassVar[dict[str, SharedDialect]] = {}
    statements: ClassVar[LRUCache[Any, Any]] = LRUCache(2_000)

    def __new__(cls, **options: Any) -> SharedDialect:
        return cls.made.get(repr(sorted(options.items()))) or super().__new__(cls)

    def __init__(self, **options: Any) -> None:
        key = repr(sorted(options.items()))
        if key not in self.made:
            super().__init__(**options)
            self.made[key] = self
            self.initialized = False

    def initialize(self, connection: Connection) -> None:
        if not self.initialized:
            super().initialize(connection)
            self.initialized = True

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        engine._compiled_cache = cls.statements


class Sessions:
    """Sessions that one test's engine leaves to the next one's, which must be of the same kind. A new one would read
    the system's tables anew for every statement. Only what `warm` opens is handed on: a connection that a test opens
    itself is new.

    `limit` is how many are left, because each is a process of PostgreSQL. A session follows its database where that is
    renamed.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.free: list[connection] = []

    def pids(self) -> list[int]:
        return [session.info.backend_pid for session in self.free]

    @contextmanager
    def warm(self, engine: Engine) -> Iterator[None]:
        """Give the engine the sessions that the last one left, and dispose of it at the end."""
        pool: Any = engine.pool
        create = pool._creator
        pool._creator = lambda: self.take() or create()
        try:
            with ExitStack() as opened:
                for _ in self.free[:]:
                    opened.enter_context(engine.connect())
        finally:
            pool._creator = create
            while self.free:
                self.free.pop().close()
        try:
            yield
        finally:
            self.keep(engine)
            engine.dispose()

    def take(self) -> connection | None:
        while self.free:
            session = self.free.pop()
            if not session.closed and not has_unread_bytes(session):
                return session
            session.close()
        return None

    def keep(self, engine: Engine) -> None:
        """Take sessions that are not in use out of the engine's pool, and reset them."""
        pool: Any = engine.pool
        with suppress(SQLAlchemyError, psycopg2.Error):
            while pool.checkedin() and len(self.free) < self.limit:
                proxy = engine.raw_connection()
                session: Any = proxy.dbapi_connection
                proxy.detach()
                # psycopg2 itself keeps this, and would send it at every change to autocommit and back.
                session.isolation_level = None
                session.autocommit = True
                session.cursor().execute("DISCARD ALL")
                if isinstance(session, LimitedConnection):
                    session.statements = Statements()
                session.autocommit = False
                self.free.append(session)


class FilledQueue(LifoQueue[Any]):
    """The queue of a pool of connections. urllib3 fills it with a hundred empty places before anybody else can see it,
    and takes its locks three times for each."""

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if block:
            self.queue.append(item)
        else:
            super().put(item, block, timeout)


PROXIES = [name for kind in ("http", "https", "all", "no") for name in (f"{kind}_proxy", f"{kind}_PROXY".upper())]


class Proxies:
    """The proxies that the environment names, as urllib finds them. It reads every variable for each call, which is a
    twentieth of a test; so they are found anew only when one of theirs was changed."""

    def __init__(self) -> None:
        self.read = urllib.request.getproxies_environment
        self.found: dict[tuple[str | None, ...], dict[str, str]] = {}

    def __call__(self) -> dict[str, str]:
        named = tuple(map(os.environ.get, PROXIES))
        if named not in self.found:
            self.found[named] = self.read()
        return dict(self.found[named])


def reuse() -> None:
    """Have every application and engine that this process makes share what the module's docstring names."""
    Flask.url_rule_class = CompiledRule
    for name in ("postgresql", "postgresql.psycopg2"):
        registry.register(name, __name__, SharedDialect.__name__)
    # Each of redis-py's connections reads the version of its package from the disk.
    redis.utils.get_lib_version = cache(redis.utils.get_lib_version)
    HTTPConnectionPool.QueueCls = FilledQueue
    # Python before 3.12 gathers the names of a protocol at each look whether a value follows it.
    if sys.version_info < (3, 12):
        typing._get_protocol_attrs = cache(typing._get_protocol_attrs)  # type: ignore[attr-defined]
    proxies = Proxies()
    if requests.utils.getproxies is urllib.request.getproxies_environment:
        requests.utils.getproxies = proxies
    urllib.request.getproxies_environment = proxies
