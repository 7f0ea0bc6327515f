"""Writes to the primary; reads from a replica that has replayed what the reader has written."""

from replication.causal import headers, position, told
from replication.routing import at_least, use_primary
from replication.state import begin

__all__ = ["at_least", "begin", "headers", "position", "told", "use_primary"]
