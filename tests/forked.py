"""What a test runs in a process of its own, beside others: started by `tests.forks`, so that it is imported once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

from redis import Redis

from flaskapp.config import from_env
from flaskapp.upstreams import build
from jobs.periodic.schedule import Periodic
from jobs.periodic.scheduler import LedgerScheduler
from jobs.processes import stop_on_signals


def fetch_tokens(environ: Mapping[str, str], test: Connection) -> None:
    """Fifty threads want the token of BTSSS at once, when the test says so. Everything that they got is sent to the
    test."""
    config = from_env(environ)
    tokens = build(config, Redis.from_url(config.redis_url)).btsss._tokens
    test.send("ready")
    test.recv()
    with ThreadPoolExecutor(50) as pool:
        test.send(set(pool.map(lambda _: tokens.get(), range(50))))


def fire_often(redis_url: str) -> None:
    """A scheduler with one periodic job, which counts the runs it begins, until Redis holds `over`."""
    redis = Redis.from_url(redis_url)
    scheduler = LedgerScheduler(redis, [Periodic("periodic-often", "jobs.often", 10)])
    redis.incr("present")
    while not redis.exists("over"):
        if scheduler.tick():
            redis.incr("fired")
        time.sleep(0.002)


class SlowFlag(threading.Event):
    """A flag during whose setting the second signal arrives, with the flag's own lock held."""

    def set(self) -> None:
        with self._cond:  # type: ignore[attr-defined]
            if not self._flag:  # type: ignore[attr-defined]
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.05)
            self._flag = True
            self._cond.notify_all()  # type: ignore[attr-defined]


def stop_while_stopping(test: Connection) -> None:
    # The tests themselves may run under `nohup`.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    stopping = SlowFlag()
    stop_on_signals(stopping)
    test.send("ready")
    stopping.wait()
    test.send("stopped")


def hang_up_under_nohup(test: Connection) -> None:
    """Sends whether a SIGHUP stopped it although its parent had it ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stopping = threading.Event()
    stop_on_signals(stopping)
    os.kill(os.getpid(), signal.SIGHUP)
    test.send(stopping.wait(0.1))
