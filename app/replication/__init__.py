"""Writes to the primary, reads to the replicas: a first cut, without lag or causality."""

from replication.routing import use_primary

__all__ = ["use_primary"]
