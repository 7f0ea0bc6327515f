"""Writes to the primary; reads from a replica that has replayed what the reader has written."""

from scaleout.replication.causal import has_position, headers, position
from scaleout.replication.router import at_least, use_primary
from scaleout.replication.state import begin
from scaleout.replication.views import PrimaryMixin, ReadOnlyMixin, read_only

__all__ = [
    "PrimaryMixin",
    "ReadOnlyMixin",
    "at_least",
    "begin",
    "has_position",
    "headers",
    "position",
    "read_only",
    "use_primary",
]
