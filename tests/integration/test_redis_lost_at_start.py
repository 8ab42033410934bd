"""Redis lost between the taking of a pointer and its job's first line: the message is due again at once."""

from __future__ import annotations

import threading

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from rq.registry import FailedJobRegistry
from sqlalchemy.exc import OperationalError

from flaskapp.travel_claims.service import TRAVEL_CLAIMS
from jobs.engine import runner
from jobs.worker import Bulkhead, Fetcher
from outbox import rq_side
from outbox.rq_side import open_queue
from tests.product import eventually


def raising(error):
    def fail(*args):
        raise error

    return fail


class LostWhenNoted(Fetcher):
    """Redis does not answer when the job is recorded as started."""

    def begin(self, runs):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rq_side, "note_begun", raising(RedisConnectionError()))
            super().begin(runs)


class LostWhenRun(Fetcher):
    """Postgres grants nothing when it is asked for several, and Redis does not answer when the job is run by itself."""

    def follow(self, pointers):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runner, "grant_all", raising(OperationalError("grant", None, Exception("away"))))
            super().follow(pointers)

    def perform_job(self, job, queue, execution):
        raise RedisConnectionError


def take_one(product, kind):
    """A fetcher of this kind takes the pointer of a claim and gets as far as it can; its threads end with it."""
    product.ask(product.sign_in())
    product.beat()
    product.relay.run_once()
    bulkhead = Bulkhead(TRAVEL_CLAIMS)
    fetcher = kind(product.app, product.redis, bulkhead, "fetcher", threading.Event())
    bulkhead.slots.acquire()
    try:
        fetcher.execute_job(fetcher.dequeue(1), fetcher.queues[0])
    finally:
        bulkhead.pool.shutdown()
        assert not bulkhead.running


def state(product):
    return product.value("SELECT state FROM outbox_messages WHERE queue = 'travel_claims'")


def test_a_job_that_could_not_be_recorded_as_started_is_ready_again_at_once(product):
    with pytest.raises(RedisConnectionError):
        take_one(product, LostWhenNoted)
    assert state(product) == "ready"


def test_a_job_that_could_not_be_run_is_ready_again_at_once_and_is_done_once(product):
    take_one(product, LostWhenRun)
    assert state(product) == "ready"
    product.work()
    assert (len(product.submits()), len(product.filed())) == (1, 1)


def test_a_job_whose_end_redis_did_not_confirm_is_neither_repeated_nor_a_failure(product, caplog, monkeypatch):
    """Redis does not learn that the job was done, and answers again soon afterwards."""
    with monkeypatch.context() as patch:
        patch.setattr(rq_side, "note_ended", raising(RedisConnectionError()))
        take_one(product, Fetcher)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
    assert len(FailedJobRegistry(queue=open_queue(product.redis, TRAVEL_CLAIMS.name))) == 0
    product.work()
    eventually(lambda: len(product.phone()) == 1)
    assert len(product.submits()) == 1
