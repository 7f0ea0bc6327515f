"""Refuse requests that have waited too long to be useful, the least important kind first."""

from scaleout.shedding.middleware import SheddingMiddleware

__all__ = ["SheddingMiddleware"]
