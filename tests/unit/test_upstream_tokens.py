"""One token for all: shared through a real Redis, fetched once, and still there when Redis is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.fernet import Fernet
from redis import Redis

from flaskapp.upstreams.errors import Throttled, Unauthorized, Unavailable
from flaskapp.upstreams.tokens import cache as tokens_cache
from flaskapp.upstreams.tokens.cache import FetchedToken, TokenCache
from flaskapp.upstreams.tokens.store import ImpatientRedis
from sandbox.servers import EmbeddedValkey
from tests.forked import fetch_tokens
from tests.forks import forking
from tests.unit.loopback import closed_port, serving, silence, whole
from tests.unit.upstream_settings import ENVIRON

CIPHER = Fernet(Fernet.generate_key())


class Source:
    """Gives secret-1, secret-2, …; slow enough that many would call at once."""

    def __init__(self, seconds: float = 0.05, expires_in: float = 3600, error: Exception | None = None) -> None:
        self.seconds, self.expires_in, self.error = seconds, expires_in, error
        self.calls = 0

    def __call__(self) -> FetchedToken:
        self.calls += 1
        token = f"secret-{self.calls}"
        time.sleep(self.seconds)
        if self.error:
            raise self.error
        return FetchedToken(token, self.expires_in)


def cache(redis: Redis, source: Callable[[], FetchedToken], cipher: Fernet = CIPHER) -> TokenCache:
    """The cache as one process would build it."""
    return TokenCache(
        ImpatientRedis(redis), "test", source, encrypt=cipher.encrypt, decrypt=cipher.decrypt, fetch_seconds=2
    )


def all_outcomes(calls: list[Callable[[], str]]) -> list[str]:
    """What each call returns or raises; all are started together."""
    together = threading.Barrier(len(calls))

    def run(call: Callable[[], str]) -> str:
        together.wait(60)
        try:
            return call()
        except Exception as error:
            return repr(error)

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey.throwaway() as running:
        yield running


@pytest.fixture
def redis(server: EmbeddedValkey) -> Iterator[Redis]:
    with Redis.from_url(server.url) as client:
        client.flushall()
        yield client


@pytest.fixture
def no_redis() -> Redis:
    return Redis.from_url(closed_port().replace("http:", "redis:"))


def test_a_token_is_fetched_once_and_shared_by_processes(redis: Redis) -> None:
    source = Source()
    here, there = cache(redis, source), cache(redis, source)
    assert [here.get(), there.get(), here.get()] == ["secret-1"] * 3
    assert source.calls == 1


def test_many_threads_of_two_caches_make_one_call(redis: Redis) -> None:
    source = Source(0.2)
    here, there = cache(redis, source), cache(redis, source)
    assert set(all_outcomes([here.get, there.get] * 25)) == {"secret-1"}
    assert source.calls == 1


@pytest.mark.processes
def test_fifty_threads_in_each_of_two_processes_make_one_token_call(redis: Redis, server: EmbeddedValkey) -> None:
    def slow_token(sock: object) -> None:
        time.sleep(0.3)
        whole(200, {"access_token": "secret-1", "expires_in": 3600})(sock)  # type: ignore[arg-type]

    with serving(slow_token) as veis:
        environ = {**ENVIRON, "REDIS_URL": server.url, "VEIS_BASE_URL": veis.url}
        pipes = [forking.Pipe() for _ in range(2)]
        for _, there in pipes:
            forking.Process(target=fetch_tokens, args=(environ, there), daemon=True).start()
        for here, _ in pipes:
            assert here.poll(60) and here.recv() == "ready"
        for here, _ in pipes:
            here.send("go")
        answers = [here.recv() for here, _ in pipes if here.poll(60)]
    assert answers == [{"secret-1"}] * 2
    assert len(veis.received) == 1


def test_nothing_readable_is_in_redis(redis: Redis) -> None:
    cache(redis, Source()).get()
    kept = [redis.get(key) or b"" for key in redis.scan_iter()]
    assert kept and not any(b"secret" in value for value in kept)


def test_a_token_is_kept_for_its_lifetime_less_the_margin(redis: Redis) -> None:
    cache(redis, Source(expires_in=3600)).get()
    assert 3530 < redis.ttl("surefile:token:test") <= 3540


def test_an_ended_token_is_fetched_again(redis: Redis) -> None:
    source = Source(0, expires_in=0.1)
    tokens = cache(redis, source)
    assert tokens.get() == "secret-1"
    wait_until(lambda: not redis.exists("surefile:token:test"))
    assert tokens.get() == "secret-2"


def test_a_token_without_any_lifetime_is_used_once(redis: Redis) -> None:
    tokens = cache(redis, Source(0, expires_in=0))
    assert [tokens.get(), tokens.get()] == ["secret-1", "secret-2"]


def test_a_replaced_token_is_replaced_for_every_process(redis: Redis) -> None:
    source = Source()
    here, there = cache(redis, source), cache(redis, source)
    here.get(), there.get()
    assert here.replace("secret-1") == "secret-2"
    assert [there.get(), here.get()] == ["secret-2"] * 2


def test_a_token_is_replaced_once_in_a_while_whoever_was_refused(redis: Redis) -> None:
    source = Source()
    for _ in range(5):
        for process in (cache(redis, source), cache(redis, source)):
            assert process.replace(process.get()) == "secret-2"
    assert source.calls == 2
    assert 50 < redis.ttl("surefile:token:test:replaced") <= 60
    redis.delete("surefile:token:test:replaced")
    assert cache(redis, source).replace("secret-1") == "secret-2", "an old one"
    assert cache(redis, source).replace("secret-2") == "secret-3"


def test_a_token_stays_with_all_while_no_other_can_be_had(redis: Redis) -> None:
    source = Source()
    here, there = cache(redis, source), cache(redis, source)
    token = here.get()
    source.error = Throttled("veis", "full", retry_after=60)
    assert here.replace(token) == there.get() == here.get() == token and source.calls == 2
    assert 3500 < redis.ttl("surefile:token:test") <= 3540


def test_without_redis_a_process_replaces_its_token_as_seldom(no_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source()
    process = cache(no_redis, source)
    assert process.replace(process.get()) == process.replace("secret-2") == process.get() == "secret-2"
    monkeypatch.setattr(tokens_cache, "REPLACE_SECONDS", 0)
    process = cache(no_redis, source)
    assert process.get() == "secret-3"
    source.error = Throttled("veis", "full", retry_after=60)
    assert process.replace("secret-3") == process.get() == "secret-3" and source.calls == 4
    source.error = None
    assert process.replace("secret-3") == process.get() == "secret-5"


def test_replacing_an_old_token_leaves_its_successor(redis: Redis) -> None:
    source = Source()
    here, there = cache(redis, source), cache(redis, source)
    there.get()
    assert here.replace("secret-1") == there.replace("secret-1") == "secret-2"
    assert source.calls == 2


def test_a_token_sealed_with_a_retired_key_is_fetched_again(redis: Redis) -> None:
    source = Source()
    cache(redis, source, Fernet(Fernet.generate_key())).get()
    assert cache(redis, source).get() == "secret-2"


@pytest.mark.parametrize(
    "error",
    [Unauthorized("veis", "bad secret", http_status=401), Throttled("veis", "slow down", retry_after=7.0)],
)
def test_a_failing_refresh_reaches_every_waiter_at_once(redis: Redis, error: Unauthorized | Throttled) -> None:
    source = Source(1.5, error=error)
    here, there = cache(redis, source), cache(redis, source)
    caught: list[Unauthorized | Throttled] = []

    def get(tokens: TokenCache) -> str:
        try:
            return tokens.get()
        except (Unauthorized, Throttled) as failure:
            caught.append(failure)
            raise

    started = time.monotonic()
    outcomes = all_outcomes([lambda: get(here), lambda: get(there)] * 20)
    assert time.monotonic() - started < 15
    assert set(outcomes) == {repr(error)}
    assert {(type(one), one.detail, one.http_status, one.retry_after) for one in caught} == {
        (type(error), error.detail, error.http_status, error.retry_after)
    }
    assert len({id(one) for one in caught}) == 40
    assert source.calls == 1


def test_a_failure_is_not_kept_for_those_who_come_later(redis: Redis) -> None:
    source = Source(0, error=Unavailable("veis"))
    tokens = cache(redis, source)
    with pytest.raises(Unavailable):
        tokens.get()
    source.error = None
    assert tokens.get() == "secret-2"


def test_a_refresh_that_breaks_off_leaves_nobody_waiting(redis: Redis) -> None:
    tokens = cache(redis, Source(1.0, error=ZeroDivisionError()))
    outcomes = all_outcomes([tokens.get] * 5)
    assert outcomes.count("ZeroDivisionError()") == 1
    assert sum("Unavailable" in outcome for outcome in outcomes) == 4
    assert not redis.exists("surefile:token:test:refresher")


def test_the_lock_of_a_dead_process_ends_and_another_one_fetches(redis: Redis) -> None:
    started = time.monotonic()
    redis.set("surefile:token:test:refresher", "a process that died", px=300)
    assert cache(redis, Source(0)).get() == "secret-1"
    assert 0.29 < time.monotonic() - started < 20


def test_a_lock_taken_over_is_not_released_by_its_old_owner(redis: Redis) -> None:
    class TakenOver(Source):
        def __call__(self) -> FetchedToken:
            redis.set("surefile:token:test:refresher", "the next refresher")
            return super().__call__()

    cache(redis, TakenOver(0)).get()
    assert redis.get("surefile:token:test:refresher") == b"the next refresher"


def test_without_redis_the_process_fetches_once_for_itself(no_redis: Redis) -> None:
    source = Source(0.2)
    tokens = cache(no_redis, source)
    assert set(all_outcomes([tokens.get] * 25)) == {"secret-1"}
    assert tokens.get() == "secret-1"
    assert tokens.replace("secret-1") == "secret-2"
    assert source.calls == 2


def test_an_ended_token_is_not_used_without_redis_either(no_redis: Redis) -> None:
    source = Source(0, expires_in=0.1)
    tokens = cache(no_redis, source)
    tokens.get()
    wait_until(lambda: tokens.get() == "secret-2")


def test_a_redis_that_never_answers_costs_all_callers_together_one_wait() -> None:
    with serving(silence) as black_hole:
        source = Source(0)
        tokens = cache(Redis.from_url(black_hole.url.replace("http:", "redis:")), source)
        started = time.monotonic()
        assert set(all_outcomes([tokens.get] * 25)) == {"secret-1"}
        assert time.monotonic() - started < 6
        assert tokens.replace("secret-1") == "secret-2"
        assert time.monotonic() - started < 6


def test_a_flushed_redis_and_a_failing_service_leave_the_token_that_works(redis: Redis) -> None:
    source = Source()
    tokens = cache(redis, source)
    tokens.get()
    redis.flushall()
    source.error = Unavailable("veis")
    assert tokens.get() == "secret-1"


def test_redis_is_shared_again_once_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flaskapp.upstreams.tokens.store.REST_SECONDS", 0.05)
    with EmbeddedValkey.throwaway() as server, Redis.from_url(server.url) as redis:
        source = Source(0)
        here, there = cache(redis, source), cache(redis, source)
        here.get()
        server.stop()
        assert here.get() == "secret-1"
        server.start()
        wait_until(lambda: here.get() and redis.exists("surefile:token:test") == 1)
        assert there.get() == here.get()


def wait_until(holds: Callable[[], object], seconds: float = 60) -> None:
    ends_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends_at, "it did not come in time"
        time.sleep(0.02)
