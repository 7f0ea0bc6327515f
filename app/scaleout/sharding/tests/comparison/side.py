"""One of the two sides, and what of its answers can be compared: ids are replaced by the names of
their rows.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import AbstractContextManager, suppress
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, connections, transaction
from django.db.models import Model

from scaleout.sharding import shard_map
from scaleout.sharding.errors import BucketMoved, ShardingError
from scaleout.sharding.tests.comparison.twins import FIRST_ID, PLAIN, SHARDED, TWINS
from scaleout.sharding.transactions import shard_atomic

RECENT = 8  # objects of a kind of which an operation chooses
# The last one: a lock on another shard than that of the transaction.
REFUSALS = (ShardingError, BucketMoved, transaction.TransactionManagementError)
LOST = (OperationalError, InterfaceError)


class NothingThereError(Exception):
    """The operation needs an object that the example does not have."""


class Side(ABC):
    """The models of one side and the objects that the operations hold, by kind, in the order of
    their making.
    """

    def __init__(self, models: dict[str, Any]) -> None:
        self.models = models
        self.held: dict[str, list[Any]] = {kind: [] for kind in models}
        self.owner: dict[int, int] = {}  # the rank of each object's author, by its own rank
        self.names: dict[int, str] = {}  # of rows, by their ids
        self.rank = 0  # of the newest row
        self.scope: int | None = None  # the rank of the author that a transaction is about

    # ── what operations choose from ───────────────────────────────────────────────────────────────
    def pick(self, kind: str, number: int) -> Any:
        """Return one of the newest objects of a kind; in a transaction one of its author's."""
        found = self.some(kind)
        if not found:
            raise NothingThereError
        return found[number % len(found)]

    def some(self, kind: str) -> list[Any]:
        """Return the newest objects of a kind, in a transaction those of its author."""
        mine = [one for one in self.held[kind] if self.scope in {None, self.owner[one.rank]}]
        return mine[-RECENT:]

    def new_rank(self) -> int:
        """Return the name of a new row."""
        self.rank += 1
        return self.rank

    def hold(self, kind: str, made: Any, parent: Any = None) -> Any:
        """Keep a new object, which belongs to `parent`, for later operations."""
        if all(one.rank != made.rank for one in self.held[kind]):
            self.held[kind].append(made)
            self.owner[made.rank] = self.owner[parent.rank] if parent is not None else made.rank
        return made

    # ── transactions ──────────────────────────────────────────────────────────────────────────────
    @abstractmethod
    def atomic(self, author: Any, how: str) -> AbstractContextManager[object]:
        """Return a transaction for what belongs to the author."""

    @abstractmethod
    def alias_of(self, author: Any) -> str:
        """Return the database of the author."""

    @abstractmethod
    def rows(self) -> Counter[tuple[Any, ...]]:
        """Return all rows by kind, without their ids."""

    def _rows_at(self, alias: str) -> list[tuple[str, dict[str, Any]]]:
        parts = [
            f"SELECT '{kind}', to_jsonb(one) FROM {model._meta.db_table} AS one"  # noqa: S608 - our own tables
            for kind, model in self.models.items()
        ]
        with connections[alias].cursor() as cursor:
            cursor.execute(" UNION ALL ".join(parts))
            found = [(kind, json.loads(row)) for kind, row in cursor.fetchall()]
        for _, row in found:
            self.names[row["id"]] = f"#{row['rank']}"
        return found

    # ── what can be compared ──────────────────────────────────────────────────────────────────────
    def learn(self) -> None:
        """Remember which rows the objects are, also those that were rolled back."""
        for objects in self.held.values():
            for one in objects:
                if one.pk is not None:
                    self.names[one.pk] = f"#{one.rank}"

    def kind_of(self, model: type[Model]) -> str:
        """Return which of the tables a model is."""
        return next((kind for kind, one in self.models.items() if one is model), model.__name__)

    def plain(self, value: Any) -> Any:
        """Return a value without ids and models."""
        if isinstance(value, Model):
            return (self.kind_of(type(value)), *sorted(self._attributes(value).items(), key=lambda item: item[0]))
        if isinstance(value, dict):
            return {self._key(key): self.plain(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.plain(one) for one in value]
        if isinstance(value, set | frozenset):
            return sorted(repr(self.plain(one)) for one in value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= FIRST_ID:
            return self.names.get(value, "an unknown id")
        return value if value is None or isinstance(value, bool | int | str) else repr(value)

    def _key(self, key: Any) -> Any:
        if isinstance(key, str) and key.startswith("sharding."):  # of the answer of delete()
            return key.removeprefix("sharding.Shard").removeprefix("sharding.Plain")
        return self.plain(key)

    def _attributes(self, one: Model) -> dict[str, Any]:
        known = {name: value for name, value in one.__dict__.items() if not name.startswith("_")}
        found = {name: self.plain(value) for name, value in known.items()}
        for name, value in one._state.fields_cache.items():
            found[f"cached {name}"] = value and (self.kind_of(type(value)), value.__dict__.get("rank"))
        for name, rows in getattr(one, "_prefetched_objects_cache", {}).items():
            found[f"prefetched {name}"] = sorted((self.plain(row) for row in rows), key=repr)
        return found

    def states(self) -> list[tuple[Any, ...]]:
        """Return what the held objects have in memory."""
        self.learn()
        return [
            (kind, one._state.adding, one.pk is None, sorted(one.get_deferred_fields()), self.plain(one))
            for kind, objects in self.held.items()
            for one in objects
        ]

    def forget_lost_connections(self) -> None:
        """Close them, as Django does between two requests."""
        for connection in connections.all(initialized_only=True):
            if connection.connection is not None and not connection.is_usable():
                connection.close()

    def kill(self, alias: str) -> None:
        """End the connection to a database from outside."""
        session: Any = connections[alias].connection
        if session is not None:
            with suppress(*LOST), connections["default"].cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [session.info.backend_pid])


class Shards(Side):
    """The side that is tested."""

    def __init__(self) -> None:
        super().__init__(SHARDED)

    def atomic(self, author: Any, how: str) -> AbstractContextManager[object]:
        """Return it by one of two ways."""
        if how == "shard_atomic" and author.pk is not None:
            return shard_atomic(author.pk)
        return transaction.atomic(using=self.alias_of(author))

    def alias_of(self, author: Any) -> str:
        """Return the shard of the author; any if it has none."""
        return shard_map.current().alias_of(author.bucket or 0)

    def rows(self) -> Counter[tuple[Any, ...]]:
        """Return the rows as their owners have them."""
        shard_map.current().expire()
        found = [
            (kind, row)
            for alias in settings.SHARDING["SHARDS"].values()
            for kind, row in self._rows_at(alias)
            if shard_map.current().alias_for(row["id"]) == alias
        ]
        return _counted(self, found)


class Plain(Side):
    """The side that is right."""

    def __init__(self) -> None:
        super().__init__(TWINS)

    def atomic(self, author: Any, how: str) -> AbstractContextManager[object]:
        """Return one."""
        return transaction.atomic(using=PLAIN)

    def alias_of(self, author: Any) -> str:
        """Return the one that there is."""
        return PLAIN

    def rows(self) -> Counter[tuple[Any, ...]]:
        """Return them."""
        return _counted(self, self._rows_at(PLAIN))


def _counted(side: Side, rows: list[tuple[str, dict[str, Any]]]) -> Counter[tuple[Any, ...]]:
    return Counter((kind, *((name, side.plain(value)) for name, value in sorted(row.items()))) for kind, row in rows)
