"""Where the system under test is, and how patient the tests are."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOAD_BALANCERS = ("nginx", "haproxy")

# Every deadline is multiplied by this: raise it on a slow or busy machine.
TIME_FACTOR = float(os.environ.get("TIME_FACTOR") or 1)

# The services of a stack at rest, and how many containers of each.
REPLICAS = int(os.environ.get("WEB_REPLICAS") or 3)
MAIN_NODES = ("postgres-1", "postgres-2", "postgres-3")
WRITER = f"{','.join(MAIN_NODES)} target_session_attrs=read-write"  # a host for psql, as a list of them
SHARD_NODES = ("shard-1", "shard-2")


def secret(name: str) -> str:
    """Return the password that `make up` made for `name`."""
    return (ROOT / "secrets" / name).read_text(encoding="utf-8").strip()
