"""The list of logins that have ended, shared by all services through Redis.

A service verifies a token without a look-up. It keeps a copy of the list of logins that ended while
a token of theirs may still be valid. One thread of each process fetches new entries every few
seconds, so every service refuses a token a few seconds after its login has ended. The process that
publishes an entry refuses it at once.

While Redis is down a process keeps what it knows, and a new process knows nothing: a token revoked
at that time stays valid until it expires, 15 minutes at most. To refuse every token would let Redis
stop the shop.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from django_redis import get_redis_connection
from redis.exceptions import RedisError

from scaleout.identity.conf import conf
from scaleout.identity.scripts import run

KEY = "identity:revoked"
KEPT = 1000  # seconds: longer than a user's token lives
MOST = 100_000  # entries; the oldest are dropped beyond that
FRESH = 5.0  # seconds that the copy is used
PAUSE = 1.0  # seconds without a try after a failure
OVERLAP = 60  # seconds that are fetched again: the clock of a new Redis may be behind

# By Redis's clock. An existing entry keeps its time, or a list that is published again would never
# end.
_PUBLISH = f"""
local now = tonumber(redis.call('TIME')[1])
for _, id in ipairs(ARGV) do redis.call('ZADD', KEYS[1], 'NX', now, id) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - {KEPT})
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -{MOST + 1})
redis.call('EXPIRE', KEYS[1], {KEPT})
return now
"""

log = logging.getLogger(__name__)


class Revoked:
    """The copy of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}  # by login: when its entry can be dropped
        self._newest = 0.0
        self._ask_at = float("-inf")
        self._away = False

    def __contains__(self, login: str) -> bool:
        """Return whether the login has ended, as far as this process knows."""
        now = time.monotonic()
        if now >= self._ask_at:
            # One thread fetches. The others wait only if the copy is too old to use.
            waits = now - self._ask_at > 2 * FRESH
            if self._lock.acquire(timeout=0.25 if waits else 0):
                try:
                    if now >= self._ask_at:
                        self._refresh(now)
                finally:
                    self._lock.release()
        return self._until.get(login, 0.0) > now

    def add(self, logins: Sequence[str]) -> None:
        """Add ended logins to the copy."""
        with self._lock:
            until = time.monotonic() + KEPT
            self._until = {**self._until, **dict.fromkeys(logins, until)}

    def _refresh(self, now: float) -> None:
        try:
            redis = get_redis_connection(conf().cache)
            since = max(self._newest - OVERLAP, 0.0)
            found = redis.zrangebyscore(KEY, since, "+inf", withscores=True)
        except RedisError as error:
            self._ask_at = time.monotonic() + PAUSE
            if not self._away:
                log.warning("revocation list not refreshed: %s", error)
            self._away = True
            return
        if self._away:
            log.warning("revocation list refreshed again")
        self._away = False
        new = {(login.decode() if isinstance(login, bytes) else login): now + KEPT for login, _ in found}
        # Replaced, never changed: other threads read it. A known entry keeps its time.
        self._until = new | {login: until for login, until in self._until.items() if until > now}
        self._newest = max((score for _, score in found), default=self._newest)
        self._ask_at = time.monotonic() + FRESH


revoked = Revoked()


def publish(logins: Sequence[str]) -> None:
    """Publish to all services that these logins have ended.

    While Redis is down only this process knows it, and logs a warning.
    """
    if not logins:
        return
    revoked.add(logins)
    try:
        run(get_redis_connection(conf().cache), _PUBLISH, KEY, *logins)
    except RedisError as error:
        log.warning("revocation not published: %s", error)
