"""A view with one query over each kind of connection."""

from __future__ import annotations

from functools import cache, partial

from programs.prepare import prepare
from programs.serve import Operation, serve
from programs.views import request

PROCESSES, THREADS = 6, 4  # of the stack: 3 replicas with 2 processes each, 4 threads in each
ALIASES = ("new", "persistent", "checked", "django", "pool", "through", "through, new", "through, persistent")


_prepared = cache(request)


def ask(alias: str) -> int:
    """Ask the view over connections of `alias`."""
    return _prepared(f"/named/{alias}")()


OPERATIONS: dict[str, Operation] = {alias: partial(ask, alias) for alias in ALIASES}


def main() -> None:
    """Serve the harness."""
    serve(OPERATIONS, prepare, processes=PROCESSES, threads=THREADS)
