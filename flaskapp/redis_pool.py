"""Redis clients with few, bounded connections: hosted plans allow twenty in all, and Redis may be away."""

from __future__ import annotations

from contextlib import suppress

from redis import BlockingConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from flaskapp.config import Config

# The token cache adds one, and in a web process the dashboard adds two: six in all.
REDIS_CONNECTIONS = 3
REDIS_WAIT_SECONDS = 5.0
# A key that is written to find out whether Redis takes writes.
PROOF = "surefile:writable"


def with_tls_choice(url: str, verify_tls: bool) -> str:
    """The URL, with certificate checks off if so configured: RQ's tools take that only as a part of the URL.

    Heroku's `rediss://` shows a self-signed chain.
    """
    if verify_tls or not url.startswith("rediss://") or "ssl_cert_reqs=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=none"


def bounded_pool(url: str, verify_tls: bool, connections: int) -> BlockingConnectionPool:
    """A pool of at most so many connections; a caller waits a second for one, and two for Redis to answer.

    A call is repeated once, at once, for connections that the router has closed. The default's growing waits would
    hold up the request.
    """
    return BlockingConnectionPool.from_url(
        with_tls_choice(url, verify_tls),
        max_connections=connections,
        timeout=1,
        socket_connect_timeout=1,
        socket_timeout=2,
        retry=Retry(NoBackoff(), 1),
    )


def open_redis(config: Config, connections: int = REDIS_CONNECTIONS) -> Redis:
    """A client with at most so many connections; a caller waits for a free one instead of opening another."""
    pool = bounded_pool(config.redis_url, config.redis_verify_tls, connections)
    pool.timeout = REDIS_WAIT_SECONDS
    return Redis(connection_pool=pool)


def refuse_redis_cluster(redis: Redis) -> None:
    """Stop the start in one line where Redis is a cluster. While Redis is away, nobody can tell."""
    cluster = False
    with suppress(RedisError, OSError):
        cluster = bool(int(redis.info("cluster").get("cluster_enabled", 0)))
    if cluster:
        raise SystemExit(
            "surefile: REDIS_URL is a Redis Cluster, which has no transactions over several keys and so cannot carry"
            " RQ's queues: use a single Redis, with a replica if you like"
        )


def redis_state(redis: Redis) -> str:
    """`ok` where Redis takes writes, `read-only` (a replica, full, or not able to save), or `away`."""
    try:
        redis.set(PROOF, 1, ex=60)
    except ResponseError:
        # It answers, and refuses to write.
        return "read-only"
    except (RedisError, OSError):
        return "away"
    return "ok"
