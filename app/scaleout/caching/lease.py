"""The right to compute a value and put it into Redis: the other processes wait for the holder."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass

from scaleout.caching import process
from scaleout.caching.call import Call
from scaleout.caching.errors import AwayError
from scaleout.caching.lookup import guess
from scaleout.caching.shared import Grant

LOCK = 10.0  # seconds after which a computation that does not end no longer holds up the others


@dataclass(frozen=True, slots=True)
class Lease:
    """What Redis granted for one computation. Without the lock another one is under way as well."""

    key: str
    owner: str
    grant: Grant

    def put(self, tags: tuple[str, ...], payload: bytes, seconds: float) -> bool:
        """Keep the value in Redis for `seconds` and give the lock back; return whether it is right,
        and none newer there. Raises AwayError.
        """
        return process.current.shared.put(self.key, self.owner, self.grant.time, tags, payload, seconds)

    def release(self) -> None:
        """Give the lock back. While Redis is down, it expires."""
        if self.grant.locked:
            with suppress(AwayError):
                process.current.shared.release(self.key, self.owner)


def new_owner() -> str:
    """Return a name for one holder of a lease. It keeps the name as often as it asks."""
    return secrets.token_hex(8)


def take(call: Call, owner: str) -> Lease:
    """Ask for the lease of a value once. Raises AwayError."""
    grant = process.current.shared.begin(call.key, guess(call.key), call.recipe.stale, owner, LOCK)
    return Lease(call.key, owner, grant)


def try_take(call: Call) -> Lease | None:
    """Do the same, but return None while Redis is down."""
    process.current.watch.start()
    try:
        return take(call, new_owner())
    except AwayError:
        return None
