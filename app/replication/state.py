"""What one request, task or command has done to the databases so far."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class Trail:
    """The aliases that were asked, in order, whether reads must stay on the primary, and when it began (monotonic)."""

    aliases: list[str] = field(default_factory=list)
    pinned: bool = False
    began: float = field(default_factory=time.monotonic)

    def record(self, alias: str) -> None:
        """Note that a query went to `alias`."""
        if alias not in self.aliases:
            self.aliases.append(alias)


_trail: ContextVar[Trail | None] = ContextVar("replication_trail", default=None)


def current() -> Trail:
    """Return the trail of the request, task or thread that asks; a new one where there is none yet."""
    trail = _trail.get()
    if trail is None:
        trail = begin()
    return trail


def begin() -> Trail:
    """Start afresh: called at the start of each request and task."""
    trail = Trail()
    _trail.set(trail)
    return trail
