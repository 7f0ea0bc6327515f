"""Queries find their shard by themselves, or say what they lack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.models import Count, F, Q, QuerySet, Sum
from django.test.utils import CaptureQueriesContext

from scaleout.sharding import shard_map, transactions
from scaleout.sharding.errors import BucketMoved, CrossShardRelation, CrossShardTransaction, ShardKeyRequired
from scaleout.sharding.ids import bucket_of
from scaleout.sharding.tests.shelves import Author, Book, Leaf, author_on, move, set_state
from scaleout.sharding.transactions import shard_atomic

ALIASES = ("shard0", "shard1", "shard2")
pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", *ALIASES]),
    pytest.mark.usefixtures("shelves"),
]


def rows(table: str) -> list[int]:
    """Return how many rows each shard has."""
    counts = []
    for alias in ALIASES:
        with connections[alias].cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 - our own names
            counts.append(cursor.fetchone()[0])
    return counts


def test_what_belongs_to_an_author_is_made_and_found_on_the_authors_shard() -> None:
    for number in range(3):
        author = author_on(number)
        book = Book.objects.create(author_id=author.id, title="a")
        leaf = book.leaves.create(number=1)
        assert {bucket_of(one.id) for one in (author, book, leaf)} == {author.bucket}
        assert Author.objects.get(pk=author.id)._state.db == f"shard{number}"
        assert Book.objects.get(author_id=author.id) == Book.objects.get(id=book.id) == book
        assert Leaf.objects.get(book=book) == Leaf.objects.get(book__author_id=author.id) == leaf
    assert rows("author") == rows("book") == rows("leaf") == [1, 1, 1]


def test_authors_are_spread_over_the_shards() -> None:
    for _ in range(60):
        Author.objects.create(name="writer")
    assert min(rows("author")) >= 5


FOUND: dict[str, Callable[[Author, Book], QuerySet[Any]]] = {
    "a chain": lambda a, b: Book.objects.filter(title="a").exclude(title="b").filter(author_id=a.id).order_by("-id"),
    "a list of ids on one shard": lambda a, b: Book.objects.filter(id__in=[b.id, b.id + 1]),
    "a tuple": lambda a, b: Book.objects.filter(author_id__in=(a.id,)),
    "an AND inside": lambda a, b: Book.objects.filter(Q(title="a") & Q(Q(author_id=a.id), title__startswith="a")),
    "an OR beside": lambda a, b: Book.objects.filter(Q(title="a") | Q(title="b"), author_id=a.id),
    "for_key": lambda a, b: Book.objects.for_key(a.id),
    "none": lambda a, b: Book.objects.none() | Book.objects.filter(author_id=a.id),
    "a union": lambda a, b: Book.objects.filter(author_id=a.id).union(Book.objects.filter(id=b.id)),
    "select_related": lambda a, b: Book.objects.filter(id=b.id).select_related(),
}


@pytest.mark.parametrize("name", FOUND)
def test_the_shard_is_found_from(name: str) -> None:
    author = author_on(1)
    book = Book.objects.create(author_id=author.id, title="a")
    assert list(FOUND[name](author, book)) == [book]


REFUSED: dict[str, Callable[[Author], object]] = {
    "all": lambda a: list(Book.objects.all()),
    "another condition": lambda a: Book.objects.get(title="a"),
    "a count": lambda a: Book.objects.count(),
    "an exclusion": lambda a: list(Book.objects.exclude(author_id=a.id)),
    "a negation": lambda a: list(Book.objects.filter(~Q(author_id=a.id))),
    "an OR": lambda a: list(Book.objects.filter(Q(author_id=a.id) | Q(title="a"))),
    "an XOR": lambda a: list(Book.objects.filter(Q(author_id=a.id) ^ Q(title="a"))),
    "an expression": lambda a: list(Book.objects.filter(author_id=F("id"))),
    "a comparison": lambda a: list(Book.objects.filter(author_id__gt=a.id)),
    "a subquery": lambda a: list(Book.objects.filter(id__in=Book.objects.filter(author_id=a.id).values("id"))),
    "a union with anything": lambda a: list(Book.objects.filter(author_id=a.id).union(Book.objects.all())),
    "an update": lambda a: Book.objects.update(title="b"),
    "a delete": lambda a: Book.objects.filter(title="a").delete(),
    "get_or_create": lambda a: Author.objects.get_or_create(name="a"),
    "raw": lambda a: list(Book.objects.raw("SELECT * FROM book")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_query_that_does_not_say_its_shard_is_refused(name: str) -> None:
    with pytest.raises(ShardKeyRequired, match=r"does not say on which shard the (Book|Author) is: filter by"):
        REFUSED[name](author_on(0))


def test_ids_of_several_shards_are_refused_with_their_names() -> None:
    ids = [author_on(0).id, author_on(2).id]
    with pytest.raises(ShardKeyRequired, match="these ids of Author are on 2 shards"):
        list(Author.objects.filter(id__in=ids))


def test_the_author_in_a_condition_of_another_shard_is_simply_not_found() -> None:
    book = Book.objects.create(author_id=author_on(0).id, title="a")
    assert not Book.objects.filter(id=book.id, author_id=author_on(1).id).exists()
    assert Author.objects.filter(pk=2**63 - 1).first() is None
    assert list(Author.objects.filter(id__in=[])) == []


def test_the_usual_methods_stay_on_the_shard() -> None:
    author = author_on(2)
    books = Book.objects.for_key(author.id)
    made, new = Book.objects.get_or_create(author_id=author.id, title="a")
    assert new
    assert Book.objects.get_or_create(author_id=author.id, title="a") == (made, False)
    assert Book.objects.update_or_create(author_id=author.id, title="a", defaults={"title": "b"}) == (made, False)
    made.refresh_from_db()
    assert made.title == "b"
    made.title = "c"
    made.save()
    assert (books.count(), books.exists()) == (1, True)
    assert books.update(title="d") == 1
    assert list(books.values("title")) == [{"title": "d"}]
    assert list(books.values_list("title", flat=True)) == ["d"]
    assert books.aggregate(n=Count("id"), total=Sum("author_id")) == {"n": 1, "total": author.id}
    assert Book.objects.in_bulk([made.id]) == {made.id: made}
    assert [one.title for one in books.iterator()] == ["d"]
    assert books.first() == books.last() == books.latest("id") == made
    made.leaves.create(number=1)
    assert made.delete() == (2, {"sharding.Leaf": 1, "sharding.Book": 1})
    assert books.delete() == (0, {})
    assert rows("book") == [0, 0, 0]


def test_relations_stay_on_the_shard() -> None:
    author = author_on(1)
    book = Book.objects.create(author_id=author.id, title="a")
    leaves = Leaf.objects.bulk_create(Leaf(book=book, number=number) for number in range(3))
    assert [one.number for one in book.leaves.order_by("id")] == [0, 1, 2]
    assert Leaf.objects.get(pk=leaves[0].id).book == book
    (fetched,) = Book.objects.for_key(author.id).prefetch_related("leaves")
    assert len(fetched.leaves.all()) == 3
    with CaptureQueriesContext(connections["shard1"]) as queries:
        assert Leaf.objects.select_related("book").get(pk=leaves[1].id).book.title == "a"
    assert len(queries) == 1


def test_objects_of_two_buckets_cannot_be_related() -> None:
    book = Book.objects.create(author_id=author_on(0).id, title="a")
    leaf = book.leaves.create(number=1)
    with pytest.raises(CrossShardRelation, match="buckets move one by one"):
        leaf.book = Book.objects.create(author_id=author_on(1).id, title="b")
    book.author_id = author_on(2).id
    with pytest.raises(CrossShardRelation, match="is in another bucket"):
        book.save()
    with pytest.raises(CrossShardRelation, match="a new Book needs its author_id"):
        Book.objects.create(title="c")


def test_many_objects_of_one_shard_are_made_and_changed_at_once() -> None:
    author = author_on(0)
    books = Book.objects.bulk_create([Book(author_id=author.id, title=str(number)) for number in range(700)])
    assert len({book.id for book in books}) == 700
    assert {bucket_of(book.id) for book in books} == {author.bucket}
    for book in books:
        book.title += "!"
    assert Book.objects.bulk_update(books, ["title"]) == 700
    assert Book.objects.for_key(author.id).filter(title__endswith="!").count() == 700


def test_many_objects_of_several_shards_are_refused_unless_it_is_said() -> None:
    authors = [Author(name=str(number)) for number in range(60)]
    with pytest.raises(CrossShardTransaction, match="across_shards=True"):
        Author.objects.bulk_create(authors)
    assert rows("author") == [0, 0, 0]
    Author.objects.bulk_create(authors, across_shards=True)
    assert sum(rows("author")) == 60
    assert all(Author.objects.get(pk=author.id).name == author.name for author in authors)
    with pytest.raises(CrossShardTransaction):
        Author.objects.bulk_update(authors, ["name"])


def test_a_transaction_covers_one_shard() -> None:
    author, other = author_on(0), author_on(1)
    with shard_atomic(author.id) as alias:
        assert alias == "shard0"
        Book.objects.create(author_id=author.id, title="a")
        transaction.set_rollback(True, using=alias)
    assert rows("book") == [0, 0, 0]
    with shard_atomic(author.id), pytest.raises(CrossShardTransaction, match="a write to shard1 inside"):
        Book.objects.create(author_id=other.id, title="a")
    with shard_atomic(author.id), pytest.raises(CrossShardTransaction), shard_atomic(other.id):
        pytest.fail("not reached")
    with shard_atomic(author.id):
        assert Author.objects.get(pk=other.id) == other
    assert rows("book") == [0, 0, 0]


WRITES: dict[str, Callable[[Author], object]] = {
    "create": lambda a: Book.objects.create(author_id=a.id, title="b"),
    "save": lambda a: a.save(),
    "update": lambda a: Author.objects.filter(pk=a.id).update(name="b"),
    "delete": lambda a: a.delete(),
    "delete many": lambda a: Author.objects.filter(pk=a.id).delete(),
    "get_or_create": lambda a: Book.objects.get_or_create(author_id=a.id, title="b"),
    "update_or_create": lambda a: Book.objects.update_or_create(author_id=a.id, title="b"),
    "bulk_create": lambda a: Book.objects.bulk_create([Book(author_id=a.id, title="b")]),
    "bulk_update": lambda a: Author.objects.bulk_update([a], ["name"]),
}


@pytest.fixture
def old_map(shelves: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The map is believed until a shard refuses what it says, however slow the test is."""
    monkeypatch.setattr(shard_map, "LEASE", 60.0)


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.usefixtures("old_map")
def test_a_write_with_an_old_map_is_done_where_the_bucket_has_gone(name: str) -> None:
    author = author_on(0)
    bucket = bucket_of(author.id)
    move(bucket, 2)
    with connections["shard2"].cursor() as cursor:
        cursor.execute("INSERT INTO author VALUES (%s, 'writer')", [author.id])
    assert shard_map.current().alias_of(bucket) == "shard0"
    WRITES[name](author)
    assert shard_map.current().alias_of(bucket) == "shard2"
    assert rows("book")[:2] == [0, 0]


@pytest.mark.parametrize("name", WRITES)
def test_a_write_to_a_bucket_that_stays_blocked_is_an_error_that_calls_for_another_try_later(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "PATIENCE", 0.1)
    author = author_on(0)
    set_state("shard0", bucket_of(author.id), "blocked")
    with pytest.raises(BucketMoved):
        WRITES[name](author)


@pytest.mark.usefixtures("old_map")
def test_a_write_with_an_old_map_inside_a_transaction_is_an_error_and_the_next_one_works() -> None:
    author = author_on(0)
    move(bucket_of(author.id), 2)

    def write() -> None:
        with shard_atomic(author.id):
            Book.objects.create(author_id=author.id, title="b")

    with pytest.raises(BucketMoved):
        write()
    write()
    assert rows("book") == [0, 0, 1]


def test_a_new_author_is_not_put_into_a_blocked_bucket_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    set_state("shard0", 0, "blocked")
    choices = iter([0, 1])
    monkeypatch.setattr("scaleout.sharding.base.random.randrange", lambda _end: next(choices))
    assert Author.objects.create(name="writer").bucket == 1


def test_the_names_of_textbooks_do_what_they_say() -> None:
    author = author_on(1)
    assert Author.objects.get_by_user_id(author.id) == author
    assert Author.objects.for_user(author.id).get() == author
    with pytest.raises(Author.DoesNotExist):
        Author.objects.get_by_user_id(author.id + 1)
