"""The glue between cache and replication, since neither package imports the other."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext

from scaleout import replication
from scaleout.replication import lsn

_POSITION = re.compile("[0-9a-f]{16}")


def token() -> str:
    """Return the LSN of this caller's last write on the primary; empty without a write."""
    position = replication.position()
    return f"{position:016x}" if position else ""


def newest() -> str:
    """Return an LSN that no replica has reached."""
    return f"{lsn.MAXIMUM:016x}"


def at_least(token: str) -> AbstractContextManager[bool]:
    """Send reads to a server that has replayed this LSN."""
    if not token:
        return nullcontext(True)
    # The token comes from Redis: an invalid one counts as an LSN that no server has reached.
    return replication.at_least(int(token, 16)) if _POSITION.fullmatch(token) else nullcontext(False)


def must_be_fresh() -> bool:
    """Return whether the request names a write that its reads must see."""
    return replication.has_position()
