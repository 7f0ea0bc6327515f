"""Ids of events: UUIDs of version 7 (RFC 9562, section 5.7), which begin with the time. Python 3.14
has them built in.
"""

from __future__ import annotations

import secrets
import time
import uuid

_VERSION, _VARIANT = 0x7, 0b10


def uuid7() -> uuid.UUID:
    """Return a new id: 48 bits of Unix time in milliseconds and 74 random bits.

    Ids of one millisecond have no order, and need none: the outbox orders the events of one
    aggregate.
    """
    milliseconds = time.time_ns() // 1_000_000 & (1 << 48) - 1
    random_a, random_b = secrets.randbits(12), secrets.randbits(62)
    return uuid.UUID(int=milliseconds << 80 | _VERSION << 76 | random_a << 64 | _VARIANT << 62 | random_b)
