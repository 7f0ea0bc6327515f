"""Writes to the primary; reads from a replica that has replayed what the reader has written."""

from replication.causal import headers, told
from replication.routing import use_primary

__all__ = ["headers", "told", "use_primary"]
