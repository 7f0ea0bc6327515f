"""PostgreSQL from this machine with a role of the application, but without the application."""

from __future__ import annotations

from typing import Any

import psycopg

from support.restore import primary
from support.settings import secret
from support.stack import Stack

type Connection = psycopg.Connection[tuple[Any, ...]]


def connect(stack: Stack, host: str, database: str, role: str) -> Connection:
    """Return a connection in autocommit. `host`: a service, or `main` for the primary."""
    service = primary(stack) if host == "main" else host
    return psycopg.connect(
        host=stack.container(service).address("app"),
        dbname=database,
        user=role,
        password=secret(f"db_{role}"),
        connect_timeout=5,
        sslmode="disable",
        autocommit=True,
    )


def shard_hosts() -> dict[int, str]:
    """Return the host of each shard by its number."""
    return {0: "main", 1: "shard-1", 2: "shard-2"}
