"""Refuse what has waited too long to be useful, before it costs anything; what matters least goes
first.
"""

from scaleout.shedding.middleware import SheddingMiddleware

__all__ = ["SheddingMiddleware"]
