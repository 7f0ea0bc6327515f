"""Shards in Django's `TestCase`: the map and the buckets, in the transactions of the test.

The transactions that `TestCase` opens on all databases do not count as the project's own
(`transactions.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.db import transaction
from django.test import TestCase

from scaleout.sharding import shard_map
from scaleout.sharding.conf import conf
from scaleout.sharding.fill import fill


@contextmanager
def filled() -> Iterator[None]:
    """Fill the map and the shards, in transactions that are rolled back at the end of the block."""
    with ExitStack() as stack:
        for alias in (shard_map.DATABASE, *conf().shards.values()):
            stack.enter_context(_rolled_back(alias))
        shard_map.forget()
        stack.callback(shard_map.forget)
        fill(shard_map.DATABASE, conf().shards)
        yield


@contextmanager
def _rolled_back(alias: str) -> Iterator[None]:
    atomic: Any = transaction.atomic(using=alias)
    atomic._from_testcase = True  # Django's mark of the transactions of `TestCase`
    with atomic:
        yield
        transaction.set_rollback(True, using=alias)


class ShardedTestCase(TestCase):
    """A `TestCase` whose shards are filled. Name further databases with `databases = {*...,
    "other"}`.
    """

    databases = {shard_map.DATABASE, *conf().shards.values()}  # noqa: RUF012 - Django's form

    @classmethod
    def setUpClass(cls) -> None:
        """Fill the shards for all tests of the class."""
        cls.enterClassContext(filled())
        super().setUpClass()
