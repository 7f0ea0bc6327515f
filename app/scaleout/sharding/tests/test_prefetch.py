"""Relations of rows of several shards."""

from __future__ import annotations

import pytest
from django.db import connections, transaction
from django.db.models import Prefetch, prefetch_related_objects
from django.test.utils import CaptureQueriesContext

from scaleout.sharding.tests.shelves import Book, Leaf, author_on

ALIASES = ("shard0", "shard1", "shard2")
pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", *ALIASES]),
    pytest.mark.usefixtures("shelves"),
]


@pytest.fixture
def leaves() -> list[Leaf]:
    """Two leaves of a book on each shard, as a question to all shards gives them."""
    for number in range(3):
        book = Book.objects.create(author_id=author_on(number).pk, title=str(number))
        for page in range(2):
            Leaf.objects.create(book=book, number=10 * number + page)
    return Leaf.objects.scatter(deadline=10).items


def test_what_rows_of_several_shards_relate_to_is_fetched_by_one_query_for_each_shard(leaves: list[Leaf]) -> None:
    with (
        CaptureQueriesContext(connections["shard0"]) as none,
        CaptureQueriesContext(connections["shard1"]) as one,
        CaptureQueriesContext(connections["shard2"]) as two,
    ):
        prefetch_related_objects(leaves, "book")
        assert [leaf.book.title for leaf in leaves] == [str(leaf.number // 10) for leaf in leaves]
    assert [len(queries) for queries in (none, one, two)] == [1, 1, 1]


def test_what_relates_to_rows_of_several_shards_is_fetched_too(leaves: list[Leaf]) -> None:
    books = Book.objects.scatter(deadline=10).items
    prefetch_related_objects(books, Prefetch("leaves", queryset=Leaf.objects.order_by("-number"), to_attr="last_first"))
    assert [[leaf.number for leaf in book.last_first] for book in books] == [  # type: ignore[attr-defined]
        [10 * int(book.title) + 1, 10 * int(book.title)] for book in books
    ]
    first = Prefetch("leaves", queryset=Leaf.objects.order_by("number")[:1], to_attr="first")
    prefetch_related_objects(books, first)
    assert [[leaf.number for leaf in book.first] for book in books] == [  # type: ignore[attr-defined]
        [10 * int(book.title)] for book in books
    ]
    prefetch_related_objects(leaves, "book__leaves")
    assert [len(leaf.book.leaves.all()) for leaf in leaves] == [2] * 6


def test_a_copy_that_a_move_brings_or_has_left_behind_is_not_fetched(leaves: list[Leaf]) -> None:
    book = next(leaf.book for leaf in leaves if leaf.number < 10)  # on shard 0
    with transaction.atomic(using="shard1"), connections["shard1"].cursor() as cursor:
        cursor.execute("INSERT INTO sharding_bucket (bucket, state, last) VALUES (%s, 'incoming', 0)", [book.bucket])
        cursor.execute("SET LOCAL sharding.mover = 'on'")
        cursor.execute("INSERT INTO book (id, author_id, title) VALUES (%s, %s, 'copy')", [book.id, book.author_id])
    fresh = Leaf.objects.scatter(deadline=10).items
    prefetch_related_objects(fresh, "book")
    assert [leaf.book.title for leaf in fresh] == [str(leaf.number // 10) for leaf in fresh]


def test_a_row_is_read_again_and_found_from_its_relation_where_its_bucket_is_now(leaves: list[Leaf]) -> None:
    for leaf in leaves:
        assert leaf.book.title == str(leaf.number // 10)
        leaf.refresh_from_db()
        assert leaf._state.db == f"shard{leaf.number // 10}"
