"""The one error that a person sees as a line, without a traceback."""

from __future__ import annotations


class BenchError(Exception):
    """Something outside the harness is not as it must be; the text says what and what to do."""
