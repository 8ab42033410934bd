"""The tokens of a process share one connection to Redis, because it has tokens for several upstreams and few
connections."""

from __future__ import annotations

import time

from redis import Redis

from flaskapp.upstreams import build
from flaskapp.upstreams.tokens.cache import TokenCache
from flaskapp.upstreams.tokens.store import ImpatientRedis
from sandbox.servers import EmbeddedValkey
from tests.unit.loopback import serving, silence, whole
from tests.unit.test_upstream_tokens import CIPHER, Source, all_outcomes
from tests.unit.upstream_settings import settings


def test_the_tokens_of_a_process_are_kept_separately_over_one_connection() -> None:
    with (
        EmbeddedValkey.throwaway() as server,
        Redis.from_url(server.url) as redis,
        serving(whole(200, {"access_token": "for-veis", "expires_in": 600})) as veis,
        serving(whole(200, {"access_token": "for-lighthouse", "expires_in": 600})) as lighthouse,
    ):
        before = redis.info("stats")["total_connections_received"]
        clients = build(settings(veis_base_url=veis.url, lighthouse_token_url=lighthouse.url), redis)
        caches = clients.btsss._tokens, clients.lighthouse_claims._tokens
        outcomes = all_outcomes([cache.get for cache in caches] * 20)
        assert set(outcomes[::2]) == {"for-veis"} and set(outcomes[1::2]) == {"for-lighthouse"}
        assert (len(veis.received), len(lighthouse.received)) == (1, 1)
        assert set(redis.scan_iter()) == {b"surefile:token:veis", b"surefile:token:lighthouse_claims"}
        assert redis.info("stats")["total_connections_received"] == before + 1


def test_sharing_a_redis_that_never_answers_costs_all_callers_together_one_wait() -> None:
    with serving(silence) as black_hole:
        redis = ImpatientRedis(Redis.from_url(black_hole.url.replace("http:", "redis:")))
        caches = [
            TokenCache(redis, name, Source(0), encrypt=CIPHER.encrypt, decrypt=CIPHER.decrypt, fetch_seconds=2)
            for name in ("one", "two")
        ]
        started = time.monotonic()
        assert set(all_outcomes([cache.get for cache in caches] * 10)) == {"secret-1"}
        assert time.monotonic() - started < 5
