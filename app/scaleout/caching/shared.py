"""The second level: values in Redis, and the agreement on which of them are right.

A clock in Redis counts invalidations. Each tag has the time of its last one; a value has its tags,
and the time of the clock *before* it was computed. It is right if none of its tags has a later
time. So an old value that is written late is wrong by itself, whatever process wrote it and
whatever it replaced. Each computation has a time of its own, its beginning: an earlier one never
replaces a later one, with or without an invalidation.

Redis may evict any key of a cache at any moment. A missing tag makes its values wrong; a missing
clock starts again with another name, which makes all older times wrong. Earlier invalidations are
lost with the clock, so for a while every value must be computed from the primary. The clock's name
contains its beginning.

In a Redis Cluster a failover may lose the last acknowledged writes: an invalidation, and with it a
step of the clock. So there the clock's name ends with the node's name, and a clock of another node
counts as missing.

Each release has values of its own (`CACHING["RELEASE"]`): a rendered value may name files that
another release lacks. All releases share the clock, the tags and the messages: a change makes the
values of all of them wrong.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from time import time as time_of_day
from typing import Any

from scaleout.caching import metrics
from scaleout.caching.codec import opened, seal
from scaleout.caching.conf import conf
from scaleout.caching.errors import AwayError
from scaleout.caching.ledger import TOKEN_SECONDS
from scaleout.caching.scripts import BEGIN, FOREWARN, INVALIDATE, PUT, RELEASE, SETTLE, TIMES
from scaleout.caching.source import source
from scaleout.caching.watch import CHANNEL, message
from scaleout.caching.wire import Command, Wire, full

log = logging.getLogger(__name__)

TAG_SECONDS = 86_400
NEW = 15  # seconds after which a clock is no longer new: longer than a replica in use may lag
KEPT = "sealed"  # begins the names of values; changes with their format
FOREWARNED = 10  # seconds after which a tag is invalid by itself if the changing process was killed
EVERYTHING = "*"  # the tag of every value


@dataclass(frozen=True, slots=True)
class Found:
    """A right value in Redis: its bytes, its tags, and the seconds until it should be recomputed (0
    or less: now).
    """

    payload: bytes
    tags: tuple[str, ...]
    remaining: float


@dataclass(frozen=True, slots=True)
class Grant:
    """The start of a computation: whether it has the lock, the clock's time, the state it must
    read,

    or the value, if another process has just stored it.
    """

    locked: bool
    time: bytes
    token: str
    found: Found | None


class Shared:
    """Redis as the second level. Every method may raise AwayError."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        # Locks that may have been taken without an answer: key and owner. Released when Redis
        # recovers.
        self._unsure: deque[tuple[str, str]] = deque(maxlen=100)

    # ── values ────────────────────────────────────────────────────────────────────────────────────
    def look(self, key: str, guess: tuple[str, ...], stale: float) -> Found | None:
        """Return the value of `key` if it is right.

        `guess`: its tags when this process last saw it; if they are the same, one exchange is
        enough.
        """
        return self._judge(key, self._wire.exchange(*self._questions(key, guess)), guess, stale)

    def begin(self, key: str, guess: tuple[str, ...], stale: float, owner: str, seconds: float) -> Grant:
        """Try to take the lock of `key` as `owner`, for `seconds`, and look again."""
        clock: Command = (
            "EVAL",
            self._here(BEGIN),
            2 + len(guess),
            *self._meta(guess),
            secrets.token_hex(8),
            TAG_SECONDS,
            source().newest(),
            NEW,
        )
        take: Command = ("SET", self._lock(key), owner, "NX", "PX", int(seconds * 1000))
        # The value is read after the lock was requested: else another process could store it in
        # between, unseen.
        try:
            locked, (time, token), *rest = self._wire.exchange(take, clock, *self._questions(key, guess))
        except AwayError as error:
            if error.__cause__ is not None:  # it was asked
                self._unsure.append((key, owner))
            raise
        return Grant(
            locked is not None, time, (token or b"").decode(errors="replace"), self._judge(key, rest, guess, stale)
        )

    def put(  # noqa: PLR0913, PLR0917 - the parts of a value
        self, key: str, owner: str, time: bytes, tags: tuple[str, ...], payload: bytes, seconds: float
    ) -> bool:
        """Store a value for `seconds` and release the lock; return whether it is right and no newer
        one exists.

        `time`: its beginning.
        """
        clock, _, *names = self._meta(tags)
        settle: Command = ("EVAL", self._here(SETTLE), 1 + len(tags), clock, *names, TAG_SECONDS, time)
        (right,) = self._wire.exchange(settle)
        last: list[Command] = [("EVAL", RELEASE, 1, self._lock(key), owner)]
        if right is not None:
            # It contains its end, too, by this machine's clock: asking Redis would cost one more
            # question each time.
            end = f"{time_of_day() + seconds:.3f}".encode()
            begun = time.partition(b":")[2]
            head = b" ".join([right, begun, end, *(tag.encode() for tag in tags)])
            blob = seal(self.value_name(key), head + b"\n" + payload)
            last.insert(0, ("EVAL", PUT, 1, self.value_name(key), time, blob, int(seconds * 1000)))
        kept = self._wire.exchange(*last)[0]
        return right is not None and kept == 1

    def release(self, key: str, owner: str) -> None:
        """Release the lock."""
        self._wire.exchange(("EVAL", RELEASE, 1, self._lock(key), owner))

    def release_unsure(self) -> None:
        """Release locks that unanswered questions may have taken. Raises redis.RedisError or
        OSError.
        """
        while self._unsure:
            key, owner = self._unsure[0]
            self._wire.push(("EVAL", RELEASE, 1, self._lock(key), owner))
            self._unsure.popleft()

    # ── invalidation ──────────────────────────────────────────────────────────────────────────────
    def forewarn(self, tags: Collection[str]) -> None:
        """Let `tags` expire after a while: the changing process may be killed before it invalidates
        them.
        """
        clock, _, *names = self._meta(tags)
        given: Command = (secrets.token_hex(8), FOREWARNED)
        self._wire.exchange(("EVAL", self._here(FOREWARN), 1 + len(names), clock, *names, *given))

    def invalidate(self, tags: Collection[str], token: str, *, anyway: bool = False) -> None:
        """Invalidate every value with one of `tags`, in all processes. `anyway`: even with an open
        breaker.
        """
        given: Command = (secrets.token_hex(8), token, TOKEN_SECONDS, full(CHANNEL), message(tags, token))
        command: Command = ("EVAL", self._here(INVALIDATE), 2 + len(tags), *self._meta(tags), *given)
        (self._wire.push if anyway else self._wire.exchange)(command)

    # ── names and answers ─────────────────────────────────────────────────────────────────────────
    @cached_property
    def _release(self) -> str:
        """Return the release of this process: text without spaces and braces, empty by default."""
        return conf().release

    def value_name(self, key: str) -> str:
        """Return the name of a value of this release; the braces put it and its lock on one node of
        a cluster.
        """
        return full(f"{KEPT}:{self._release}{{{key}}}")

    def _lock(self, key: str) -> str:
        return full(f"computing:{self._release}{{{key}}}")

    @staticmethod
    def _meta(tags: Iterable[str]) -> list[str]:
        """Return the names of the clock, the token and the tags: in a Redis Cluster all on one
        node, for the scripts.
        """
        prefix = full("{caching}:")
        return [f"{prefix}clock", f"{prefix}token", *(f"{prefix}tag:{tag}" for tag in tags)]

    def _questions(self, key: str, guess: tuple[str, ...]) -> list[Command]:
        """Return the question for a value and the times of the tags `guess`: one, where all keys
        are on one server.
        """
        name = self.value_name(key)
        if not self._wire.clustered:
            return [("MGET", name, *self._meta(guess)[2:])]
        return [("MGET", name), self._times(guess)] if guess else [("MGET", name)]

    def _times(self, tags: tuple[str, ...]) -> Command:
        """Return the question for the times of `tags`: in a cluster, for the clock and the node's
        name too.
        """
        clock, _, *names = self._meta(tags)
        if self._wire.clustered:
            return "EVAL", self._here(TIMES), 1 + len(names), clock, *names
        return "MGET", *names

    def _here(self, script: str) -> str:
        return script.replace("@NODE@", "redis.call('CLUSTER', 'MYID')" if self._wire.clustered else "''")

    def _refuse(self, key: str) -> None:
        """Delete a forged or damaged value: its claimed age would keep out a good one."""
        metrics.refused.labels("value").inc()
        log.warning("cached value refused: wrong seal: %s", key)
        self._wire.exchange(("DEL", self.value_name(key)))

    def _judge(self, key: str, answers: list[Any], guess: tuple[str, ...], stale: float) -> Found | None:
        sealed, *times = (one for answer in answers for one in answer)
        if sealed is None:
            return None
        blob = opened(self.value_name(key), sealed)
        if blob is None:
            self._refuse(key)
            return None
        head, _, payload = blob.partition(b"\n")
        time, _, end, *names = head.decode().split(" ")
        tags = tuple(names)
        if tags != guess:
            # They are read after the value: an invalidation in between makes it wrong, never right.
            times = self._wire.exchange(self._times(tags))[0]
        epoch, _, number = time.partition(":")
        if len(times) < len(tags):
            return None
        for one in times:
            its, _, n = (one or b":0").decode(errors="replace").partition(":")
            if its != epoch or not n.isdecimal() or int(n) > int(number):
                return None
        return Found(payload, tags, float(end) - time_of_day() - stale)
