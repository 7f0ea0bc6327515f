"""Writes to the primary; reads from a replica that has replayed what the reader has written."""

from replication.causal import headers, position, told
from replication.routing import at_least, use_primary

__all__ = ["at_least", "headers", "position", "told", "use_primary"]
