"""Data migrations, at any time in the life of a move: each row is changed once, whatever the
order.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections, transaction
from django.db.models import Count
from django.db.models.signals import pre_migrate
from waiting import TIME_FACTOR

from scaleout.sharding import shard_map
from scaleout.sharding.errors import BucketMoved
from scaleout.sharding.ids import bucket_of
from scaleout.sharding.moving.session import MoveError
from scaleout.sharding.moving.steps import Mover
from scaleout.sharding.tests.shelves import Author, Book, author_on, set_state
from scaleout.sharding.tests.test_reshard import ask, clean_and_whole, killed, library, mover, some

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"]),
    pytest.mark.usefixtures("shelves"),
]
ONCE_MORE = "UPDATE author SET name = name || '!'"  # seen if it is done twice, or not at all
ORDERS = [("shard0", "shard2"), ("shard2", "shard0")]
STEPS = [
    ("planned", 1),
    ("copying", 3),
    ("catching_up", 1),
    ("blocked", 1),
    ("blocked", 3),
    ("verified", 1),
    ("flipped", 1),
    ("flipped", 2),
]


def migrate(alias: str) -> None:
    """Do what RunSQL or RunPython does in a shard."""
    with transaction.atomic(using=alias):
        ask(alias, "SET LOCAL sharding.migration = 'on'")
        ask(alias, ONCE_MORE)


def finish(resumed: Mover) -> None:
    """Resume the move until it is over: it stops once where a migration has changed rows at the
    target.
    """
    job = resumed.all()[-1]
    resumed.clean(resumed.run(job))


def names(authors: list[Author]) -> set[str]:
    shard_map.current().expire()
    return {Author.objects.get(pk=author.pk).name.lstrip("author 0123456789") for author in authors}


@pytest.mark.parametrize(("step", "count"), some(STEPS, ("copying", 3), ("blocked", 3), ("flipped", 1)))
def test_a_migration_after_a_mover_was_killed_changes_each_row_once(step: str, count: int) -> None:
    buckets = shard_map.current().buckets_of(0)[:4]
    authors = library(8, buckets)
    with mover() as one:
        one.start(0, 2, buckets)
    killed("run", step, count)
    for alias in ORDERS[count % 2]:
        migrate(alias)
    with mover() as one:
        finish(one)
    assert names(authors) == {"!"}
    assert clean_and_whole()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("step", "count"), some(STEPS, ("copying", 3), ("blocked", 1), ("verified", 1)))
def test_a_migration_while_a_mover_is_at_work_changes_each_row_once(
    step: str, count: int, order: tuple[str, str]
) -> None:
    buckets = shard_map.current().buckets_of(0)[:4]
    authors = library(8, buckets)
    left = count
    failures: list[BaseException] = []

    def all_of_it() -> None:
        try:
            for alias in order:
                migrate(alias)
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=all_of_it)

    def report(what: str, _done: int, _of: int) -> None:
        nonlocal left
        left -= what == step
        if left == 0 and thread.ident is None:
            thread.start()
            thread.join(0.5)  # where it waits for the mover, it ends later

    with mover(report) as one:
        job = one.start(0, 2, buckets)
        with suppress(MoveError):  # it stops, if the rows at the target were changed before they were compared
            one.run(job)
    thread.join(40 * TIME_FACTOR)
    assert failures == []
    with mover() as one:
        finish(one)
    assert names(authors) == {"!"}
    assert clean_and_whole()


def test_a_migration_at_the_target_after_the_source_had_it_changes_no_row_twice() -> None:
    """The source's new rows are copied, then the target changes the copies: the notes say so."""
    buckets = shard_map.current().buckets_of(0)[:4]
    authors = library(8, buckets)
    pending = {"copying": "shard0", "blocked": "shard2"}

    def report(what: str, _done: int, _of: int) -> None:
        if what in pending:
            migrate(pending.pop(what))

    with mover(report) as one:
        job = one.start(0, 2, buckets)
        with pytest.raises(MoveError, match=r"a migration has changed rows of the buckets .* at the target: when"):
            one.run(job)
    assert names(authors) == {"!"}
    authors[0].save(update_fields=["name"])  # the source takes writes while the move rests
    migrate("shard0")
    with mover() as one:
        finish(one)
    assert {Author.objects.get(pk=author.pk).name for author in authors[1:]} == {
        f"{author.name}!!" for author in authors[1:]
    }
    assert clean_and_whole()


@pytest.mark.parametrize(("step", "count"), some([("blocked", 2), ("blocked", 3), ("verified", 1)], ("blocked", 3)))
def test_what_the_owner_changes_at_the_source_after_a_mover_was_killed_is_not_lost(step: str, count: int) -> None:
    buckets = shard_map.current().buckets_of(0)[:2]
    authors = library(4, buckets)
    with mover() as one:
        one.start(0, 2, buckets)
    killed("run", step, count)
    migrate("shard0")
    with mover() as one:
        finish(one)
    assert names(authors) == {"!"}
    assert clean_and_whole()


def test_a_migration_of_rows_that_are_to_be_copied_over_is_no_obstacle() -> None:
    buckets = shard_map.current().buckets_of(0)[:2]
    authors = library(4, buckets)
    with mover() as one:
        one.run(one.start(0, 2, buckets))
        one.start(2, 0, buckets)
    for bucket in buckets:
        set_state("shard0", bucket, "incoming")  # as by a mover that was killed a moment later
    for alias in settings.SHARDING["SHARDS"].values():
        migrate(alias)
    with mover() as one:
        finish(one)
    assert names(authors) == {"!"}


def test_a_migration_writes_what_a_move_has_left_behind_and_the_application_does_not() -> None:
    author = author_on(0, "x")
    with mover() as one:
        one.run(one.start(0, 2, [bucket_of(author.pk)]))
    for alias in settings.SHARDING["SHARDS"].values():
        migrate(alias)
    assert Author.objects.get(pk=author.pk).name == "x!"
    with pytest.raises(BucketMoved):
        ask("shard0", ONCE_MORE)


@pytest.mark.parametrize("state", ["blocked", "incoming", "moved"])
def test_only_the_owner_of_the_table_can_be_a_migration(state: str) -> None:
    author = author_on(0)
    set_state("shard0", bucket_of(author.pk), state)
    with transaction.atomic(using="shard0"):
        ask("shard0", "CREATE ROLE stranger")
        ask("shard0", "GRANT SELECT, INSERT, UPDATE, DELETE ON author, sharding_bucket TO stranger")
        ask("shard0", "SET LOCAL ROLE stranger")
        with pytest.raises(BucketMoved):
            migrate("shard0")
        transaction.set_rollback(True, using="shard0")


def test_the_command_migrate_opens_the_fence_while_it_runs() -> None:
    seen: list[Any] = []

    def look(**_kwargs: Any) -> None:
        seen.extend(ask("shard1", "SELECT current_setting('sharding.migration', true)"))

    pre_migrate.connect(look)
    try:
        call_command("migrate", "sharding", database="shard1", verbosity=0)
    finally:
        pre_migrate.disconnect(look)
    assert seen[-1] == ("on",)
    assert ask("shard1", "SELECT current_setting('sharding.migration', true)") == [("off",)]


def test_no_row_moves_between_shards_of_which_one_has_had_a_migration_more() -> None:
    author = author_on(0, "x")
    ask("shard2", "INSERT INTO django_migrations (app, name, applied) VALUES ('library', '0007_more', now())")
    try:
        with mover() as one, pytest.raises(MoveError, match=r"only one .* library\.0007_more: run .* prepare"):
            one.run(one.start(0, 2, [bucket_of(author.pk)]))
    finally:
        ask("shard2", "DELETE FROM django_migrations WHERE app = 'library'")
    with mover() as one:
        finish(one)
    assert clean_and_whole()


def test_using_asks_and_changes_what_the_shard_holds_and_no_copy() -> None:
    author = author_on(0, "x")
    book = Book.objects.create(author_id=author.pk, title="t")
    book.leaves.create(number=1)
    with mover() as one:
        one.run(one.start(0, 2, [bucket_of(author.pk)]))
    shard_map.current().expire()
    shards = list(settings.SHARDING["SHARDS"].values())
    assert [Author.objects.using(alias).count() for alias in shards] == [0, 0, 1]
    assert [Author.objects.db_manager(alias).all().count() for alias in shards] == [0, 0, 1]
    assert [len(Author.objects.order_by("id")[:5].using(alias)) for alias in shards] == [0, 0, 1]
    some = Author.objects.filter(name="x")
    assert [len(some.union(Author.objects.filter(name="y")).using(alias)) for alias in shards] == [0, 0, 1]
    assert [Author.objects.using(alias).aggregate(n=Count("id"))["n"] for alias in shards] == [0, 0, 1]
    assert [Author.objects.using(alias).filter(pk=author.pk).exists() for alias in shards] == [False, False, True]
    assert [Author.objects.using(alias).update(name="y") for alias in shards] == [0, 0, 1]
    assert Author.objects.get(pk=author.pk).name == "y"
    assert [Book.objects.using(alias).delete()[0] for alias in shards] == [0, 0, 2]
    assert [Author.objects.using(alias).filter(name="y").delete()[0] for alias in shards] == [0, 0, 1]
    with mover() as one:
        one.clean(one.all()[-1])
    assert clean_and_whole()
