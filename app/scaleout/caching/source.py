"""The source of cached values: `CACHING["SOURCE"]`, the dotted name of a module.

A cache above a database with replicas needs it: a value computed after an invalidation must be read
from a server that has the change. By default the source is one database, which always has it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib import import_module
from typing import Protocol, cast

from scaleout.caching.conf import conf


class Source(Protocol):
    """The functions of the module."""

    def token(self) -> str:
        """Return the newest state of the database after a commit of this caller, or nothing if
        unknown.

        Tokens are of one length, and a newer one is greater as text.
        """

    def newest(self) -> str:
        """Return a token that covers every commit so far: its readers read from the primary."""

    def at_least(self, token: str) -> AbstractContextManager[bool]:
        """Let reads in the block see the state `token`; yield False if no available server
        has it.
        """

    def must_be_fresh(self) -> bool:
        """Return whether the caller needs the newest state: it has just written."""


class OneDatabase:
    """A source without replicas."""

    def token(self) -> str:
        """Return nothing."""
        return ""

    def newest(self) -> str:
        """Return nothing."""
        return ""

    def at_least(self, _token: str) -> AbstractContextManager[bool]:
        """Change nothing."""
        return nullcontext(True)

    def must_be_fresh(self) -> bool:
        """Return False."""
        return False


@cache
def source() -> Source:
    """Return the source of the settings."""
    name = conf().source
    return cast(Source, import_module(name)) if name else OneDatabase()
