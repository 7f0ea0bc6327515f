"""Errors of the programmer, and of Redis."""

from __future__ import annotations


class UncacheableError(TypeError):
    """An argument that cannot be part of a key, or a result that cannot be pickled."""


class AwayError(Exception):
    """Redis is not available at the moment: continue without it."""
