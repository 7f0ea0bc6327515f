"""The metrics of a move that rests."""

from __future__ import annotations

import math

import pytest
from django.conf import LazySettings
from django.db import connections, transaction
from waiting import in_time

from scaleout.sharding import measuring, metrics
from scaleout.sharding.conf import conf
from scaleout.sharding.measuring import measure
from scaleout.sharding.moving.steps import Mover
from scaleout.sharding.tests.shelves import TABLES, Author, author_on

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"]),
    pytest.mark.usefixtures("shelves"),
]


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at each call, and with time for a busy machine."""
    monkeypatch.setattr(measuring, "EVERY", 0.0)
    monkeypatch.setattr(measuring, "PATIENCE", 10.0)


def name(alias: str) -> str:
    return str(connections[alias].settings_dict["NAME"])


def changes(alias: str) -> float:
    return float(metrics.changes.labels(name(alias))._value.get())


def age() -> float:
    return float(metrics.age.labels(name("default"))._value.get())


class RestError(Exception):
    """Ends a move before its buckets are blocked."""


def rest_before_the_block(what: str, _done: int, _of: int) -> None:
    if what == "copying":
        raise RestError


def test_a_move_that_rests_shows_its_age_and_how_its_log_grows() -> None:
    author = author_on(0)
    bucket = author.bucket
    assert bucket is not None
    measure()
    assert (changes("shard0"), age()) == (0, 0)
    with Mover("default", conf().shards, [model._meta.db_table for model in TABLES], rest_before_the_block) as mover:
        job = mover.start(0, 2, [bucket])
        with pytest.raises(RestError):
            mover.run(job)
    for number in range(5):
        Author.objects.filter(pk=author.pk).update(name=f"{number}")
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE sharding_move SET created = created - interval '1 day'")
    measure()
    assert (changes("shard0"), changes("shard1")) == (5, 0)
    assert metrics.size.labels(name("shard0"))._value.get() >= 8192
    assert 86_400 <= age() < 87_000
    with Mover("default", conf().shards, [model._meta.db_table for model in TABLES]) as mover:
        mover.abort(job)
    measure()
    assert (changes("shard0"), age()) == (0, 0)


def test_a_shard_that_does_not_answer_in_time_is_no_number_and_delays_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "PATIENCE", 0.5)
    with transaction.atomic(using="shard1"), connections["shard1"].cursor() as cursor:
        cursor.execute("LOCK TABLE sharding_change")
        with in_time():
            measure()
        assert math.isnan(changes("shard1"))
        monkeypatch.setattr(measuring, "PATIENCE", 10.0)
        measure()
        assert (math.isnan(changes("shard1")), changes("shard0")) == (True, 0)
    measure()
    assert changes("shard1") == 0


def test_a_service_without_shards_measures_nothing(settings: LazySettings) -> None:
    settings.SHARDING = settings.SHARDING | {"SHARDS": {}}
    with in_time(1.0):
        measure()
