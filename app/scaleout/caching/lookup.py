"""Read a value from Redis into this process."""

from __future__ import annotations

import time

from scaleout.caching import codec, ledger, process
from scaleout.caching.call import Call
from scaleout.caching.errors import AwayError
from scaleout.caching.local import Held
from scaleout.caching.shared import Found

STALE_HOLD = 0.2  # seconds that a process believes a stale value: another one is being computed


def guess(key: str) -> tuple[str, ...]:
    """Return the tags that the value had when this process last held it: most likely still its."""
    held = process.current.store.get(key)
    return held.tags if held else ()


def look(call: Call) -> Held | None:
    """Return the value of Redis, stale ones too, if there is a right one. Raises AwayError."""
    now, position = time.monotonic(), process.current.ledger.position
    process.current.watch.start()
    found = process.current.shared.look(call.key, guess(call.key), call.recipe.stale)
    return hold(call.key, found, now, position) if found else None


def try_look(call: Call) -> Held | None:
    """Do the same, but return None while Redis is down."""
    try:
        return look(call)
    except AwayError:
        return None


def hold(key: str, found: Found, now: float, position: int) -> Held | None:
    """Keep in this process what was right in Redis at `now`, when the ledger stood at `position`.

    Return None for a payload that cannot be read: one of another release of the application.
    """
    try:
        value = codec.load(found.payload)
    except Exception:  # a pickle of changed classes may raise anything
        return None
    good = found.remaining if found.remaining > 0 else STALE_HOLD
    held = Held.of(value, found.payload, now + min(ledger.CAP, good))
    held.tags, held.checked, held.remaining, held.at = found.tags, position, found.remaining, now
    process.current.store.put(key, held)
    return held
