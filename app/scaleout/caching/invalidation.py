"""Invalidate after the commit, never before; and warn before it, so that nothing is lost with a
killed process.
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
MOST = 5000  # tags of one transaction; more are EVERYTHING, or they would keep Redis from all others

# What a transaction under way is going to invalidate, by its connection. Each thread has
# connections of its own. What an earlier one has left may be there too: it was rolled back, or its
# hook did not come to run.
_going: WeakKeyDictionary[Any, set[str]] = WeakKeyDictionary()


def checked(tags: Iterable[str]) -> set[str]:
    """Return `tags` as a set. Raises UncacheableError for what is no tag: ASCII without spaces, 300
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
    """Make every value wrong that has one of `tags`, in every process: at once, or after the commit
    of each transaction that this thread has open, on any database. Raises nothing if Redis is away:
    it is told when it is back.

    Raises TransactionManagementError where a commit can't be waited for: `set_autocommit(False)`
    outside of `atomic()`.
    """
    for alias in [one.alias for one in connections.all(initialized_only=True) if _open(one)] or ["default"]:
        invalidate_on(alias, *tags)


def invalidate_on(using: str, *tags: str) -> None:
    """Do the same for what was changed on the database `using`, and nowhere else: after its
    transaction's commit.
    """
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
    # once. If it goes with a savepoint that is rolled back, so does what was changed so far; and
    # the next change has a hook of its own.
    if not hooked:
        transaction.on_commit(partial(_tell, connection), using=using)


def forewarn(*tags: str) -> None:
    """Say that `tags` are about to be changed: if nothing follows, they are invalid a few seconds
    later all the same.
    """
    if tags:
        process.current.watch.start()
        with suppress(AwayError):  # then it is told after the commit, when Redis is back
            process.current.shared.forewarn(_few(checked(tags)))


def clear() -> None:
    """Make every value wrong, when `invalidate` would."""
    invalidate(EVERYTHING)


def _tell(connection: Any) -> None:
    if connection in _going:
        token = source().token()  # first: if that fails, the tags are still there
        process.current.tell(_going.pop(connection), token)


def _hooked(connection: Any) -> bool:
    """Return whether the open transaction itself is going to tell: what is in `_going` may be an
    earlier one's.
    """
    return any(getattr(hook, "func", None) is _tell for _, hook, *_ in connection.run_on_commit)


def in_transaction() -> bool:
    """Return whether this thread has a transaction open: what it computes may be rolled back, or
    old.
    """
    return any(_open(connection) for connection in connections.all(initialized_only=True))


def _open(connection: Any) -> bool:
    return connection.in_atomic_block or (connection.connection is not None and not connection.autocommit)


def _few(tags: set[str]) -> set[str]:
    return tags if len(tags) <= MOST else {EVERYTHING}


def going_to_invalidate() -> bool:
    """Return whether a transaction of this thread has changed what is cached: it must see its own
    changes.
    """
    if not _going:
        return False
    for connection in connections.all(initialized_only=True):
        if connection in _going:
            if connection.in_atomic_block:
                return True
            # It was rolled back, which costs a computation; or an earlier hook of its commit has
            # failed, so that Django has dropped ours, or runs now.
            _tell(connection)
    return False
