"""A page of users: from one shard, from all of them one after the other, and from all at once."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from functools import cache, partial
from operator import attrgetter

from django.conf import settings
from django.db import close_old_connections
from shop.users.models import User

from programs.prepare import prepare
from programs.serve import Operation, serve

ROWS = 30_000
PAGE = 100


@cache
def starts() -> list[int]:
    """Return ids all over the table, from which a page can start and be full."""
    ids = sorted(
        one
        for alias in settings.SHARDING["SHARDS"].values()
        for one in User.objects.using(alias).values_list("id", flat=True)
    )
    return ids[: len(ids) // 2 : 50]


def one_shard(alias: str, after: int) -> list[User]:
    """Return a page of one shard, and the row by which one knows that there is another page."""
    return list(User.objects.using(alias).filter(id__gt=after).order_by("id")[: PAGE + 1])


def in_turn(after: int) -> list[User]:
    """Return a page of all shards, asked one after the other."""
    parts = [one_shard(alias, after) for alias in settings.SHARDING["SHARDS"].values()]
    return list(heapq.merge(*parts, key=attrgetter("id")))[: PAGE + 1]


def scattered(after: int) -> list[User]:
    """Return a page of all shards, as the project asks them."""
    page = User.objects.scatter(PAGE, after)
    if page.partial:
        raise RuntimeError(f"missing: {page.missing}")
    return page.items


def page(ask: Callable[[int], list[User]]) -> Operation:
    """Return an operation: a page from somewhere, and the end of the request."""

    def once() -> int:
        rows = ask(random.choice(starts()))
        if len(rows) < PAGE:
            raise RuntimeError(f"{len(rows)} rows are no page")
        close_old_connections()
        return 1

    return once


OPERATIONS: dict[str, Operation] = {
    "one": page(partial(one_shard, "shard0")),
    "in turn": page(in_turn),
    "scatter": page(scattered),
}


def main() -> None:
    """Serve the harness."""
    serve(OPERATIONS, partial(prepare, ROWS))
