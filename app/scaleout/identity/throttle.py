"""Count attempts in Redis, over all replicas, and refuse those that are too many.

Each subject is counted by one script, so that two replicas never let the same attempt through.
Without Redis nobody is refused: the hash of a password is slow enough that guessing stays slow, and
a cache that is away must keep nobody out.
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
# none. What is refused is not counted: else it would stand there when those which were not refused
# are given back.
_COUNT = """
local count = tonumber(redis.call('GET', KEYS[1]) or 0)
if count >= tonumber(ARGV[1]) then return math.max(redis.call('TTL', KEYS[1]), 1) end
if redis.call('INCR', KEYS[1]) == 1 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
# The window stays as it is. Where it has ended meanwhile there is nothing to take from.
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
        """Return where the attempts of `subject` are counted: a hash, since an address is nobody's
        business.
        """
        return f"throttle:{self.name}:{hashlib.sha256(subject.encode('utf-8', 'replace')).hexdigest()[:32]}"


def attempt(*subjects: tuple[Limit, str]) -> int:
    """Count an attempt of each subject in turn, up to one that is refused; return for how many
    seconds it is, or 0.

    So name first whoever makes the attempt, and then what it is about: who is refused must not lock
    others out.
    """
    try:
        redis = get_redis_connection("default")
        for limit, subject in subjects:  # one by one: in a Redis Cluster each may be on another node
            if wait := int(run(redis, _COUNT, limit.key(subject), limit.most, limit.seconds)):
                return wait
        return 0
    except RedisError as error:
        log.warning("attempts are not counted: %s", error)
        return 0


def give_back(limit: Limit, subject: str) -> None:
    """Take back one attempt of `subject`: it was right. What else it has tried stays counted."""
    try:
        run(get_redis_connection("default"), _GIVE_BACK, limit.key(subject))
    except RedisError as error:
        log.warning("an attempt stays counted: %s", error)


def forget(subjects: Sequence[tuple[Limit, str]]) -> None:
    """Count afresh for these subjects: what they did was right."""
    try:
        get_redis_connection("default").delete(*(limit.key(subject) for limit, subject in subjects))
    except RedisError as error:
        log.warning("attempts stay counted: %s", error)


def remember(name: str, subject: str, seconds: int) -> None:
    """Remember for so long that `subject` was right once."""
    try:
        get_redis_connection("default").set(Limit(name, 0, seconds).key(subject), 1, ex=seconds)
    except RedisError as error:
        log.warning("a success is not remembered: %s", error)


def remembered(name: str, subject: str) -> bool:
    """Return whether `subject` is remembered; False without Redis."""
    try:
        return bool(get_redis_connection("default").exists(Limit(name, 0, 0).key(subject)))
    except RedisError:
        return False
