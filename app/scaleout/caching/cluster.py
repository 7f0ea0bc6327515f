"""Redis Cluster behind django-redis, which has no client for one: `CLIENT_CLASS` of the cache
alias.

redis-py's `RedisCluster` knows the nodes and follows a failover. Here it is made fit for requests:
one for all threads of a process, commands of many keys split by slot, and a cluster that is away
costs no more than one Redis that is.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import Any
from urllib.parse import urlsplit

from django_redis.client import DefaultClient
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException
from redis.retry import Retry

from scaleout.base import Breaker, PerProcess

FRESH = 0.2  # seconds for which a map of the slots is used, even if a node fails in that time
REST = 1.0  # seconds without a question to any node, after none has answered


class Cluster(RedisCluster):
    """The nodes of a cluster, for all threads of this process. Every failure is a
    redis.RedisError.
    """

    def __init__(self, nodes: list[ClusterNode], **options: Any) -> None:
        self._asking = threading.Lock()
        self._again = 0.0
        super().__init__(
            startup_nodes=nodes,
            protocol=2,
            # No command is sent twice: a caller without an answer continues without the cache.
            retry=Retry(NoBackoff(), 0),
            # Each MOVED moves its slot; the whole map is fetched when a node fails.
            reinitialize_steps=0,
            **options,
        )
        # redis-py fetches the map at each failed command, from one node after the other until one
        # answers: here one thread does so for all, and not all the time.
        self._fetch = self.nodes_manager.initialize
        vars(self.nodes_manager)["initialize"] = self._refresh

    def mget(self, keys: Any, *args: Any) -> list[Any]:
        """Return the values of keys of any slots."""
        return self.mget_nonatomic(keys, *args)

    def ping(self, **kwargs: Any) -> Any:
        """Ask every primary. Raises redis.RedisError if one gives no answer."""
        return super().ping(target_nodes=self.PRIMARIES, **kwargs)

    def _refresh(self, **how: Any) -> None:
        """Fetch the map of the slots, unless it was just fetched.

        Raises redis.ConnectionError if no node answers.
        """
        with self._asking:
            now = time.monotonic()
            if now < self._again:
                return
            self._again = now + REST
        try:
            self._fetch(**how)
        except RedisClusterException as error:
            self._again = time.monotonic() + REST
            raise RedisConnectionError(str(error)) from error
        self._again = time.monotonic() + FRESH


class Away:
    """A stand-in for a cluster of which no node has answered yet: every command fails at once."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __getattr__(self, name: str) -> Any:
        raise RedisConnectionError(self._reason)


class ClusterClient(DefaultClient):  # type: ignore[misc]  # django-redis brings no types
    """Django's cache API on a cluster. LOCATION: the URLs of some nodes, of which one must answer
    at the start.
    """

    clustered = True

    def get_client(self, write: bool = True, tried: list[int] | None = None) -> Any:
        """Return the cluster: the same object for all threads."""
        return _found(self._server, self._options)

    def get_client_with_index(self, write: bool = True, tried: list[int] | None = None) -> tuple[Any, int]:
        """Return the cluster. There is nothing to choose."""
        return self.get_client(), 0

    def do_close_clients(self) -> None:
        """Leave the cluster to the other threads."""


class _Shelf:
    """The clusters of this process, by address and time-outs."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.clusters: dict[Any, Cluster] = {}
        self.breakers: defaultdict[Any, Breaker] = defaultdict(lambda: Breaker(REST))


_shelf = PerProcess(_Shelf)  # connections do not fork


def _found(urls: list[str], options: dict[str, Any]) -> Cluster | Away:
    """Return the cluster at `urls`; connect if needed, one thread for all, with pauses."""
    patience, connect = options.get("SOCKET_TIMEOUT", 1.0), options.get("SOCKET_CONNECT_TIMEOUT", 1.0)
    key, shelf = (*urls, patience, connect), _shelf.own
    if cluster := shelf.clusters.get(key):
        return cluster
    if not shelf.lock.acquire(timeout=patience):
        return Away("the cluster is being looked for")
    try:
        if key not in shelf.clusters:
            if not shelf.breakers[key].allows():
                return Away("the cluster was away a moment ago")
            user, password = options.get("USERNAME") or None, options.get("PASSWORD") or None
            nodes = [
                ClusterNode(parts.hostname, parts.port or 6379)  # type: ignore[no-untyped-call]
                for parts in map(urlsplit, urls)
            ]
            shelf.clusters[key] = Cluster(
                nodes, username=user, password=password, socket_timeout=patience, socket_connect_timeout=connect
            )
        return shelf.clusters[key]
    except RedisClusterException as error:
        shelf.breakers[key].failed()
        return Away(str(error))
    finally:
        shelf.lock.release()
