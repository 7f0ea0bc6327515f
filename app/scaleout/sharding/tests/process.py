"""One of the processes that take ids at once."""

from __future__ import annotations

from django.conf import settings

from scaleout.sharding.tests.test_ids import take_many


def main(databases: list[str], number: int, count: int) -> None:
    """Take `count` ids as process `number`. `databases`: those of the shards."""
    for alias, name in zip(settings.SHARDING["SHARDS"].values(), databases, strict=True):
        settings.DATABASES[alias]["NAME"] = name
    take_many(number, count)
