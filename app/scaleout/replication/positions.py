"""Positions in Redis by user, for clients without cookies or `X-Read-After`: scripts, mobile
clients.

Off unless `REPLICATION["POSITIONS"]` names a cache of django-redis.
`REPLICATION["USER"]` is the path of a function that returns the user of a request as text, or
None. It must read no database: it is called before the session and the authentication of Django.
A user's read or write costs one question to Redis, a request without a user none.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from django.http import HttpRequest
from django.utils.module_loading import import_string

from scaleout.base import Breaker
from scaleout.replication import metrics
from scaleout.replication.conf import conf

log = logging.getLogger(__name__)

SECONDS = 60  # for which a position is kept: longer than a replica in use may lag
# Seconds for which a greater position stays. It belongs to a parallel write; later it can only
# belong to another cluster, or stand for a write of unknown position.
PARALLEL = 10
PAUSE = 1.0  # seconds without a question after a failure

# Texts of one length compare as their numbers do; Lua's numbers have only 53 bits.
_KEEP = """
local old = redis.call('GET', KEYS[1])
if old and old > ARGV[1] and redis.call('PTTL', KEYS[1]) > tonumber(ARGV[3]) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""


class Positions:
    """The positions of users, in the Redis of `redis()`, which must have short time-outs.

    Nothing here raises: while Redis is down, a user's reads need no position.
    """

    def __init__(self, redis: Callable[[], Any], user: Callable[[HttpRequest], str | None]) -> None:
        self._redis, self._user = redis, user
        self._breaker = Breaker(PAUSE)

    def known(self, request: HttpRequest) -> bool:
        """Return whether the request names its user."""
        return self._user(request) is not None

    def of(self, request: HttpRequest) -> int:
        """Return the position of the last write of the request's user; 0 if unknown."""
        user = self._user(request)
        found = self._ask(lambda redis: redis.get(_key(user))) if user is not None else None
        try:
            return int(found or b"0", 16)
        except ValueError:
            return 0

    def keep(self, request: HttpRequest, position: int) -> None:
        """Keep the position of a write of the request's user; of two writes at once, the greater
        one.
        """
        user = self._user(request)
        if user is not None:
            given = (f"{position:016x}", SECONDS, (SECONDS - PARALLEL) * 1000)
            self._ask(lambda redis: _run(redis, _key(user), *given))

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        if not self._breaker.allows():
            metrics.positions_missed.inc()
            return None
        try:
            answer = question(self._redis())
        except Exception as error:  # any error: no request fails for lack of a position
            metrics.positions_missed.inc()
            if self._breaker.failed():
                log.warning("positions breaker opened: %s", error)
            return None
        if self._breaker.worked():
            log.warning("positions breaker closed")
        return answer


def _run(redis: Any, key: str, *given: str | int) -> Any:
    """Run the script by its digest; load it first if Redis does not have it."""
    name = hashlib.sha1(_KEEP.encode()).hexdigest()  # noqa: S324 - Redis's choice
    try:
        return redis.evalsha(name, 1, key, *given)
    except Exception as error:
        if type(error).__name__ != "NoScriptError":  # of redis, which may not be installed
            raise
        redis.script_load(_KEEP)
        return redis.evalsha(name, 1, key, *given)


def _key(user: str | None) -> str:
    return f"replication:after:{user}"


def from_settings() -> Positions | None:
    """Return the store that the settings name; None if they name none."""
    alias, user = conf().positions, conf().user
    if not alias or not user:
        return None
    from django_redis import get_redis_connection  # noqa: PLC0415 - not needed without REPLICATION_POSITIONS

    return Positions(partial(get_redis_connection, alias), import_string(user))
