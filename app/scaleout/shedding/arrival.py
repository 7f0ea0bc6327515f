"""How long a request has waited, by the stamp that the load balancer gave it."""

from __future__ import annotations

import re

OLDEST = 60.0  # seconds: what is older was stamped by another clock

_STAMP = re.compile(r"t=([0-9]{13})")


def waited(stamp: str, now: float, try_seconds: float) -> float | None:
    """Return the seconds since `stamp` (`t=` and milliseconds since 1970); None if it is missing or
    makes no sense.

    The load balancer waits `try_seconds` for an answer and may then try once more, with the same
    stamp: what is older than one try waits for its second.
    """
    found = _STAMP.fullmatch(stamp)
    if not found:
        return None
    age = now - int(found[1]) / 1000
    if not 0 <= age <= OLDEST:
        return None
    return age - try_seconds if age >= try_seconds else age
