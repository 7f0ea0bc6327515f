"""Count attempts in Redis, over all replicas, and refuse those that are too many.

The counting is one script, so that two replicas never let the same attempt through. Without Redis nobody is refused:
the hash of a password is slow enough that guessing stays slow, and a cache that is away must not keep everybody out.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from django_redis import get_redis_connection
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

# Each key counts for its own window, which begins with the first attempt; returns the seconds to wait, 0 for none.
_COUNT = """
local wait = 0
for i, key in ipairs(KEYS) do
    local count = redis.call('INCR', key)
    if count == 1 then redis.call('EXPIRE', key, ARGV[2 * i]) end
    if count > tonumber(ARGV[2 * i - 1]) then wait = math.max(wait, redis.call('TTL', key), 1) end
end
return wait
"""


@dataclass(frozen=True)
class Limit:
    """At most `most` attempts in `seconds` for one subject. `name` keeps the counts of two limits apart."""

    name: str
    most: int
    seconds: int

    def key(self, subject: str) -> str:
        """Return where the attempts of `subject` are counted: a hash, since an address is nobody's business."""
        return f"throttle:{self.name}:{hashlib.sha256(subject.encode('utf-8', 'replace')).hexdigest()[:32]}"


def attempt(*subjects: tuple[Limit, str]) -> int:
    """Count an attempt of each subject; return 0, or for how many seconds it is refused."""
    keys = [limit.key(subject) for limit, subject in subjects]
    numbers = [number for limit, _ in subjects for number in (limit.most, limit.seconds)]
    try:
        return int(get_redis_connection("default").eval(_COUNT, len(keys), *keys, *numbers))
    except RedisError as error:
        log.warning("attempts are not counted: %s", error)
        return 0


def forget(subjects: Sequence[tuple[Limit, str]]) -> None:
    """Count afresh for these subjects: what they did was right."""
    try:
        get_redis_connection("default").delete(*(limit.key(subject) for limit, subject in subjects))
    except RedisError as error:
        log.warning("attempts stay counted: %s", error)
