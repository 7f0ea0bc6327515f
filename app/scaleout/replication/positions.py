"""Positions kept in Redis by user, for clients that keep neither cookies nor `X-Read-After`:
scripts, mobile clients.

Off unless `REPLICATION["POSITIONS"]` names a cache of django-redis.
`REPLICATION["USER"]` is the path of a function that returns the user of a request as text, or
None. It must read no database: it is called before the session and the authentication of Django.
One question to Redis for a read of a user, one for a write, none without a user.
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

SECONDS = 60  # that a position is kept: longer than a replica may lag and still be read
# Seconds for which a greater position stays. It is a parallel write's; later it can only be one of
# another cluster, or stand for a write whose position was not known.
PARALLEL = 10
PAUSE = 1.0  # seconds without a question after one that had no answer

# Texts of one length compare as their numbers do; Lua's own numbers have 53 bits.
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

    Nothing here raises: while Redis is away, a user reads as one does who says nothing.
    """

    def __init__(self, redis: Callable[[], Any], user: Callable[[HttpRequest], str | None]) -> None:
        self._redis, self._user = redis, user
        self._breaker = Breaker(PAUSE)

    def known(self, request: HttpRequest) -> bool:
        """Return whether the request says which user it is of."""
        return self._user(request) is not None

    def of(self, request: HttpRequest) -> int:
        """Return the position of the last write of the request's user; 0 where none is known."""
        user = self._user(request)
        found = self._ask(lambda redis: redis.get(_key(user))) if user is not None else None
        try:
            return int(found or b"0", 16)
        except ValueError:
            return 0

    def keep(self, request: HttpRequest, position: int) -> None:
        """Keep the position of a write of the request's user; of two that write at once, the
        greater one.
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
        except Exception as error:  # whatever the client raises: no request fails for want of a position
            metrics.positions_missed.inc()
            if self._breaker.failed():
                log.warning("positions of users are not kept: %s", error)
            return None
        if self._breaker.worked():
            log.warning("positions of users are kept again")
        return answer


def _run(redis: Any, key: str, *given: str | int) -> Any:
    """Run the script by its name; load it where Redis has it not."""
    name = hashlib.sha1(_KEEP.encode()).hexdigest()  # noqa: S324 - Redis's choice
    try:
        return redis.evalsha(name, 1, key, *given)
    except Exception as error:
        if type(error).__name__ != "NoScriptError":  # of redis, which a project without it has not
            raise
        redis.script_load(_KEEP)
        return redis.evalsha(name, 1, key, *given)


def _key(user: str | None) -> str:
    return f"replication:after:{user}"


def from_settings() -> Positions | None:
    """Return what the settings ask for; None where that is nothing."""
    alias, user = conf().positions, conf().user
    if not alias or not user:
        return None
    from django_redis import get_redis_connection  # noqa: PLC0415 - a project without it needs it not

    return Positions(partial(get_redis_connection, alias), import_string(user))
