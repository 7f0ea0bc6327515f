"""A transaction covers one bucket of one shard, and nothing of another database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from io import StringIO

import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connections, transaction
from waiting import eventually

from scaleout.sharding import shard_map
from scaleout.sharding.errors import BucketMoved, CrossShardTransaction
from scaleout.sharding.ids import bucket_of, take
from scaleout.sharding.models import Bucket
from scaleout.sharding.registry import models_on
from scaleout.sharding.tests.shelves import Author, Book, author_on, move, set_state, waits_for_a_lock
from scaleout.sharding.transactions import fenced, shard_atomic

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"]),
    pytest.mark.usefixtures("shelves"),
]


def two_on(number: int) -> tuple[Author, Author]:
    """Return two authors whose buckets are on one shard."""
    found = [
        Author.objects.create(id=take(settings.SHARDING["SHARDS"][number], bucket)[0], name="x")
        for bucket in shard_map.current().buckets_of(number)[:2]
    ]
    return found[0], found[1]


def by_copy(author: Author) -> None:
    with connections["shard0"].cursor() as cursor, cursor.copy("COPY author (id, name) FROM STDIN") as copy:
        copy.write_row((author.pk + 1, "copied"))


def by_sql(author: Author) -> None:
    with connections["shard0"].cursor() as cursor:
        cursor.execute("UPDATE author SET name = 'y' WHERE id = %s", [author.pk])


def rename(author: Author) -> None:
    author.name = "y"
    author.save()


WRITES: dict[str, Callable[[Author], object]] = {
    "save": rename,
    "create": lambda b: Book.objects.create(author_id=b.pk, title="t"),
    "update": lambda b: Author.objects.filter(pk=b.pk).update(name="y"),
    "an update of many": lambda b: Author.objects.using("shard0").update(name="y"),
    "delete": lambda b: b.delete(),
    "delete many": lambda b: Author.objects.filter(pk=b.pk).delete(),
    "bulk_create": lambda b: Book.objects.bulk_create([Book(author_id=b.pk, title="t")]),
    "bulk_update": lambda b: Author.objects.bulk_update([b], ["name"]),
    "get_or_create": lambda b: Book.objects.get_or_create(author_id=b.pk, title="t"),
    "SQL": by_sql,
    "COPY": by_copy,
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_to_a_second_bucket_of_the_same_shard_is_refused(name: str) -> None:
    a, b = two_on(0)

    def write_both() -> None:
        with shard_atomic(a.pk):
            Author.objects.filter(pk=a.pk).update(name="changed")
            WRITES[name](b)

    with pytest.raises((CrossShardTransaction, psycopg.Error)) as raised:
        write_both()
    assert "in a transaction on bucket" in str(raised.value)
    assert name == "COPY" or isinstance(raised.value, CrossShardTransaction)
    assert [one.name for one in (Author.objects.get(pk=a.pk), Author.objects.get(pk=b.pk))] == ["x", "x"]
    WRITES[name](b)  # outside of it


def test_a_second_bucket_is_refused_from_the_beginning_and_the_first_one_may_be_said_again() -> None:
    a, b = two_on(0)
    with shard_atomic(a.pk), shard_atomic(a.pk):
        Book.objects.create(author_id=a.pk, title="t")
    with shard_atomic(a.pk), pytest.raises(CrossShardTransaction, match="inside one on bucket"), shard_atomic(b.pk):
        pytest.fail("not reached")
    with shard_atomic(b.pk):
        Book.objects.create(author_id=b.pk, title="t")


def test_a_transaction_on_another_database_around_a_sharded_write_is_refused() -> None:
    author = author_on(1, "x")
    for write in (rename, lambda one: Book.objects.create(author_id=one.pk, title="t")):
        with (
            pytest.raises(CrossShardTransaction, match="a write to shard1 inside a transaction on default"),
            transaction.atomic(using="default"),
        ):
            write(author)
    with transaction.atomic(using="default"):
        assert Author.objects.get(pk=author.pk).name == "x"
    with pytest.raises(CrossShardTransaction), transaction.atomic(using="default"), shard_atomic(author.pk):
        pytest.fail("not reached")
    assert not Book.objects.for_key(author.pk).exists()


def test_a_question_to_all_shards_inside_a_transaction_on_one_is_refused() -> None:
    author = author_on(0, "old")
    with shard_atomic(author.pk):
        Author.objects.filter(pk=author.pk).update(name="new")
        with pytest.raises(CrossShardTransaction, match="would not see what that has written"):
            Author.objects.scatter()
        with pytest.raises(CrossShardTransaction, match="ask before it begins"):
            Author.objects.filter(name="new").scatter_count()
    assert [one.name for one in Author.objects.scatter(deadline=10)] == ["new"]


def test_many_rows_of_two_buckets_of_which_one_has_just_moved_are_all_inserted() -> None:
    a, b = two_on(0)
    assert a.bucket is not None
    shard_map.current().number(0)
    move(a.bucket, 2)
    books = [Book(author_id=one.pk, title=str(number)) for one in (a, b) for number in range(3)]
    Book.objects.bulk_create(books, across_shards=True)
    assert [Book.objects.for_key(one.pk).count() for one in (a, b)] == [3, 3]
    assert [Book.objects.using(alias).count() for alias in settings.SHARDING["SHARDS"].values()] == [3, 0, 3]


def test_a_bucket_cannot_be_blocked_under_a_transaction_that_has_written_nothing_yet() -> None:
    """Its event would be written after the mover has looked for events, or its write sent to the
    new shard.
    """
    author = author_on(0)
    bucket = bucket_of(author.pk)
    blocked = threading.Event()

    def block() -> None:
        try:
            set_state("shard0", bucket, "blocked")
            blocked.set()
        finally:
            connections.close_all()

    thread = threading.Thread(target=block)
    with shard_atomic(author.pk):
        thread.start()
        eventually(lambda: waits_for_a_lock("shard0"), 10, "the change of the state to wait")
        assert not blocked.is_set()
        Author.objects.filter(pk=author.pk).update(name="y")
    assert blocked.wait(30)
    thread.join(30)
    assert Author.objects.get(pk=author.pk).name == "y"


@pytest.mark.parametrize("state", ["blocked", "incoming", "moved", None])
def test_a_transaction_on_a_bucket_that_takes_no_writes_is_refused_at_its_beginning(state: str | None) -> None:
    author = author_on(0)
    if state is None:
        Bucket.objects.using("shard0").filter(bucket=bucket_of(author.pk)).delete()
    else:
        set_state("shard0", bucket_of(author.pk), state)
    with pytest.raises(BucketMoved, match=state or "not on this shard"), shard_atomic(author.pk):
        raise AssertionError("the block must not begin")


def test_a_transaction_by_an_old_map_is_tried_again_on_the_new_shard() -> None:
    author = author_on(0)
    bucket = bucket_of(author.pk)
    assert shard_map.current().number(bucket) == 0
    move(bucket, 2)

    def begin() -> str:
        with shard_atomic(author.pk) as alias:
            return alias

    assert fenced(begin) == "shard2"


def test_a_proxy_of_a_sharded_model_has_no_table_of_its_own_to_copy() -> None:
    order = apps.get_model("orders", "Order")
    meta = type("Meta", (), {"proxy": True, "app_label": "sharding"})
    proxy = type("Receipt", (order,), {"__module__": __name__, "Meta": meta})
    try:
        assert proxy in apps.get_models()
        tables = [model._meta.db_table for model in models_on("shard0")]
        assert len(tables) == len(set(tables))
        assert proxy not in models_on("shard0")
    finally:
        del apps.all_models["sharding"]["receipt"]
        apps.clear_cache()


def test_a_dump_says_which_sharded_models_it_leaves_out() -> None:
    said, out = StringIO(), StringIO()
    call_command("dumpdata", "orders", stdout=out, stderr=said)
    assert "orders.Order, orders.OrderItem, orders.Inbox left out" in said.getvalue()
    assert "--database with shard0, shard1, shard2" in said.getvalue()
    for arguments in (["orders", "--database=shard1"], ["products"]):
        said = StringIO()
        call_command("dumpdata", *arguments, stdout=out, stderr=said)
        assert said.getvalue() == ""
