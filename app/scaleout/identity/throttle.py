"""Count attempts in Redis, over all replicas, and refuse those beyond a limit.

One script counts each subject, so two replicas never let the same attempt through. Without Redis no
attempt is refused: the password hash is slow enough to keep guessing slow, and a cache that is down
must not lock users out.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from django_redis import get_redis_connection
from redis.exceptions import RedisError

from scaleout.identity.scripts import run

log = logging.getLogger(__name__)

# A key counts for a window that begins with its first attempt; returns the seconds to wait, 0 for
# none. A refused attempt is not counted: a later give_back would not remove it.
_COUNT = """
local count = tonumber(redis.call('GET', KEYS[1]) or 0)
if count >= tonumber(ARGV[1]) then return math.max(redis.call('TTL', KEYS[1]), 1) end
if redis.call('INCR', KEYS[1]) == 1 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
# The window stays as it is. If it has ended, no count is left to lower.
_GIVE_BACK = """
if redis.call('EXISTS', KEYS[1]) == 1 and redis.call('DECR', KEYS[1]) < 1 then redis.call('DEL', KEYS[1]) end
"""


@dataclass(frozen=True)
class Limit:
    """At most `most` attempts in `seconds` for one subject. `name` keeps the counts of two limits
    apart.
    """

    name: str
    most: int
    seconds: int

    def key(self, subject: str) -> str:
        """Return the key that counts the attempts of `subject`: a hash, to keep addresses out of
        Redis.
        """
        return f"throttle:{self.name}:{hashlib.sha256(subject.encode('utf-8', 'replace')).hexdigest()[:32]}"


def attempt(*subjects: tuple[Limit, str]) -> int:
    """Count an attempt of each subject in turn; return the seconds to wait of the first one
    refused, or 0.

    Name the caller first and then the subject of the attempt, so that a refused caller cannot lock
    others out.
    """
    try:
        redis = get_redis_connection("default")
        for limit, subject in subjects:  # one by one: a Redis Cluster may keep each on another node
            if wait := int(run(redis, _COUNT, limit.key(subject), limit.most, limit.seconds)):
                return wait
        return 0
    except RedisError as error:
        log.warning("attempt limit disabled: %s", error)
        return 0


def give_back(limit: Limit, subject: str) -> None:
    """Subtract one attempt of `subject`, which succeeded. Its other attempts stay counted."""
    try:
        run(get_redis_connection("default"), _GIVE_BACK, limit.key(subject))
    except RedisError as error:
        log.warning("attempt not given back: %s", error)


def forget(subjects: Sequence[tuple[Limit, str]]) -> None:
    """Reset the counts of these subjects, whose attempt succeeded."""
    try:
        get_redis_connection("default").delete(*(limit.key(subject) for limit, subject in subjects))
    except RedisError as error:
        log.warning("attempt counts not reset: %s", error)


def remember(name: str, subject: str, seconds: int) -> None:
    """Remember for so many seconds that `subject` has succeeded once."""
    try:
        get_redis_connection("default").set(Limit(name, 0, seconds).key(subject), 1, ex=seconds)
    except RedisError as error:
        log.warning("success not remembered: %s", error)


def remembered(name: str, subject: str) -> bool:
    """Return whether `subject` is remembered; False without Redis."""
    try:
        return bool(get_redis_connection("default").exists(Limit(name, 0, 0).key(subject)))
    except RedisError:
        return False
