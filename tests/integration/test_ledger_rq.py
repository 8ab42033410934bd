"""Jobs that RQ may run out of Redis: our own callables, carried as JSON, and nothing that a stranger wrote there."""

from __future__ import annotations

import json
import pickle
import socket
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from rq.job import Job

from jobs.worker import Bulkhead, Fetcher
from outbox import rq_side
from outbox.rq_side import LedgerJob
from tests.ledger import CALLS, Ledger

RAN: list[Any] = []
HERE = "tests.integration.test_ledger_rq"


def allowed(*arguments: Any) -> None:
    RAN.append(arguments)


def forbidden(*arguments: Any) -> None:
    RAN.append(("forbidden", *arguments))


class Bomb:
    def __reduce__(self) -> Any:
        return (forbidden, ("pickled",))


@pytest.fixture(autouse=True)
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    RAN.clear()
    monkeypatch.setattr(LedgerJob, "allowed", frozenset({f"{HERE}.allowed"}))


def plant(ledger: Ledger, data: bytes, **fields: str) -> None:
    """Write a job as an intruder in Redis would: a hash and an entry in the queue."""
    values: dict[Any, Any] = {
        "data": data,
        "status": "queued",
        "origin": CALLS.name,
        "created_at": "2031-03-04T05:06:07.000000Z",
    }
    ledger.redis.hset("rq:job:planted", mapping=values | {"description": "harmless", "timeout": "60"} | fields)
    ledger.redis.rpush(f"rq:queue:{CALLS.name}", "planted")


def call(path: str, *arguments: Any, instance: Any = None) -> bytes:
    return json.dumps([path, instance, arguments, {}]).encode()


def run_next(ledger: Ledger) -> None:
    """Take one job as the worker process does, and run it to its end on a thread of its bulkhead."""
    bulkhead = Bulkhead(CALLS)
    fetcher = Fetcher(Flask("toy"), ledger.redis, bulkhead, "fetcher", threading.Event())
    bulkhead.slots.acquire()
    fetcher.execute_job(fetcher.dequeue(1), fetcher.queues[0])
    bulkhead.pool.shutdown(wait=True)


def failure(ledger: Ledger) -> str:
    job: Job = LedgerJob.fetch("planted", connection=ledger.redis)
    assert job.is_failed
    result = job.latest_result()
    assert result is not None
    return str(result.exc_string)


def test_a_pointer_runs_its_job_with_message_and_fence(ledger: Ledger) -> None:
    rq_side.push(ledger.redis, CALLS.name, [(4, f"{HERE}.allowed")], 9, 60)
    run_next(ledger)
    assert RAN == [(4, 9)]


def test_a_planted_shell_command_does_not_run(ledger: Ledger, tmp_path: Path) -> None:
    plant(ledger, call("os.system", f"touch {tmp_path}/owned"))
    run_next(ledger)
    assert "ForbiddenCallable" in failure(ledger)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", [f"{HERE}.forbidden", f"{HERE}.allowed.__call__", "builtins.eval", "jobs.cli.attach"])
def test_no_callable_outside_the_list_runs(ledger: Ledger, path: str) -> None:
    plant(ledger, call(path, "RAN.append(1)"))
    run_next(ledger)
    assert "ForbiddenCallable" in failure(ledger)
    assert RAN == []


def test_a_method_of_a_planted_instance_does_not_run(ledger: Ledger) -> None:
    plant(ledger, call(f"{HERE}.allowed", 1, instance={"allowed": 1}))
    run_next(ledger)
    assert "ForbiddenCallable" in failure(ledger)
    assert RAN == []


def test_a_pickled_payload_is_not_opened(ledger: Ledger) -> None:
    plant(ledger, pickle.dumps(Bomb()))
    run_next(ledger)
    assert RAN == []
    failure(ledger)


@pytest.mark.parametrize("name", ["success_callback_name", "failure_callback_name", "stopped_callback_name"])
@pytest.mark.parametrize("path", ["allowed", "forbidden"])
def test_a_planted_callback_does_not_run(ledger: Ledger, name: str, path: str) -> None:
    plant(ledger, call(f"{HERE}.{path}", 1), **{name: f"{HERE}.forbidden"})
    run_next(ledger)
    assert all(arguments == (1,) for arguments in RAN)
    assert len(RAN) == (path == "allowed")


@pytest.mark.parametrize(("path", "ending"), [("allowed", "finished"), ("forbidden", "failed")])
def test_a_planted_webhook_is_not_called(ledger: Ledger, path: str, ending: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        stranger.setblocking(False)
        hook = {"url": f"http://127.0.0.1:{stranger.getsockname()[1]}/", "job_status": ending, "timeout": 1}
        plant(ledger, call(f"{HERE}.{path}", 1), webhooks=json.dumps([{**hook, "method": "POST", "headers": None}]))
        run_next(ledger)
        with pytest.raises(BlockingIOError):
            stranger.accept()


def test_without_a_list_no_job_runs(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LedgerJob, "allowed", frozenset())
    plant(ledger, call(f"{HERE}.allowed", 1))
    run_next(ledger)
    assert RAN == []


@pytest.mark.parametrize(
    ("identifier", "pointer"),
    [("12-34", (12, 34)), ("periodic-sweep", None), ("12", None), ("12-", None), ("-5-6", None), ("a1b2-3", None)],
)
def test_only_ids_of_our_shape_are_pointers(identifier: str, pointer: tuple[int, int] | None) -> None:
    assert rq_side.read_job_id(identifier) == pointer


def test_a_job_is_json_in_redis_with_a_plain_description(ledger: Ledger) -> None:
    rq_side.push(ledger.redis, CALLS.name, [(4, f"{HERE}.allowed")], 9, 60)
    job: Job = LedgerJob.fetch("4-9", connection=ledger.redis)
    assert json.loads(job.data) == [f"{HERE}.allowed", None, [4, 9], {}]
    assert job.description == "allowed, message 4"
    assert job.retries_left is None


def test_pointers_are_queued_in_the_order_given(ledger: Ledger) -> None:
    rq_side.push(ledger.redis, CALLS.name, [(3, f"{HERE}.allowed"), (1, f"{HERE}.allowed")], 9, 60)
    assert ledger.waiting() == [(3, 9), (1, 9)]


@pytest.fixture
def learning_anew() -> Iterator[None]:
    rq_side.shared_fields.cache_clear()
    yield
    rq_side.shared_fields.cache_clear()


def written(ledger: Ledger, identifier: str) -> dict[bytes, bytes]:
    """The hash of a job, without what no two have alike: its times, and how its call is packed."""
    found = ledger.redis.hgetall(f"rq:job:{identifier}")
    assert {len(found.pop(name)) for name in (b"created_at", b"enqueued_at")} == {len("2031-03-04T05:06:07.000000Z")}
    packed = found[b"data"]
    return {**found, b"data": packed if packed.startswith(b"[") else zlib.decompress(packed)}


def push_both(ledger: Ledger) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """One pointer as we push it, and as RQ enqueues it, in this order in one queue."""
    rq_side.push(ledger.redis, CALLS.name, [(4, f"{HERE}.allowed")], 9, 60)
    ours, queues = written(ledger, "4-9"), ledger.redis.smembers("rq:queues")
    ledger.redis.delete("rq:job:4-9", "rq:queues")
    data = rq_side.as_rq_data([(4, f"{HERE}.allowed")], 9, 60)
    rq_side.open_queue(ledger.redis, CALLS.name).enqueue_many(data)
    assert ledger.waiting() == [(4, 9), (4, 9)]
    assert queues == ledger.redis.smembers("rq:queues")
    return ours, written(ledger, "4-9")


@pytest.mark.usefixtures("learning_anew")
def test_a_pointer_is_written_as_rq_would_write_it(ledger: Ledger) -> None:
    ours, by_rq = push_both(ledger)
    assert ours == by_rq and len(ours) > 10
    assert rq_side.shared_fields(CALLS.name, 60) is not None


@pytest.mark.usefixtures("learning_anew")
def test_a_field_that_rq_gives_to_every_job_is_learned(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    by_rq = Job.to_dict
    monkeypatch.setattr(Job, "to_dict", lambda self, **options: {**by_rq(self, **options), "new": "everywhere"})
    assert push_both(ledger)[0][b"new"] == b"everywhere"
    assert rq_side.shared_fields(CALLS.name, 60) is not None


def with_a_field_of_its_own(patch: pytest.MonkeyPatch) -> None:
    by_rq = Job.to_dict
    patch.setattr(Job, "to_dict", lambda self, **options: {**by_rq(self, **options), "new": self.id})


def with_one_more_command(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Job, "cleanup", lambda self, pipeline, **options: pipeline.hset("rq:new", self.id, 1))


@pytest.mark.usefixtures("learning_anew")
@pytest.mark.parametrize("differing", [with_a_field_of_its_own, with_one_more_command])
def test_where_rq_does_something_else_it_enqueues_by_itself(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, differing: Any
) -> None:
    differing(monkeypatch)
    ours, by_rq = push_both(ledger)
    assert ours == by_rq
    assert rq_side.shared_fields(CALLS.name, 60) is None
    assert [vars(record)["event"] for record in caplog.records] == ["outbox.rq_differs"]


@pytest.mark.usefixtures("learning_anew")
def test_where_rq_would_read_what_we_write_as_something_else_it_enqueues_by_itself(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rq_side, "as_data", lambda path, message_id, fence: f'["{path}", null, [{fence}], {{}}]')
    ours, by_rq = push_both(ledger)
    assert ours == by_rq
