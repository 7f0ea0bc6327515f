"""Tests that are a transaction on all shards: Django's `TestCase`, and pytest-django's `db`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings
from django.db import connections, transaction
from django.test import TestCase

from scaleout.sharding import shard_map, transactions
from scaleout.sharding.errors import BucketMoved, CrossShardTransaction
from scaleout.sharding.testing import ShardedTestCase, filled
from scaleout.sharding.tests.shelves import Author, Book, author_on, set_state
from scaleout.sharding.transactions import shard_atomic


@pytest.mark.usefixtures("shelves_made")
class TestInOrder(ShardedTestCase):
    """The tests of a class see its data, and nothing of each other; they run in the order of their
    names.
    """

    author: Author

    @classmethod
    def setUpTestData(cls) -> None:
        cls.author = author_on(1, "of the class")

    def test_a_what_is_created_is_found(self) -> None:
        book = Book.objects.create(author_id=self.author.pk, title="a")
        self.author.name = "changed"
        self.author.save()
        assert Book.objects.get(author_id=self.author.pk) == book
        assert Author.objects.get(pk=self.author.pk).name == "changed"
        assert Author.objects.create(name="new").pk
        others = [Author(name=str(number)) for number in range(20)]
        Author.objects.bulk_create(others, across_shards=True)
        assert len({one._state.db for one in others}) == 3

    def test_b_nothing_of_it_is_left(self) -> None:
        assert Author.objects.scatter_count() == (1, False)
        assert not Book.objects.for_key(self.author.pk).exists()
        assert self.author.name == "of the class"
        assert Author.objects.get(pk=self.author.pk).name == "of the class"


@pytest.mark.usefixtures("shelves_made")
class TestRules(ShardedTestCase):
    """A `TestCase` behaves as code outside of one."""

    def test_a_write_to_two_shards_in_a_transaction_of_the_project_is_refused(self) -> None:
        a, b = author_on(0), author_on(1)
        with shard_atomic(a.pk):
            Book.objects.create(author_id=a.pk, title="a")
            with pytest.raises(CrossShardTransaction, match="a write to shard1 inside a transaction on shard0"):
                Book.objects.create(author_id=b.pk, title="b")
        with transaction.atomic(), pytest.raises(CrossShardTransaction, match="inside a transaction on default"):
            a.save()
        with shard_atomic(a.pk), pytest.raises(CrossShardTransaction), shard_atomic(b.pk):
            pytest.fail("not reached")

    def test_a_transaction_covers_one_bucket_and_the_next_one_may_be_for_another(self) -> None:
        a = author_on(0)
        other = Author.objects.create(id=a.pk + (3 << 11), name="of another bucket of shard 0")
        assert other.bucket != a.bucket
        with pytest.raises(CrossShardTransaction, match="in a transaction on bucket"), shard_atomic(a.pk):
            other.save()
        with shard_atomic(a.pk):
            a.save()
        with shard_atomic(other.pk):
            other.save()
        a.save()

    def test_a_transaction_is_rolled_back_by_itself(self) -> None:
        author = author_on(0)
        with shard_atomic(author.pk) as alias:
            Book.objects.create(author_id=author.pk, title="a")
            transaction.set_rollback(True, using=alias)
        assert not Book.objects.for_key(author.pk).exists()
        assert Author.objects.filter(pk=author.pk).exists()

    def test_a_question_to_all_shards_sees_what_the_test_has_written(self) -> None:
        authors = [author_on(number, str(number)) for number in range(3)]
        page = Author.objects.scatter(limit=2)
        assert page.next is not None
        assert {*page, *Author.objects.scatter(after=page.next)} == set(authors)
        assert not page.partial
        assert Author.objects.filter(name="1").scatter_count() == (1, False)
        with shard_atomic(authors[0].pk), pytest.raises(CrossShardTransaction, match="ask before it begins"):
            Author.objects.scatter()

    def test_a_write_with_an_old_map_is_done_where_the_bucket_has_gone(self) -> None:
        author = author_on(0)
        bucket = author.bucket
        assert bucket is not None
        shard_map.current().number(bucket)
        set_state("shard0", bucket, "moved")
        with connections["shard2"].cursor() as cursor:
            cursor.execute(
                "INSERT INTO sharding_bucket (bucket, state, last, base) VALUES (%s, 'active', 0, 0)", [bucket]
            )
            cursor.execute("INSERT INTO author VALUES (%s, 'other')", [author.pk])
        shard_map.reassign("default", [bucket], 0, 2)
        author.name = "moved"
        author.save()
        assert Author.objects.filter(pk=author.pk).update(name="again") == 1
        assert author._state.db == "shard2"
        assert not Author.objects.using("shard0").exists()

    def test_a_write_to_a_blocked_bucket_is_refused_and_the_test_goes_on(self) -> None:
        author = author_on(0)
        assert author.bucket is not None
        set_state("shard0", author.bucket, "blocked")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transactions, "PATIENCE", 0.1)
            with pytest.raises(BucketMoved):
                author.save()
        assert Author.objects.filter(pk=author.pk).exists()

    def test_a_test_may_count_its_queries(self) -> None:
        author = author_on(0)
        with self.assertNumQueries(1, using="shard0"):
            author.save()


@pytest.mark.usefixtures("shelves_made")
class TestPlain(TestCase):
    """Django's own class, with a map that the test fills."""

    databases = {"default", *settings.SHARDING["SHARDS"].values()}  # noqa: RUF012 - Django's form

    def test_a_row_is_made_in_a_test_that_fills_the_shards(self) -> None:
        with filled():
            assert Author.objects.get(pk=author_on(2).pk)._state.db == "shard2"


@pytest.fixture
def filled_shards(db: None, shelves_made: None) -> Iterator[None]:
    with filled():
        yield


@pytest.mark.usefixtures("filled_shards")
@pytest.mark.django_db(databases=["default", *settings.SHARDING["SHARDS"].values()])
@pytest.mark.parametrize("time", ["first", "second"])
def test_the_fixture_of_pytest_django_does_as_well(time: str) -> None:
    assert Author.objects.scatter_count() == (0, False)
    a, b = author_on(0), author_on(1)
    with shard_atomic(a.pk), pytest.raises(CrossShardTransaction):
        b.save()
    b.save()
    assert Author.objects.scatter_count() == (2, False)
