"""Probes of dependencies."""

from __future__ import annotations

from django_redis import get_redis_connection


class CacheProbe:
    """Ask Redis."""

    def __call__(self) -> None:
        """Return if Redis answers within the cache's socket time-outs; raise redis.RedisError if
        not.
        """
        get_redis_connection("default").ping()

    def close(self) -> None:
        """Leave the connection to the cache's pool."""
