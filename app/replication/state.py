"""What one request, task or command has done to the databases so far, and what its reads must have seen."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class Trail:
    """One request's or task's way through the databases."""

    after: int = 0  # the position in the log that a replica must have replayed to be read
    wrote: bool = False  # reads stay on the primary
    on_primary: int = 0  # how many use_primary() blocks are open
    primary_said: bool = False  # the router has chosen the primary for a reason
    replica: str | None = None  # the alias that this request reads: it must not see two moments
    queries: dict[str, int] = field(default_factory=dict)  # by alias, in the order of the first
    servers: dict[str, str] = field(default_factory=dict)  # the server that answered last, by alias

    def record(self, alias: str, server: str = "") -> None:
        """Count a query to `alias`, which `server` answers."""
        self.queries[alias] = self.queries.get(alias, 0) + 1
        self.servers[alias] = server


_trail: ContextVar[Trail | None] = ContextVar("replication_trail", default=None)


def current() -> Trail:
    """Return the trail of the request, task or thread that asks; a new one where there is none yet."""
    trail = _trail.get()
    if trail is None:
        trail = begin()
    return trail


def begin(after: int = 0) -> Trail:
    """Start afresh, with reads that have seen `after`: called at the start of each request and task."""
    trail = Trail(after)
    _trail.set(trail)
    return trail
