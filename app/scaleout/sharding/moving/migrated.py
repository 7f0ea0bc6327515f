"""Migrations and moves: rows move only between shards that have had the same migrations.

Else a data migration would change a row twice, or not at all. A migration changes the copied rows
at the target too, and the fence logs that; from then on the move rests until it is resumed and
copies them again.
"""

from __future__ import annotations

from collections.abc import Sequence

from scaleout.sharding.moving.session import Connection, MoveError
from scaleout.sharding.moving.state import ranges

_MIGRATIONS = "SELECT app, name FROM django_migrations"


def changed_there(target: Connection, buckets: Sequence[int]) -> list[int]:
    """Return the buckets whose copied rows a migration has changed at the target."""
    rows = target.execute("SELECT DISTINCT bucket FROM sharding_change WHERE bucket = ANY(%s)", [list(buckets)])
    return [bucket for (bucket,) in rows]


def refuse_migrated(source: Connection, target: Connection, buckets: Sequence[int]) -> None:
    """Raise MoveError if the two shards have had different migrations, or one has changed rows of
    the move.
    """
    here, there = ({tuple(row) for row in end.execute(_MIGRATIONS)} for end in (source, target))
    if different := here ^ there:
        name = ".".join(min(different))
        raise MoveError(f"only one of the shards has had the migration {name}: run the command prepare, then resume")
    if changed := changed_there(target, buckets):
        raise MoveError(
            f"a migration has changed rows of the buckets {ranges(changed)} at the target: when it is over on both"
            " shards, `reshard resume` copies them again"
        )
