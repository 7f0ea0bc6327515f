"""The rate limit of callers: one counter for all replicas, in Redis, in one round trip.

The generic cell rate algorithm (ITU-T I.371) keeps one number for a caller: the time at which its
past requests are paid for. So nothing needs cleaning up, and an evenly spaced caller within its
quota is never refused. An idle caller may spend the quota at once and regains it evenly: in one
window up to twice as much, as at the border of fixed windows.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoScriptError

from redis import Redis, RedisError
from scaleout.base import Breaker
from scaleout.gateway.edge import metrics

log = logging.getLogger(__name__)

PAUSE = 1.0  # seconds without a question after a failure

# Redis's own clock, in microseconds: the replicas' clocks differ. Rendered by %.0f, since Lua would
# shorten the number.
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local window, each = tonumber(ARGV[1]), tonumber(ARGV[2])
local paid = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
-- Never so far ahead, unless the clock has stepped back: then no caller has to wait for it.
if paid - now > window then paid = now end
local after = paid + each
if after - now > window then
  return {0, 0, string.format('%.0f', after - now - window)}
end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
local left = math.floor((window - (after - now)) / each)
return {1, left, string.format('%.0f', after - now - (window - (left + 1) * each))}
"""
_NAME = hashlib.sha1(_SCRIPT.encode()).hexdigest()  # noqa: S324 - Redis's choice


@dataclass(frozen=True)
class Quota:
    """The rest of a caller's quota: `left` requests now, and another one in `seconds`."""

    allowed: bool
    left: int
    seconds: int


class Rate:
    """`quota` requests in `window` seconds for each caller, counted in the Redis, or Redis Cluster,
    of `redis()`.

    It must have short time-outs: a limit that cannot be read must cost next to nothing.
    """

    def __init__(self, quota: int, window: int, redis: Callable[[], Redis]) -> None:
        self._quota, self._window = quota, window
        self._redis = redis
        self._breaker = Breaker(PAUSE)

    def take(self, caller: str) -> Quota | None:
        """Count one request of `caller`. None, which means yes, while Redis does not answer."""
        if not self._breaker.allows():
            metrics.rate_limit_errors.inc()
            return None
        microseconds = self._window * 1_000_000
        try:
            given = (f"gateway:rate:{caller}", str(microseconds), str(microseconds // self._quota))
            allowed, left, wait = self._run(self._redis(), *given)
        except RedisError as error:
            if self._breaker.failed():
                log.warning("rate limiting disabled: %s", error)
            metrics.rate_limit_errors.inc()
            return None
        if self._breaker.worked():
            log.warning("rate limiting enabled")
        return Quota(bool(allowed), int(left), math.ceil(int(wait) / 1_000_000))

    def headers(self, quota: Quota) -> dict[str, str]:
        """Return the headers of draft-ietf-httpapi-ratelimit-headers-10."""
        return {
            "RateLimit-Policy": f'"caller";q={self._quota};w={self._window}',
            "RateLimit": f'"caller";r={quota.left};t={quota.seconds}',
        }

    @staticmethod
    def _run(redis: Any, *given: str) -> Any:
        """Run the script by its digest; load it first if Redis does not have it."""
        try:
            return redis.evalsha(_NAME, 1, *given)
        except NoScriptError:
            redis.script_load(_SCRIPT)
            return redis.evalsha(_NAME, 1, *given)
