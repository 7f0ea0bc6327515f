"""The fence: no write gets past it, whatever map the writer has."""

from __future__ import annotations

import threading

import pytest
from django.db import DatabaseError, IntegrityError, connections, transaction
from waiting import TIME_FACTOR, eventually

from scaleout.sharding.errors import BucketMoved
from scaleout.sharding.fence import unfenced
from scaleout.sharding.ids import bucket_of, take
from scaleout.sharding.tests.shelves import Author, Book, Leaf, author_on, set_state, waits_for_a_lock

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"]),
    pytest.mark.usefixtures("shelves"),
]

WRITES = {
    "insert": "INSERT INTO author (id, name) VALUES (%s + 1, 'new')",
    "update": "UPDATE author SET name = 'other' WHERE id = %s",
    "delete": "DELETE FROM author WHERE id = %s",
}


def run(alias: str, sql: str, *parameters: int) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, parameters)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("state", ["blocked", "incoming", "moved"])
def test_a_bucket_that_is_not_active_takes_no_write(write: str, state: str) -> None:
    author = author_on(0)
    set_state("shard0", bucket_of(author.id), state)
    with pytest.raises(BucketMoved, match=f"takes no writes here: {state}"):
        run("shard0", WRITES[write], author.id)


def test_a_shard_takes_no_row_of_a_bucket_that_it_does_not_hold() -> None:
    author = author_on(0)
    with pytest.raises(BucketMoved, match="not on this shard"):
        run("shard1", WRITES["insert"], author.id)


@pytest.mark.parametrize("state", ["incoming", "moved"])
def test_only_the_mover_writes_to_a_bucket_that_is_not_active(state: str) -> None:
    author = author_on(0)
    set_state("shard0", bucket_of(author.id), state)
    with transaction.atomic(using="shard0"):
        run("shard0", "SET LOCAL sharding.mover = 'on'")
        run("shard0", WRITES["insert"], author.id)
        run("shard0", WRITES["delete"], author.id)


def test_even_the_mover_writes_nothing_into_a_blocked_bucket() -> None:
    author = author_on(0)
    set_state("shard0", bucket_of(author.id), "blocked")
    with transaction.atomic(using="shard0"):
        run("shard0", "SET LOCAL sharding.mover = 'on'")
        with pytest.raises(BucketMoved):
            run("shard0", WRITES["update"], author.id)
        transaction.set_rollback(True, using="shard0")


def test_only_the_owner_of_the_table_can_be_the_mover() -> None:
    author = author_on(0)
    set_state("shard0", bucket_of(author.id), "incoming")
    with transaction.atomic(using="shard0"):
        run("shard0", "CREATE ROLE stranger")
        run("shard0", "GRANT SELECT, INSERT, UPDATE, DELETE ON author, sharding_bucket TO stranger")
        run("shard0", "SET LOCAL ROLE stranger")
        run("shard0", "SET LOCAL sharding.mover = 'on'")
        with pytest.raises(BucketMoved):
            run("shard0", WRITES["insert"], author.id)
        transaction.set_rollback(True, using="shard0")


def test_a_role_that_owns_nothing_reads_and_writes_what_is_active() -> None:
    author = author_on(0)
    with transaction.atomic(using="shard0"):
        run("shard0", "CREATE ROLE stranger")
        run("shard0", "GRANT SELECT, INSERT, UPDATE, DELETE ON author, sharding_bucket TO stranger")
        run("shard0", "GRANT USAGE ON SEQUENCE sharding_ids TO stranger")
        run("shard0", "SET LOCAL ROLE stranger")
        run("shard0", WRITES["update"], author.id)
        assert bucket_of(take("shard0", bucket_of(author.id))[0]) == author.bucket
        transaction.set_rollback(True, using="shard0")


def test_a_bucket_cannot_be_blocked_under_a_writer_and_still_gives_ids() -> None:
    author = author_on(0)
    blocked = threading.Event()

    def block() -> None:
        set_state("shard0", bucket_of(author.id), "blocked")
        blocked.set()
        connections["shard0"].close()

    with transaction.atomic(using="shard0"):
        run("shard0", WRITES["update"], author.id)
        thread = threading.Thread(target=block)
        thread.start()
        eventually(lambda: waits_for_a_lock("shard0"), 10, "the change of the state to wait for the writer")
        assert not blocked.is_set()
        run("shard0", WRITES["insert"], author.id)
    assert blocked.wait(10 * TIME_FACTOR)
    thread.join()
    with pytest.raises(BucketMoved):
        run("shard0", WRITES["update"], author.id)


def test_two_writers_of_one_bucket_can_both_take_ids_without_waiting_in_a_ring() -> None:
    author = author_on(0)
    both_wrote = threading.Barrier(2)
    failures: list[Exception] = []

    def work(name: str) -> None:
        try:
            with transaction.atomic(using="shard0"):
                Book.objects.filter(author_id=author.id, title=name).update(title=name + "!")
                both_wrote.wait(10 * TIME_FACTOR)
                take("shard0", bucket_of(author.id))
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    for name in ("one", "two"):
        Book.objects.create(author_id=author.id, title=name)
    threads = [threading.Thread(target=work, args=[name]) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20 * TIME_FACTOR)
    assert failures == []


def test_an_id_never_changes() -> None:
    author = author_on(0)
    with pytest.raises(DatabaseError, match="never changes"):
        run("shard0", "UPDATE author SET id = id + 1 WHERE id = %s", author.id)


def test_a_row_cannot_belong_to_a_key_of_another_bucket() -> None:
    author, stranger = author_on(0), take("shard0", 3)[0]
    with pytest.raises(IntegrityError, match="book_same_bucket"):
        run("shard0", "INSERT INTO book (id, author_id, title) VALUES (%s, %s, '')", stranger, author.id)


def test_a_table_without_a_fence_is_found() -> None:
    tables = [model._meta.db_table for model in (Author, Book, Leaf)]
    assert unfenced("shard0", [*tables, "sharding_bucket", "no_such_table"]) == ["sharding_bucket"]
