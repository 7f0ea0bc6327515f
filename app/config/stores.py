"""Where Redis is: one server or a cluster for the cache, one server or what the Sentinels say for
the queue.
"""

from __future__ import annotations

from typing import Any

from redis.backoff import NoBackoff
from redis.retry import Retry

from config import environment


def cache(user: str, password: str, seconds: float) -> dict[str, Any]:
    """Return an alias of the cache that waits so long for Redis: for a connection, and for an
    answer.

    A cache that is away must cost a request milliseconds, not an error and not a wait.
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
        # django-redis has one pool for each URL: an alias with a time-out of its own needs a URL of
        # its own.
        location = f"redis://{user}@redis-cache:6379/0?socket_timeout={seconds}&socket_connect_timeout={seconds}"
        options["CONNECTION_POOL_KWARGS"] = {"retry": Retry(NoBackoff(), 0)}
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": location, "OPTIONS": options}


def queue(user: str, password: str) -> tuple[str, dict[str, Any]]:
    """Return Celery's broker URL, and what its transport must know besides."""
    sentinels = environment.words("REDIS_QUEUE_SENTINELS")
    if not sentinels:
        return f"redis://{user}:{password}@redis-queue:6379/0", {}
    options = {
        "master_name": "queue",
        # Without a retry of its own, or a Sentinel that is away would be asked ten times before the
        # next one is.
        "sentinel_kwargs": {
            "username": user,
            "password": password,
            "socket_timeout": 0.5,
            "socket_connect_timeout": 0.5,
            "retry": Retry(NoBackoff(), 0),
        },
    }
    return ";".join(f"sentinel://{user}:{password}@{host}:26379/0" for host in sentinels), options
