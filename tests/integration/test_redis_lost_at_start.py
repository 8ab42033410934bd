"""Redis is lost between the taking of a pointer and its job's first line: nobody waits half a minute to miss it."""

from __future__ import annotations

import threading

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from rq.registry import FailedJobRegistry

from flaskapp.queues import TRAVEL_CLAIMS
from jobs.worker import Fetcher, Lane
from outbox.rq_side import open_queue
from tests.house import eventually


class LostWhenNoted(Fetcher):
    """Redis does not answer when the job is to be noted as begun."""

    def prepare_execution(self, job):
        raise RedisConnectionError


class LostWhenRun(Fetcher):
    """Redis does not answer when the job is to be run."""

    def perform_job(self, job, queue, execution):
        raise RedisConnectionError


class LostWhenDone(Fetcher):
    """Redis does not hear that the job was done, and answers again a moment later."""

    def handle_job_success(self, job, queue, started_job_registry, execution):
        raise RedisConnectionError


def take_one(house, kind):
    """A fetcher of this kind takes the pointer of a claim and gets as far as it does; its threads end with it."""
    house.ask(house.sign_in())
    house.beat()
    house.relay.run_once()
    lane = Lane(TRAVEL_CLAIMS)
    fetcher = kind(house.app, house.redis, lane, "fetcher", threading.Event())
    lane.slots.acquire()
    try:
        fetcher.execute_job(*fetcher.dequeue())
    finally:
        lane.pool.shutdown()
        assert not lane.running


def state(house):
    return house.value("SELECT state FROM outbox_messages WHERE queue = 'travel_claims'")


def test_a_job_that_could_not_be_noted_waits_in_postgres_at_once(house):
    with pytest.raises(RedisConnectionError):
        take_one(house, LostWhenNoted)
    assert state(house) == "ready"


def test_a_job_that_could_not_be_run_waits_in_postgres_at_once_and_is_done_once(house):
    take_one(house, LostWhenRun)
    assert state(house) == "ready"
    house.work()
    assert (len(house.submits()), len(house.filed())) == (1, 1)


def test_a_job_whose_end_was_not_heard_is_not_done_again_and_no_failure(house, caplog):
    take_one(house, LostWhenDone)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
    assert len(FailedJobRegistry(queue=open_queue(house.redis, TRAVEL_CLAIMS.name))) == 0
    house.work()
    eventually(lambda: len(house.phone()) == 1)
    assert len(house.submits()) == 1
