"""What goes wrong by a mistake of the programmer, and what by Redis."""

from __future__ import annotations


class UncacheableError(TypeError):
    """An argument that can't be part of a key, or a result that can't be pickled."""


class AwayError(Exception):
    """Redis can't be asked at the moment: go on without it."""
