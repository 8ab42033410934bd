"""A token for each person: fetched once for many callers, separate from all others, and unreadable in every store."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from flaskapp.upstreams import build
from flaskapp.upstreams.errors import Rejected
from flaskapp.upstreams.tokens import person
from flaskapp.upstreams.tokens.cache import FetchedToken
from flaskapp.upstreams.tokens.person import PersonTokens, Traveler
from flaskapp.upstreams.tokens.store import ImpatientRedis
from sandbox.servers import EmbeddedValkey
from tests.unit.loopback import Reply, closed_port, serving, whole
from tests.unit.test_upstream_tokens import CIPHER, all_outcomes
from tests.unit.travel_pay import ADA, BY_GATEWAY, envelope
from tests.unit.upstream_settings import ENVIRON, settings

BOB = Traveler("7f6e5d4c-0000-4000-8000-000000000002", "1012345678V654321", "bob@example.test")
VEIS = {"access_token": "veis-1", "expires_in": "3599"}
VOUCHED = {"data": {"access_token": "vouched-1"}}
PERSONAL = envelope({"accessToken": "personal-1"})
LISTED = whole(200, envelope([]))


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey.throwaway() as running:
        yield running


@pytest.fixture
def redis(server: EmbeddedValkey) -> Iterator[Redis]:
    with Redis.from_url(server.url) as client:
        client.flushall()
        yield client


class Source:
    """Gives <icn>-1, <icn>-2, …, or the same refusal to everybody. A refusal is not kept, so it comes only when all who
    ask at once are sure to wait for it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.travelers: list[Traveler] = []

    def __call__(self, traveler: Traveler) -> FetchedToken:
        self.travelers.append(traveler)
        time.sleep(1.0 if self.error else 0.05)
        if self.error:
            raise self.error
        return FetchedToken(f"{traveler.icn}-{len(self.travelers)}", 3300)


def tokens_of(redis: Redis, source: Source) -> PersonTokens:
    """The cache as one process would build it."""
    return PersonTokens(
        ImpatientRedis(redis),
        "travel_pay",
        source,
        encrypt=CIPHER.encrypt,
        decrypt=CIPHER.decrypt,
        digest_key="d" * 32,
        fetch_seconds=2,
    )


def test_everybody_has_a_token_of_their_own_in_every_process(redis: Redis) -> None:
    source = Source()
    here, there = tokens_of(redis, source), tokens_of(redis, source)
    assert here.get(ADA) == there.get(ADA) == f"{ADA.icn}-1"
    assert here.get(BOB) == there.get(BOB) == f"{BOB.icn}-2"
    assert here.replace(ADA, f"{ADA.icn}-1") == here.replace(ADA, f"{ADA.icn}-3") == f"{ADA.icn}-3"
    assert (there.get(BOB), there.get(ADA)) == (f"{BOB.icn}-2", f"{ADA.icn}-3")


def test_an_account_that_now_belongs_to_another_person_does_not_get_the_old_token(redis: Redis) -> None:
    tokens = tokens_of(redis, Source())
    merged = Traveler(ADA.account_id, BOB.icn, ADA.email)
    assert tokens.get(ADA) == f"{ADA.icn}-1" and tokens.get(merged) == f"{BOB.icn}-2"


def test_redis_holds_nothing_that_names_a_person(redis: Redis) -> None:
    tokens_of(redis, Source()).get(ADA)
    stored = b"".join(key + (redis.get(key) or b"") for key in redis.scan_iter())
    assert b"surefile:token:travel_pay:" in stored
    assert not any(part.encode() in stored for part in (ADA.account_id, ADA.icn, ADA.email))


def test_a_persons_refusal_reaches_all_their_callers_and_costs_one_call(redis: Redis) -> None:
    source = Source(Rejected("travel_pay", "No profile.", http_status=403, code="REFUSED"))
    here, there = tokens_of(redis, source), tokens_of(redis, source)
    outcomes = all_outcomes([lambda: here.get(ADA), lambda: there.get(ADA)] * 10)
    assert set(outcomes) == {repr(source.error)} and source.travelers == [ADA]
    with pytest.raises(Rejected) as caught:
        here.get(ADA)
    assert (caught.value.upstream, caught.value.code) == ("travel_pay", "REFUSED")


def test_a_process_remembers_those_it_served_last_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Redis the tokens are only in the process, so a token that it has forgotten is fetched again."""
    monkeypatch.setattr(person, "MOST_REMEMBERED", 2)
    source = Source()
    tokens = tokens_of(Redis.from_url(closed_port().replace("http:", "redis:")), source)
    others = [Traveler(f"account-{number}", f"icn-{number}", "x@example.test") for number in range(2)]
    for traveler in (ADA, others[0], ADA, others[1], ADA, others[0]):
        tokens.get(traveler)
    assert source.travelers == [ADA, *others, others[0]]


@pytest.mark.parametrize("revoked", ["veis", "personal"])
def test_the_first_call_that_a_revoked_token_fails_replaces_it_for_every_process(redis: Redis, revoked: str) -> None:
    refusal = BY_GATEWAY if revoked == "veis" else envelope(None, 401, "Not valid.")
    fresh = whole(200, envelope({"accessToken": "personal-2"}))
    with (
        serving(whole(200, VEIS), whole(200, {**VEIS, "access_token": "veis-2"})) as veis,
        serving(whole(200, VOUCHED)) as sts,
        serving(whole(200, PERSONAL), whole(401, refusal), *([fresh] * (revoked == "personal")), LISTED) as api,
    ):
        config = settings(veis_base_url=veis.url, sts_base_url=sts.url, travel_pay_base_url=api.url)
        here, there = build(config, redis), build(config, redis)
        for clients in (here, there, there, here):
            assert clients.travel_pay.list_claims(ADA, total_seconds=30).items == ()
        last = [received.headers for received in api.received[-4:]]
    tokens = ("veis-2", "personal-1") if revoked == "veis" else ("veis-1", "personal-2")
    assert {(one["authorization"], one["btsss-access-token"]) for one in last} == {(f"Bearer {tokens[0]}", tokens[1])}
    assert (len(veis.received), len(sts.received)) == ((2, 1) if revoked == "veis" else (1, 2))


# Forked before any thread is started: four processes for the price of one import.
CROWDS = """
import os
from contextlib import suppress
from concurrent.futures import ThreadPoolExecutor
from redis import Redis
from flaskapp.config import from_env
from flaskapp.upstreams import build
from flaskapp.upstreams.tokens.person import Traveler
config = from_env(os.environ)
traveler = Traveler("account-1", "1012345678V123456", "ada@example.test")
forks = [os.fork() for _ in range(2)]
reads = build(config, Redis.from_url(config.redis_url)).travel_pay
with ThreadPoolExecutor(50) as pool:
    listed = sum(map(len, pool.map(lambda _: reads.list_claims(traveler, total_seconds=60).items, range(50))))
os.write(1, f"{listed}\\n".encode())
with suppress(ChildProcessError):
    while True:
        os.wait()
"""


def slowly(reply: Reply) -> Reply:
    """Slow enough that all callers would call at once."""

    def answer(sock: object) -> None:
        time.sleep(0.1)
        reply(sock)  # type: ignore[arg-type]

    return answer


@pytest.mark.processes
def test_two_hundred_callers_in_four_processes_cost_one_veis_token_and_one_exchange(
    redis: Redis, server: EmbeddedValkey
) -> None:
    claim = whole(200, envelope([{"id": "c1", "claimStatus": "Saved"}]))
    with (
        serving(slowly(whole(200, VEIS))) as veis,
        serving(slowly(whole(200, VOUCHED))) as sts,
        serving(slowly(whole(200, PERSONAL)), claim) as api,
    ):
        urls = {"REDIS_URL": server.url, "VEIS_BASE_URL": veis.url, "STS_BASE_URL": sts.url}
        environ = {**ENVIRON, **urls, "TRAVEL_PAY_BASE_URL": api.url, "PATH": os.environ["PATH"]}
        argv, root = [sys.executable, "-c", CROWDS], Path(__file__).parents[2]
        answers = subprocess.check_output(argv, env=environ, cwd=root, text=True, timeout=150)
    assert answers == "50\n" * 4
    exchanges = [received for received in api.received if "access-token" in received.line]
    assert (len(veis.received), len(sts.received), len(exchanges)) == (1, 1, 1)
    assert len(api.received) == 201
