"""Redis lost between the taking of a pointer and its job's first line: the message is due again at once."""

from __future__ import annotations

import threading

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from rq.registry import FailedJobRegistry

from flaskapp.travel_claims.service import TRAVEL_CLAIMS
from jobs.worker import Bulkhead, Fetcher
from outbox.rq_side import open_queue
from tests.product import eventually


class LostWhenNoted(Fetcher):
    """Redis does not answer when the job is recorded as started."""

    def prepare_execution(self, job):
        raise RedisConnectionError


class LostWhenRun(Fetcher):
    """Redis does not answer when the job is run."""

    def perform_job(self, job, queue, execution):
        raise RedisConnectionError


class LostWhenDone(Fetcher):
    """Redis does not learn that the job was done, and answers again soon afterwards."""

    def handle_job_success(self, job, queue, started_job_registry, execution):
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
        fetcher.execute_job(*fetcher.dequeue())
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


def test_a_job_whose_end_redis_did_not_confirm_is_neither_repeated_nor_a_failure(product, caplog):
    take_one(product, LostWhenDone)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
    assert len(FailedJobRegistry(queue=open_queue(product.redis, TRAVEL_CLAIMS.name))) == 0
    product.work()
    eventually(lambda: len(product.phone()) == 1)
    assert len(product.submits()) == 1
