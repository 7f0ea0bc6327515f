"""For tests and development: a read of the primary must be declared."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import BaseDatabaseWrapper

from scaleout.replication import state


class UnsaidPrimaryRead(ImproperlyConfigured):
    """A query reads the primary outside of a write, a transaction and `use_primary()`."""


def refuse_unsaid(connection: BaseDatabaseWrapper, sql: str) -> None:
    """Raise UnsaidPrimaryRead unless the read of the primary was declared.

    Enabled by `REPLICATION["GUARD"]`.
    """
    trail = state.current()
    if not (connection.in_atomic_block or trail.on_primary or trail.done.primary_said):
        raise UnsaidPrimaryRead(
            f"this reads the primary without need: let the router choose, or say `with use_primary():`\n{sql[:200]}"
        )
