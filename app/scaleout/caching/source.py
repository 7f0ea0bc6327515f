"""What the cache has to know of where values are computed from: `CACHING["SOURCE"]`, the
dotted name of a module.

A cache above a database with replicas needs it: what is computed after an invalidation must be read
from a server that has the change. Without the setting there is one database, which always has it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib import import_module
from typing import Protocol, cast

from scaleout.caching.conf import conf


class Source(Protocol):
    """What the module has."""

    def token(self) -> str:
        """Return the newest state of the database after a commit of this caller, or nothing if it
        is not known.

        Tokens are of one length, and a newer one is greater as text.
        """

    def newest(self) -> str:
        """Return the token of all that anybody has committed: whoever asks for it reads from where
        writes go.
        """

    def at_least(self, token: str) -> AbstractContextManager[bool]:
        """Let reads in the block see the state `token`; give False where no server that is there
        has it.
        """

    def must_be_fresh(self) -> bool:
        """Return whether the caller may not be shown anything that is a moment old: it has just
        written.
        """


class OneDatabase:
    """No replicas."""

    def token(self) -> str:
        """Return nothing."""
        return ""

    def newest(self) -> str:
        """Return nothing."""
        return ""

    def at_least(self, _token: str) -> AbstractContextManager[bool]:
        """Let reads be as they are."""
        return nullcontext(True)

    def must_be_fresh(self) -> bool:
        """Return False."""
        return False


@cache
def source() -> Source:
    """Return the source of the settings."""
    name = conf().source
    return cast(Source, import_module(name)) if name else OneDatabase()
