"""An object of a sharded model is in memory what it is with one database: after a failure, in bulk,
in relations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError
from pytest_django import DjangoDbBlocker

from scaleout.sharding.errors import CrossShardRelation, ShardKeyRequired
from scaleout.sharding.ids import take
from scaleout.sharding.tests.comparison import twins
from scaleout.sharding.tests.comparison.twins import ShardAuthor, ShardBook, ShardLeaf

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"]),
    pytest.mark.usefixtures("shards"),
]


@pytest.fixture(scope="module", autouse=True)
def tables(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The tables of the comparison, whose books have relations."""
    with django_db_blocker.unblock():
        twins.make_shard_tables()
        yield
        twins.drop_shard_tables()


@pytest.fixture(autouse=True)
def no_rows(shards: None) -> Iterator[None]:
    yield
    twins.empty_shard_tables()


def author_in(bucket: int) -> Any:
    return ShardAuthor.objects.create(id=take(f"shard{bucket % 3}", bucket)[0], rank=1, name="a")


def book_of(author: Any, title: str = "a") -> Any:
    return ShardBook.objects.create(author=author, rank=1, title=title)


def test_an_object_whose_insertion_fails_has_no_id_afterwards() -> None:
    author = author_in(0)
    book_of(author)
    book = ShardBook(author=author, rank=2, title="a")
    with pytest.raises(IntegrityError):
        book.save()
    assert book.pk is None
    with pytest.raises(IntegrityError):
        ShardBook.objects.bulk_create([book])
    assert book.pk is None
    book.title = "b"
    book.save()
    assert ShardBook.objects.get(pk=book.pk).title == "b"


def test_a_deleted_object_whose_insertion_fails_has_no_id_afterwards() -> None:
    author = author_in(0)
    book_of(author)
    book = book_of(author, "b")
    book.delete()
    book.title = "a"
    with pytest.raises(IntegrityError):
        book.save()
    book.save(update_fields=[])
    assert (book.pk, book._state.adding) == (None, False)
    book.title = "b"
    book.save()
    assert ShardBook.objects.get(pk=book.pk).title == "b"


def test_only_the_fields_that_bulk_update_writes_are_looked_at() -> None:
    author = author_in(0)
    book = book_of(author)
    ShardAuthor(id=author.pk, rank=1, name="a").delete()  # and the row of `book` with it
    author.pk = None
    assert ShardBook.objects.bulk_update([book], ["sequel", "title"]) == 0
    with pytest.raises(ValueError, match="unsaved related object"):
        ShardBook.objects.bulk_update([book], ["author"])
    with pytest.raises(ValueError, match="must have a primary key"):
        ShardBook.objects.bulk_update([ShardBook(rank=1, title="b")], ["title"])


def test_a_new_object_takes_no_id_for_an_update() -> None:
    author = ShardAuthor(rank=1, name="a")
    for options in ({"update_fields": ["name"]}, {"force_update": True}):
        with pytest.raises(ValueError, match="no primary key"):
            author.save(**options)
        assert author.pk is None
    author.save(update_fields=[])
    assert author.pk is None


def test_a_new_object_with_the_id_of_a_row_replaces_it() -> None:
    author = author_in(0)
    ShardAuthor(id=author.pk, rank=2, name="b").save()
    assert ShardAuthor.objects.get(pk=author.pk).name == "b"
    with pytest.raises(IntegrityError):
        ShardAuthor.objects.create(id=author.pk, rank=3, name="c")


def test_objects_are_related_before_they_are_saved() -> None:
    author = ShardAuthor(rank=1, name="a")
    book: Any = ShardBook(author=author, rank=1, title="a")
    with pytest.raises(ValueError, match="unsaved related object"):
        book.save()
    author.save()
    book.save()
    leaf: Any = ShardLeaf(book=book, rank=1)
    ShardLeaf.objects.bulk_create([leaf])
    assert (book.author_id, leaf.book_id, leaf.bucket) == (author.pk, book.pk, author.bucket)
    unsaved: Any = ShardAuthor(rank=1, name="b")
    with pytest.raises((ShardKeyRequired, ValueError)):
        list(unsaved.books.all())


@pytest.mark.parametrize("bucket", [3, 1])
def test_no_relation_leads_to_another_bucket_whether_or_not_it_is_on_the_same_shard(bucket: int) -> None:
    book = book_of(author_in(0))
    leaf = ShardLeaf(rank=1, book=book)
    leaf.save()
    other = book_of(author_in(bucket), "other")
    book.sequel_id = other.pk
    for write in (
        book.save,
        lambda: ShardBook.objects.bulk_update([book], ["sequel"]),
        lambda: ShardBook.objects.bulk_create(
            [ShardBook(author_id=book.author_id, rank=2, title="b", sequel_id=other.pk)]
        ),
        lambda: ShardBook.objects.filter(pk=book.pk).update(sequel=other),
        lambda: ShardBook.objects.filter(pk=book.pk).update(sequel_id=other.pk),
        lambda: ShardLeaf.objects.filter(pk=leaf.pk).update(book=other),
        lambda: other.prequels.add(ShardBook.objects.get(pk=book.pk)),
    ):
        with pytest.raises(CrossShardRelation):
            write()
    unchanged: Any = ShardBook.objects.get(pk=book.pk)
    assert unchanged.sequel_id is None
    second = book_of(book.author, "second")
    assert ShardBook.objects.filter(pk=book.pk).update(sequel=second) == 1
    assert ShardLeaf.objects.filter(pk=leaf.pk).update(book=second) == 1


def test_the_ids_after_a_conflict_are_those_of_the_rows() -> None:
    author = author_in(0)
    there = book_of(author)
    books = [ShardBook(author=author, rank=rank, title=title) for rank, title in enumerate("ab")]
    made = ShardBook.objects.bulk_create(
        books, update_conflicts=True, unique_fields=["author", "title"], update_fields=["rank"]
    )
    assert made[0].pk == there.pk
    assert [ShardBook.objects.get(pk=book.pk).rank for book in made] == [0, 1]
    ignored: list[Any] = [ShardBook(author=author, rank=9, title=title) for title in "ac"]
    ShardBook.objects.bulk_create(ignored, ignore_conflicts=True)
    assert [(book.pk, book._state.adding) for book in ignored] == [(None, True), (None, True)]
    assert ShardBook.objects.for_key(author.pk).count() == 3
    with pytest.raises(DatabaseError):
        ShardBook.objects.filter(author_id=author.pk).update(title="a")
