"""What ties the cache to the replicas: neither package knows the other."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext

from scaleout import replication
from scaleout.replication import lsn

_POSITION = re.compile("[0-9a-f]{16}")


def token() -> str:
    """Return the position of the primary's log that shows what this caller has committed."""
    position = replication.position()
    return f"{position:016x}" if position else ""


def newest() -> str:
    """Return a position that no replica has reached."""
    return f"{lsn.MAXIMUM:016x}"


def at_least(token: str) -> AbstractContextManager[bool]:
    """Let reads go to a server that has replayed that position."""
    if not token:
        return nullcontext(True)
    # It comes by way of Redis: what is no position is one that no server has.
    return replication.at_least(int(token, 16)) if _POSITION.fullmatch(token) else nullcontext(False)


def must_be_fresh() -> bool:
    """Return whether the caller has said what its reads must have seen."""
    return replication.told()
