"""The second level: values in Redis, and the agreement on which of them are right.

A clock in Redis counts invalidations. Each tag has the time of its last one; a value bears the time that the clock
showed *before* it was computed, and its tags. It is right if none of its tags has a later time. So an old value that
somebody writes late is wrong by itself, whoever wrote it and whatever it replaced.

Redis may drop any key of a cache at any moment. A tag that is not there makes its values wrong; a clock that is not
there begins anew, with another name, which makes all older times wrong.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from caching.watch import CHANNEL
from caching.wire import Command, Wire, full

TAG_SECONDS = 86_400
TOKEN_SECONDS = 60  # longer than a replica may lag before it is left out
FOREWARNED = 10  # seconds after which a tag is invalid by itself if the one who changes it was killed
EVERYTHING = "*"  # the tag of every value

_CLOCK = """
local clock = redis.call('GET', KEYS[1])
local epoch, number
if clock then epoch, number = string.match(clock, '^([^:]+):(%d+)$') end
local function at(tag)
  local time = redis.call('GET', tag)
  if not time then return nil end
  local its, n = string.match(time, '^([^:]+):(%d+)$')
  if its ~= epoch then return nil end
  return tonumber(n)
end
"""
_ENSURE = """
if not epoch then
  epoch = ARGV[1]; number = '0'; clock = epoch .. ':0'
  redis.call('SET', KEYS[1], clock)
end
"""
# clock, token, tags… / name of a new clock, seconds of a tag: the time, and what a computation must have read.
BEGIN = f"""{_CLOCK}{_ENSURE}
for i = 3, #KEYS do
  if not at(KEYS[i]) then redis.call('SET', KEYS[i], clock, 'EX', ARGV[2]) end
end
return {{clock, redis.call('GET', KEYS[2])}}
"""
# clock, tags… / seconds of a tag, time of the value: 1 if it is right. A tag that is missing may have been dropped
# after an invalidation, so it gets the present time; if the clock stood still meanwhile, that is the value's own.
SETTLE = f"""{_CLOCK}
local mine, n = string.match(ARGV[2], '^([^:]+):(%d+)$')
if mine ~= epoch then return 0 end
local right = 1
for i = 2, #KEYS do
  local time = at(KEYS[i])
  if not time then
    time = tonumber(number)
    redis.call('SET', KEYS[i], clock, 'EX', ARGV[1])
  end
  if time > tonumber(n) then right = 0 end
end
return right
"""
# value / time, bytes, milliseconds: kept unless there is one of a later time.
PUT = """
local epoch, n = string.match(redis.call('GETRANGE', KEYS[1], 0, 63), '^([^: ]+):(%d+)')
local mine, m = string.match(ARGV[1], '^([^:]+):(%d+)$')
if epoch == mine and tonumber(n) > tonumber(m) then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
# lock / owner
RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
# clock, token, tags… / name of a new clock, token, its seconds, channel, message
INVALIDATE = f"""{_CLOCK}{_ENSURE}
clock = epoch .. ':' .. string.format('%.0f', tonumber(number) + 1)
redis.call('SET', KEYS[1], clock)
for i = 3, #KEYS do redis.call('SET', KEYS[i], clock, 'XX', 'KEEPTTL') end
if ARGV[2] ~= '' then
  local known = redis.call('GET', KEYS[2])
  if not known or known < ARGV[2] then redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3]) end
end
redis.call('PUBLISH', ARGV[4], ARGV[5])
return clock
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A right value in Redis: its pickle, its tags, and the seconds until it should be computed again (0 or less:
    now)."""

    payload: bytes
    tags: tuple[str, ...]
    remaining: float


@dataclass(frozen=True, slots=True)
class Grant:
    """What a computation begins with: whether it has the lock, the clock's time, what it must have read, or the value,
    if somebody has just put it there."""

    locked: bool
    time: bytes
    token: str
    found: Found | None


class Shared:
    """Redis, as the second level. Every method may raise AwayError."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    # ── values ──────────────────────────────────────────────────────────────────────────────────────
    def look(self, key: str, guess: tuple[str, ...], stale: float) -> Found | None:
        """Return the value of `key` if there is a right one. `guess`: the tags that it had when it was last seen here;
        if it still has these, one exchange is enough."""
        return self._judge(self._wire.exchange(*self._questions(key, guess)), guess, stale)

    def begin(self, key: str, guess: tuple[str, ...], stale: float, owner: str, seconds: float) -> Grant:
        """Try to take the lock of `key` as `owner`, for `seconds`, and look again."""
        clock: Command = ("EVAL", BEGIN, 2 + len(guess), *self._meta(guess), secrets.token_hex(8), TAG_SECONDS)
        take: Command = ("SET", self._lock(key), owner, "NX", "PX", int(seconds * 1000))
        # The value is looked at after the lock was asked for: or it could be put there in between, unseen.
        locked, (time, token), *rest = self._wire.exchange(take, clock, *self._questions(key, guess))
        return Grant(locked is not None, time, (token or b"").decode(), self._judge(rest, guess, stale))

    def put(  # noqa: PLR0913, PLR0917 - the parts of a value
        self, key: str, owner: str, time: bytes, tags: tuple[str, ...], payload: bytes, seconds: float
    ) -> bool:
        """Keep a value for `seconds` and give the lock back; return whether the value is right."""
        blob = b" ".join([time, *(tag.encode() for tag in tags)]) + b"\n" + payload
        clock, _, *names = self._meta(tags)
        right, *_ = self._wire.exchange(
            ("EVAL", SETTLE, 1 + len(tags), clock, *names, TAG_SECONDS, time),
            ("EVAL", PUT, 1, self._value(key), time, blob, int(seconds * 1000)),
            ("EVAL", RELEASE, 1, self._lock(key), owner),
        )
        return bool(right)

    def release(self, key: str, owner: str) -> None:
        """Give the lock back."""
        self._wire.exchange(("EVAL", RELEASE, 1, self._lock(key), owner))

    # ── invalidation ────────────────────────────────────────────────────────────────────────────────
    def forewarn(self, tags: Collection[str]) -> None:
        """Let `tags` become invalid by themselves after a while: whoever changes them may be killed before it can
        say so."""
        self._wire.exchange(*(("PEXPIRE", name, FOREWARNED * 1000, "LT") for name in self._meta(tags)[2:]))

    def invalidate(self, tags: Collection[str], token: str, *, anyway: bool = False) -> None:
        """Make every value wrong that bears one of `tags`, and tell all processes. `anyway`: whatever the breaker
        says."""
        given: Command = (secrets.token_hex(8), token, TOKEN_SECONDS, full(CHANNEL), " ".join(tags))
        command: Command = ("EVAL", INVALIDATE, 2 + len(tags), *self._meta(tags), *given)
        (self._wire.push if anyway else self._wire.exchange)(command)

    # ── names and answers ───────────────────────────────────────────────────────────────────────────
    @staticmethod
    def _value(key: str) -> str:
        return full(f"cached:{key}")

    @staticmethod
    def _lock(key: str) -> str:
        return full(f"computing:{key}")

    @staticmethod
    def _meta(tags: Iterable[str]) -> list[str]:
        """Return the names of the clock, the token and the tags: in a Redis Cluster all on one node, for the
        scripts."""
        prefix = full("{caching}:")
        return [f"{prefix}clock", f"{prefix}token", *(f"{prefix}tag:{tag}" for tag in tags)]

    def _questions(self, key: str, guess: tuple[str, ...]) -> list[Command]:
        name = self._value(key)
        asked: list[Command] = [("GET", name), ("PTTL", name)]
        return [*asked, ("MGET", *self._meta(guess)[2:])] if guess else asked

    def _judge(self, answers: list[Any], guess: tuple[str, ...], stale: float) -> Found | None:
        blob, milliseconds = answers[:2]
        if blob is None:
            return None
        head, _, payload = blob.partition(b"\n")
        time, *names = head.decode().split(" ")
        tags = tuple(names)
        # The tags are read after the value: what happens in between makes it wrong, never right.
        times = answers[2] if tags == guess else self._wire.exchange(("MGET", *self._meta(tags)[2:]))[0]
        epoch, _, number = time.partition(":")
        for one in times:
            its, _, n = (one or b":0").decode().partition(":")
            if its != epoch or int(n) > int(number):
                return None
        return Found(payload, tags, milliseconds / 1000 - stale)
