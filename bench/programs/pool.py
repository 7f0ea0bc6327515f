"""A view with one query over each kind of connection, and what a pooler in between breaks."""

from __future__ import annotations

from functools import cache, partial

from programs.breaks import breaks
from programs.prepare import prepare
from programs.serve import Operation, serve
from programs.views import request

PROCESSES, THREADS = 6, 4  # of the stack: 3 replicas with 2 processes each, 4 threads in each
ALIASES = ("new", "persistent", "checked", "django", "pool", "through", "through, new", "through, persistent")


@cache
def prepared(alias: str) -> Operation:
    """Return the request over connections of `alias`."""
    return request(f"/named/{alias}")


def ask(alias: str) -> int:
    """Ask it."""
    return prepared(alias)()


OPERATIONS: dict[str, Operation] = {alias: partial(ask, alias) for alias in ALIASES}


def main() -> None:
    """Serve the harness."""
    serve(OPERATIONS, prepare, calls={"breaks": breaks}, processes=PROCESSES, threads=THREADS)
