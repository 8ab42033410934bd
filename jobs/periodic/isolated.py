"""Isolated parts of one periodic job: an error in one is logged, and the others still run."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from flaskapp.db import DbSession, db, is_outage, transaction

log = logging.getLogger("jobs.periodic.isolated")

# If so many similar parts in a row fail because a server is away, the others would fail, too.
ENOUGH = 3
NAMED = 5


class PartsFailed(Exception):
    """Some parts failed. RQ keeps and shows this text, so it holds only names, ids and the classes of errors."""

    def __init__(self, failed: Mapping[str, Exception]) -> None:
        self.failed = dict(innermost(failed))
        named = [f"{name}: {type(error).__name__}" for name, error in self.failed.items()][:NAMED]
        super().__init__(f"{len(self.failed)} failed: {'; '.join(named)}")

    @property
    def only_redis_away(self) -> bool:
        """Whether nothing is wrong but that Redis is away: the next run does what this one could not."""
        return all(is_redis_away(error) for error in self.failed.values())


def innermost(failed: Mapping[str, Exception]) -> Iterator[tuple[str, Exception]]:
    """The parts that failed, by name. A part may itself consist of parts; then theirs are meant."""
    for name, error in failed.items():
        if isinstance(error, PartsFailed):
            yield from ((f"{name}, {inner}", why) for inner, why in error.failed.items())
        else:
            yield name, error


def run_isolated(parts: Mapping[str, Callable[[], Any]], enough: float = math.inf) -> None:
    """Run every part, even if others fail; stop when `enough` in a row failed because Postgres or Redis is away.

    Raises PartsFailed at the end if any failed, so that the job counts as failed.
    """
    failed: dict[str, Exception] = {}
    away = 0
    for name, part in parts.items():
        try:
            part()
            away = 0
        except Exception as error:
            db.session.remove()
            report(name, error)
            failed[name] = error
            away = away + 1 if is_away(error) else 0
        if away >= enough:
            break
    if failed:
        raise PartsFailed(failed)


def report(name: str, error: Exception) -> None:
    """Log a part that failed. An outage of Redis is nobody's fault here: a warning, and the next run catches up."""
    extra = {"event": "periodic.part_failed", "part": name}
    if is_redis_away(error) or (isinstance(error, PartsFailed) and error.only_redis_away):
        log.warning("part failed: Redis is away", extra={**extra, "error": type(error).__name__})
    else:
        log.error("part failed", extra=extra, exc_info=error)


def is_redis_away(error: Exception) -> bool:
    return isinstance(error, RedisConnectionError | RedisTimeoutError | OSError)


def is_away(error: Exception) -> bool:
    """Whether Postgres or Redis caused the error, and not the part."""
    return is_outage(error) or is_redis_away(error)


def in_transaction(work: Callable[..., Any], *args: Any) -> Callable[[], None]:
    """A part that does the work in a transaction of its own."""

    def part() -> None:
        with transaction() as session:
            work(session, *args)

    return part


def one_by_one(
    find: Callable[[DbSession], Iterable[tuple[str, Any]]], work: Callable[[DbSession, Any], Any]
) -> Callable[[], None]:
    """A part that finds what is due, by name, and does the work for each in a transaction of its own."""

    def part() -> None:
        with transaction() as session:
            due = dict(find(session))
        run_isolated({name: in_transaction(work, item) for name, item in due.items()}, enough=ENOUGH)

    return part
