"""Redis over connections of this process's own, with a breaker: a lost Redis costs a call nothing.

The address and the password are those of the cache alias `default`. The connections are not the
alias's: these give up after TIMEOUT, and send several commands in one go without the bookkeeping of
a pool, which takes as long as Redis does. In a cluster (caching.cluster) each command goes to the
node of its key.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import suppress
from functools import cache, cached_property
from hashlib import sha1
from itertools import groupby
from typing import Any

from django.core.cache import caches
from django_redis import get_redis_connection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from scaleout.caching import metrics
from scaleout.caching.errors import AwayError

log = logging.getLogger(__name__)

ALIAS = "default"
TIMEOUT = 0.1  # seconds for one exchange; on one network it takes 0.0002
SLOW = 0.05  # seconds: so many such answers in a row count as none
STRIKES = 5
LOOK = 1.0  # seconds after which an idle connection is checked before its use
GRACE = 2.0  # seconds that Redis must answer before the breaker closes: see docs/decisions/caching.md
_OWN = ("maint", "himport", "event", "orig_", "retry", "cache", "protocol", "legacy")

type Command = tuple[str | bytes | int, ...]


class Breaker:
    """While it is open no call goes to Redis. Only the watch closes it."""

    def __init__(self) -> None:
        self.open = False
        self._good_since: float | None = None

    def trip(self, reason: object) -> None:
        """Open it."""
        if not self.open:
            log.warning("cache breaker opened: %s", reason)
            metrics.breaker.set(1)
        self.open = True
        self._good_since = None

    def answered(self, seconds: float) -> bool:
        """Record an answer to the watch after `seconds`; close after GRACE of these. Return whether
        it has just closed.
        """
        now = time.monotonic()
        if not self.open or seconds > SLOW:
            self._good_since = None
            return False
        if self._good_since is None:
            self._good_since = now
        if now - self._good_since < GRACE:
            return False
        log.warning("cache breaker closed")
        metrics.breaker.set(0)
        self.open = False
        self._good_since = None
        return True


class Wire:
    """The connections of this process."""

    def __init__(self) -> None:
        self.breaker = Breaker()
        self._idle: defaultdict[Any, deque[Any]] = defaultdict(deque)  # by the pool of the server
        self._pool: Any = None  # the pool of a single Redis
        self._slow = 0

    @cached_property
    def clustered(self) -> bool:
        """Whether Redis is a cluster."""
        return bool(getattr(getattr(caches[ALIAS], "client", None), "clustered", False))

    def exchange(self, *commands: Command) -> list[Any]:
        """Return the answers. Raises AwayError at once while the breaker is open, and within 2
        TIMEOUT at worst.
        """
        if self.breaker.open:
            raise AwayError
        began = time.monotonic()
        try:
            answers = self.push(*commands)
        except (RedisError, OSError) as error:
            self.leave(error)
            raise AwayError from error
        self._slow = self._slow + 1 if time.monotonic() - began > SLOW else 0
        if self._slow >= STRIKES:
            self._slow = 0
            self.leave(f"{STRIKES} answers took more than {SLOW} s each")
        return answers

    def push(self, *commands: Command) -> list[Any]:
        """Do the same with any state of the breaker, in the order of the commands.

        Raises redis.RedisError or OSError.
        """
        if not self.clustered:
            return self._send(self._alone(), commands)
        return [
            answer
            for pool, those in groupby(commands, lambda one: self._home(_key(one)))
            for answer in self._send(pool, tuple(those))
        ]

    def whole(self) -> bool:
        """Return whether every primary of a cluster answers. While one does not, the breaker stays
        open.
        """
        if not self.clustered or not self.breaker.open:
            return True
        try:
            self.refresh()
            for node in get_redis_connection(ALIAS).get_primaries():
                self._send(get_redis_connection(ALIAS).get_redis_connection(node).connection_pool, [("PING",)])
        except (RedisError, OSError) as error:
            self.leave(error)
            return False
        return True

    def refresh(self) -> None:
        """Fetch the map of a cluster's slots. Raises redis.RedisError."""
        if self.clustered and self.breaker.open:
            get_redis_connection(ALIAS).nodes_manager.initialize()

    def leave(self, reason: object) -> None:
        """Open the breaker, and close the idle connections, which lead to a lost server."""
        self.breaker.trip(reason)
        self.close()

    def close(self) -> None:
        """Close the idle connections."""
        for idle in list(self._idle.values()):
            with suppress(IndexError):  # another thread may take the last one
                while idle:
                    idle.pop()[0].disconnect()

    def connect(self, name: str, timeout: float) -> Any:
        """Return a connection to the server of the key `name`, with a time-out of `timeout`
        seconds.
        """
        return _connection(self._home(name) if self.clustered else self._alone(), timeout)

    def _send(self, pool: Any, commands: Sequence[Command]) -> list[Any]:
        """Exchange `commands` for answers with one server."""
        idle = self._idle[pool]
        connection, loaded = _left(idle) or (_connection(pool, TIMEOUT), frozenset())
        # A script is loaded once a connection, and called by its digest: a restart of the server
        # ends the connection.
        new = [one for one in dict.fromkeys(c[1] for c in commands if c[0] == "EVAL") if one not in loaded]
        loads: list[Command] = [("SCRIPT LOAD", str(one)) for one in new]
        named = [("EVALSHA", _sha(str(c[1])), *c[2:]) if c[0] == "EVAL" else c for c in commands]
        try:
            connection.send_packed_command(connection.pack_commands([*loads, *named]))
            answers = [connection.read_response() for _ in (*loads, *named)]
        except BaseException:
            connection.disconnect()  # it may hold unread answers
            raise
        idle.append((connection, time.monotonic(), loaded | set(new)))
        return answers[len(loads) :]

    def _alone(self) -> Any:
        if self._pool is None:
            self._pool = get_redis_connection(ALIAS).connection_pool
        return self._pool

    def _home(self, name: str) -> Any:
        """Return the pool of the node of the cluster that has the key `name`."""
        cluster = get_redis_connection(ALIAS)
        return cluster.get_redis_connection(cluster.get_node_from_key(name)).connection_pool


@cache
def _sha(script: str) -> str:
    """Return the digest of a script, its name in Redis."""
    return sha1(script.encode()).hexdigest()  # noqa: S324 - Redis's choice


def _left(idle: deque[Any]) -> Any:
    """Return an idle connection that still works, and the scripts that it has loaded, if any."""
    while True:
        try:
            connection, used, loaded = idle.pop()
        except IndexError:
            return None
        # Has the server closed it? It closes idle connections, and all at a restart, which does not
        # mean that it is down. The check takes longer than Redis does, so not each time.
        if time.monotonic() - used <= LOOK:
            return connection, loaded
        with suppress(RedisError, OSError):  # raised if the other end has closed
            if not connection.can_read(0):  # unrequested bytes are no answer
                return connection, loaded
        connection.disconnect()


def _connection(pool: Any, timeout: float) -> Any:
    given = {name: value for name, value in pool.connection_kwargs.items() if not name.startswith(_OWN)}
    given |= {"socket_timeout": timeout, "socket_connect_timeout": timeout, "protocol": 2}
    return pool.connection_class(**given, retry=Retry(NoBackoff(), 0))


def _key(command: Command) -> str:
    """Return the first key of a command of this package."""
    return str(command[3] if command[0] == "EVAL" else command[1])


def full(name: str) -> str:
    """Return `name` as Redis stores it: with the prefix and the version of the alias."""
    return str(caches[ALIAS].make_key(name))
