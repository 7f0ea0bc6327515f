"""The wait of a request, by the stamp of the load balancer."""

from __future__ import annotations

import re

OLDEST = 60.0  # seconds; another clock made an older stamp

_STAMP = re.compile(r"t=([0-9]{13})")


def waited(stamp: str, now: float, try_seconds: float) -> float | None:
    """Return the seconds since `stamp` (`t=` and milliseconds since 1970); None without a valid
    stamp.

    The load balancer waits `try_seconds` for an answer and may then try once more with the same
    stamp: a request older than one try is in its second.
    """
    found = _STAMP.fullmatch(stamp)
    if not found:
        return None
    age = now - int(found[1]) / 1000
    if not 0 <= age <= OLDEST:
        return None
    return age - try_seconds if age >= try_seconds else age
