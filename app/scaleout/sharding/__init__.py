"""Rows over several databases: an id names its bucket, and a map names the shard of each bucket."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaleout.sharding.base import ShardedModel
    from scaleout.sharding.fence import FenceTable
    from scaleout.sharding.manager import ShardedManager
    from scaleout.sharding.router import ShardRouter
    from scaleout.sharding.transactions import shard_atomic

__all__ = [
    "FenceTable",
    "ShardRouter",
    "ShardedManager",
    "ShardedModel",
    "shard_atomic",
]
_HOMES = {
    "FenceTable": "fence",
    "ShardRouter": "router",
    "ShardedManager": "manager",
    "ShardedModel": "base",
    "shard_atomic": "transactions",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use: Django imports an application before its models can
    be.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
