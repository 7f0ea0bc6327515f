"""The errors of sharded tables, each with its remedy."""

# Each class is named after what is not allowed, so it needs no suffix "Error".

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError


class ShardingError(Exception):
    """The code asks for what shards cannot do. A retry does not help."""


class ShardKeyRequired(ShardingError):  # noqa: N818
    """The query does not name a shard."""


class CrossShardTransaction(ShardingError):  # noqa: N818
    """A transaction would write to two shards: no database could roll back one when the other
    fails.
    """


class CrossShardRelation(ShardingError, ValueError):  # noqa: N818
    """Two objects of different buckets would be related: a move could separate them."""


class MapIncomplete(ImproperlyConfigured):
    """The map lacks a known shard for a bucket: run `prepare`, or configure the shard."""


class BucketMoved(OperationalError):  # noqa: N818
    """The bucket takes no writes on the shard that the map names: it is moving. Retry a moment
    later.
    """


class MapUnavailable(OperationalError):  # noqa: N818
    """The map cannot be read, and the copy of it in this process is too old."""
