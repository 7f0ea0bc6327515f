"""Invalidate after the commit, never before; and forewarn before it, so that a killed process loses
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from django.db import connections, transaction
from django.db.transaction import TransactionManagementError

from scaleout.caching import process
from scaleout.caching.errors import AwayError, UncacheableError
from scaleout.caching.shared import EVERYTHING
from scaleout.caching.source import source

_TAG = re.compile(r"[!-~]{1,300}")
MOST = 5000  # tags of one transaction; more are EVERYTHING, since they would block Redis for others

# The tags that an open transaction will invalidate, by its connection. Each thread has connections
# of its own. Tags of an earlier transaction may be left: it was rolled back, or its hook did not
# run.
_going: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


def checked(tags: Iterable[str]) -> set[str]:
    """Return `tags` as a set. Raises UncacheableError for anything but ASCII without spaces, 300
    characters at most.
    """
    if isinstance(tags, str):
        raise UncacheableError(f"tags are several: ({tags!r},)")
    found = set(tags)
    for tag in found:
        if not isinstance(tag, str) or not _TAG.fullmatch(tag):
            raise UncacheableError(f"not a tag: {tag!r}")
    return found


def invalidate(*tags: str) -> None:
    """Invalidate every value that has one of `tags`, in every process.

    At once, or after the commit of each transaction that this thread has open, on any database.
    While Redis is down nothing is raised: it gets the tags when it recovers.

    Raises TransactionManagementError if it cannot wait for a commit: `set_autocommit(False)`
    outside of `atomic()`.
    """
    for alias in [one.alias for one in connections.all(initialized_only=True) if _open(one)] or ["default"]:
        invalidate_on(alias, *tags)


def invalidate_on(using: str, *tags: str) -> None:
    """Do the same for a change of the database `using` only: after the commit there."""
    wrong = _few(checked(tags))
    if not wrong:
        return
    connection = transaction.get_connection(using)
    if not connection.in_atomic_block:
        if _open(connection):
            raise TransactionManagementError("what is cached can't be invalidated after a commit without atomic()")
        process.current.tell(wrong, source().token())
        return
    going, hooked = _going.setdefault(connection, set()), _hooked(connection)
    if hooked and EVERYTHING in going:
        return
    new = wrong - going if hooked else wrong | going
    going |= wrong
    if len(going) > MOST:
        going.clear()
        going.add(EVERYTHING)
        new = {EVERYTHING}
    forewarn(*new)
    # One hook takes all, so that a transaction of many changes asks for its position, and Redis,
    # once. A rollback to a savepoint may drop the hook with the changes so far; the next change
    # adds a hook of its own.
    if not hooked:
        transaction.on_commit(partial(_tell, connection), using=using)


def forewarn(*tags: str) -> None:
    """Announce that `tags` are about to change: without a later invalidation they expire within
    seconds.
    """
    if tags:
        process.current.watch.start()
        with suppress(AwayError):  # Redis gets the tags after the commit, when it recovers
            process.current.shared.forewarn(_few(checked(tags)))


def clear() -> None:
    """Invalidate every value, when `invalidate` would."""
    invalidate(EVERYTHING)


def _tell(connection: Any) -> None:
    if connection in _going:
        token = source().token()  # first: if that fails, the tags are kept
        process.current.tell(_going.pop(connection), token)


def _hooked(connection: Any) -> bool:
    """Return whether the open transaction has its hook: `_going` may be left from an
    earlier one.
    """
    return any(getattr(hook, "func", None) is _tell for _, hook, *_ in connection.run_on_commit)


def in_transaction() -> bool:
    """Return whether this thread has an open transaction: its values may be rolled back, or old."""
    return any(_open(connection) for connection in connections.all(initialized_only=True))


def _open(connection: Any) -> bool:
    return connection.in_atomic_block or (connection.connection is not None and not connection.autocommit)


def _few(tags: set[str]) -> set[str]:
    return tags if len(tags) <= MOST else {EVERYTHING}


def going_to_invalidate() -> bool:
    """Return whether a transaction of this thread has changed cached data: it must see its own
    changes.
    """
    if not _going:
        return False
    for connection in connections.all(initialized_only=True):
        if connection in _going:
            if connection.in_atomic_block:
                return True
            # It was rolled back, which costs a computation; or an earlier hook of its commit has
            # failed, so that Django has dropped this one; or the hook runs now.
            _tell(connection)
    return False
