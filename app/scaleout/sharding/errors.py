"""What can go wrong with a sharded table, and what to do about it."""

# What is not allowed is named by what it is; whoever reads a traceback needs no "Error" behind it.

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError


class ShardingError(Exception):
    """The code asks for what shards cannot give. Another try will not help."""


class ShardKeyRequired(ShardingError):  # noqa: N818
    """The query does not say which shard to ask."""


class CrossShardTransaction(ShardingError):  # noqa: N818
    """A transaction would hold writes on two shards: no database could undo the one when the other
    fails.
    """


class CrossShardRelation(ShardingError, ValueError):  # noqa: N818
    """Two objects that belong to different buckets are to be related: one of them may move away
    from the other.
    """


class MapIncomplete(ImproperlyConfigured):
    """The map does not name a known shard for each bucket: `prepare` has not run, or a shard is not
    configured.
    """


class BucketMoved(OperationalError):  # noqa: N818
    """The bucket takes no writes where the map says: it is about to move. Another try, a moment
    later, will do.
    """


class MapUnavailable(OperationalError):  # noqa: N818
    """The map cannot be read, and what is remembered of it is too old to be trusted."""
