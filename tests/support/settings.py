"""The location of the system under test, and the factor of all deadlines."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOAD_BALANCERS = ("nginx", "haproxy")

# The factor of every deadline: raise it on a slow or busy machine.
TIME_FACTOR = float(os.environ.get("TIME_FACTOR") or 1)

# The services of a stack at rest, with their numbers of containers.
REPLICAS = int(os.environ.get("WEB_REPLICAS") or 3)
MAIN_NODES = ("postgres-1", "postgres-2", "postgres-3")
WRITER = f"{','.join(MAIN_NODES)} target_session_attrs=read-write"  # a host for psql, as a list of them
SHARD_NODES = ("shard-1", "shard-2")


def secret(name: str) -> str:
    """Return the password that `make up` generated for `name`."""
    return (ROOT / "secrets" / name).read_text(encoding="utf-8").strip()
