"""A sample of many users and orders: inserted into the shards, then used through the services."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from support.sql import Connection, connect, shard_hosts
from support.stack import Stack

EACH = 1000  # users of a bucket, and orders
# An id is seconds << 21 | bucket << 11 | sequence. These seconds are long past, so no other user is
# given such an id.
USER, ORDER, ITEM = 0, 1, 2
END = (EACH + 1) << 21

_USERS = f"""
    INSERT INTO users_user (id, email, name, password, is_staff, created_at)
    SELECT id, 'sample-' || id || '@example.org', 'first', '!', false, now()
      FROM (SELECT (n::bigint << 21) | (bucket::bigint << 11) AS id
              FROM generate_series(1, {EACH}) AS n, unnest(%s::int[]) AS bucket) AS ids
"""
_ORDERS = f"""
    INSERT INTO orders_order (id, user_id, status, total, currency, archived, created_at, idempotency_key)
    SELECT id | {ORDER}, id, 'placed', 700, 'EUR', false, now(), 'sample'
      FROM (SELECT (n::bigint << 21) | (bucket::bigint << 11) AS id
              FROM generate_series(1, {EACH}) AS n, unnest(%s::int[]) AS bucket) AS ids
"""
_ITEMS = f"""
    INSERT INTO orders_orderitem (id, order_id, product_id, quantity, unit_price)
    SELECT id | {ITEM}, id | {ORDER}, 1, 7, 100
      FROM (SELECT (n::bigint << 21) | (bucket::bigint << 11) AS id
              FROM generate_series(1, {EACH}) AS n, unnest(%s::int[]) AS bucket) AS ids
"""
_FILL = {"users": (_USERS,), "orders": (_ORDERS, _ITEMS)}
# With the orders of the sample's users.
_EMPTY = {
    "users": (f"DELETE FROM users_user WHERE id < {END}",),
    "orders": (
        f"DELETE FROM orders_orderitem WHERE order_id IN (SELECT id FROM orders_order WHERE user_id < {END})",
        f"DELETE FROM orders_order WHERE user_id < {END}",
    ),
}


@dataclass
class Shards:
    """Connections to the databases of one context, as their owner."""

    stack: Stack
    context: str
    buckets: list[int] = field(default_factory=list)  # the buckets with the sample
    map: Connection = field(init=False)
    by_number: dict[int, Connection] = field(init=False)

    def __post_init__(self) -> None:
        role = f"{self.context}_owner"
        self.map = connect(self.stack, "main", self.context, role)
        self.by_number = {
            number: connect(self.stack, host, f"{self.context}_shard_{number}", role)
            for number, host in shard_hosts().items()
        }

    def close(self) -> None:
        """Close the connections."""
        for one in (self.map, *self.by_number.values()):
            one.close()

    def held_by(self, number: int) -> list[int]:
        """Return the buckets that the map gives to a shard."""
        rows = self.map.execute("SELECT bucket FROM sharding_bucketmap WHERE shard = %s ORDER BY bucket", [number])
        return [bucket for (bucket,) in rows]

    def fill(self, number: int, buckets: list[int]) -> None:
        """Insert the sample into buckets of a shard."""
        for statement in _FILL[self.context]:
            self.by_number[number].execute(statement, [buckets])

    def empty(self) -> None:
        """Delete the sample on all shards."""
        for shard in self.by_number.values():
            with shard.transaction():
                shard.execute("SET LOCAL sharding.mover = 'on'")  # also rows that a move has left behind
                for statement in _EMPTY[self.context]:
                    shard.execute(statement)

    def places(
        self, table: str, columns: str, also: Iterable[int] = ()
    ) -> dict[int, list[tuple[int, tuple[object, ...]]]]:
        """Return each row of the sample and of `also`: its shards, and its values there."""
        found: dict[int, list[tuple[int, tuple[object, ...]]]] = {}
        for number, shard in self.by_number.items():
            rows = shard.execute(
                f"SELECT id, {columns} FROM {table} JOIN sharding_bucket ON bucket = (id >> 11) & 1023"
                f" WHERE (id < {END} OR id = ANY(%s)) AND state IN ('active', 'blocked')",
                [list(also)],
            )
            for id_, *values in rows:
                found.setdefault(id_, []).append((number, tuple(values)))
        return found

    def step(self) -> str:
        """Return the step of the newest move."""
        row = self.map.execute("SELECT step FROM sharding_move ORDER BY id DESC LIMIT 1").fetchone()
        return str(row[0]) if row else "none"
