"""What ties the cache to the replicas: neither package knows the other."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import replication
from replication import lsn


def token() -> str:
    """Return the position of the primary's log that shows what this caller has committed."""
    position = replication.position()
    return f"{position:016x}" if position else ""


def newest() -> str:
    """Return a position that no replica has reached."""
    return f"{lsn.MAXIMUM:016x}"


def at_least(token: str) -> AbstractContextManager[bool]:
    """Let reads go to a server that has replayed that position."""
    return replication.at_least(int(token, 16)) if token else nullcontext(True)


def must_be_fresh() -> bool:
    """Return whether the caller has said what its reads must have seen."""
    return replication.told()
