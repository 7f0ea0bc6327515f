"""The addresses of Redis: a server or a cluster for the cache, a server or Sentinels for
the queue.
"""

from __future__ import annotations

from typing import Any

from redis.backoff import NoBackoff
from redis.retry import Retry

from config import environment


def cache(user: str, password: str, seconds: float) -> dict[str, Any]:
    """Return a cache alias with these time-outs for a connection and for an answer.

    A cache that is down must cost a request milliseconds, not an error or a wait.
    """
    options: dict[str, Any] = {
        "PASSWORD": password,
        "SERIALIZER": "scaleout.caching.serializer.JSONSerializer",
        "IGNORE_EXCEPTIONS": True,
        "SOCKET_CONNECT_TIMEOUT": seconds,
        "SOCKET_TIMEOUT": seconds,
    }
    location: str | list[str]
    if nodes := environment.words("REDIS_CLUSTER_NODES"):
        location = [f"redis://{node}:6379" for node in nodes]
        options["USERNAME"] = user
        options["CLIENT_CLASS"] = "scaleout.caching.cluster.ClusterClient"
    else:
        # django-redis has one pool for each URL: an alias with its own time-out needs its own URL.
        location = f"redis://{user}@redis-cache:6379/0?socket_timeout={seconds}&socket_connect_timeout={seconds}"
        options["CONNECTION_POOL_KWARGS"] = {"retry": Retry(NoBackoff(), 0)}
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": location, "OPTIONS": options}


def queue(user: str, password: str) -> tuple[str, dict[str, Any]]:
    """Return Celery's broker URL and the options of its transport."""
    sentinels = environment.words("REDIS_QUEUE_SENTINELS")
    if not sentinels:
        return f"redis://{user}:{password}@redis-queue:6379/0", {}
    options = {
        "master_name": "queue",
        # No retries of its own: else it would try a Sentinel that is down ten times before the next
        # one.
        "sentinel_kwargs": {
            "username": user,
            "password": password,
            "socket_timeout": 0.5,
            "socket_connect_timeout": 0.5,
            "retry": Retry(NoBackoff(), 0),
        },
    }
    return ";".join(f"sentinel://{user}:{password}@{host}:26379/0" for host in sentinels), options
