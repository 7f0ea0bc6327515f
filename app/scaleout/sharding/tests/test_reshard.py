"""Buckets move while users write, and whatever breaks a move off, no row is lost, doubled or in the
wrong place.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import forked
import pytest
from django.conf import settings
from django.db import connections, transaction
from waiting import TIME_FACTOR

from scaleout.sharding import shard_map, transactions
from scaleout.sharding.ids import BUCKETS, bucket_of, take
from scaleout.sharding.moving import session, steps, verify
from scaleout.sharding.moving.session import MoveError
from scaleout.sharding.moving.state import Job, Step
from scaleout.sharding.moving.steps import Mover
from scaleout.sharding.tests.shelves import TABLES, Author, Book, Leaf, author_on, move, set_state

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"]),
    pytest.mark.usefixtures("shelves"),
]
WAIT = steps.WAIT  # as it is outside of tests
NAMES = [model._meta.db_table for model in TABLES]


def mover(report: Any = lambda *_: None) -> Mover:
    return Mover("default", settings.SHARDING["SHARDS"], NAMES, report)


def ask(alias: str, sql: str, *parameters: Any) -> list[Any]:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else []


def library(count: int, buckets: list[int] | None = None) -> list[Author]:
    """Return that many authors, each with two books of two leaves, spread over `buckets`."""
    known = shard_map.current()
    buckets = buckets or list(range(BUCKETS))
    authors = []
    for number in range(count):
        bucket = buckets[number % len(buckets)]
        authors.append(Author(name=f"author {number}"))
        authors[-1].id = take(known.alias_of(bucket), bucket)[0]
    Author.objects.bulk_create(authors, across_shards=True)
    books = [Book(author_id=author.id, title=f"{number}") for author in authors for number in range(2)]
    Book.objects.bulk_create(books, across_shards=True)
    Leaf.objects.bulk_create(
        [Leaf(book=book, number=number) for book in books for number in range(2)], across_shards=True
    )
    return authors


def everything() -> Counter[tuple[str, Any]]:
    """Return each row as its owner has it: the shard that the map names. Copies of moves are not in
    it.
    """
    shard_map.current().expire()
    found: Counter[tuple[str, Any]] = Counter()
    for alias in settings.SHARDING["SHARDS"].values():
        for name in NAMES:
            for row in ask(alias, f"SELECT * FROM {name}"):  # noqa: S608 - our own tables
                if shard_map.current().alias_for(row[0]) == alias:
                    found[name, row] += 1
    return found


def clean_and_whole() -> bool:
    """Return whether each bucket is active where the map says, and nothing of a move is left
    anywhere.
    """
    shard_map.current().expire()
    for number, alias in settings.SHARDING["SHARDS"].items():
        held = ask(alias, "SELECT bucket FROM sharding_bucket WHERE state = 'active' AND NOT logged ORDER BY bucket")
        if [bucket for (bucket,) in held] != shard_map.current().buckets_of(number):
            return False
        if ask(alias, "SELECT FROM sharding_bucket WHERE state <> 'active'") or ask(
            alias, "SELECT FROM sharding_change"
        ):
            return False
        rows = [row[0] for name in NAMES for row in ask(alias, f"SELECT id FROM {name}")]  # noqa: S608 - our own tables
        if any(shard_map.current().alias_for(row) != alias for row in rows):
            return False
    return True


def moved(job: Job, source: str = "shard0", target: str = "shard2") -> bool:
    states = [
        {state for (state,) in ask(one, "SELECT state FROM sharding_bucket WHERE bucket = ANY(%s)", job.buckets)}
        for one in (source, target)
    ]
    return states == [{"moved"}, {"active"}]


@contextmanager
def users(authors: list[Author], threads: int = 4) -> Iterator[list[str]]:
    """Let threads write, read and delete, each its own authors; yield what was wrong."""
    wrong: list[str] = []
    stop = threading.Event()

    def work(mine: list[Author], seed: int) -> None:
        dice = random.Random(seed)
        names = {author.id: author.name for author in mine}
        try:
            while not stop.is_set():
                key = dice.choice(list(names))
                act = dice.randrange(6)
                if act == 0:
                    names[key] = str(dice.random())
                    Author.objects.filter(pk=key).update(name=names[key])
                elif act == 1:
                    book = Book.objects.create(author_id=key, title=str(dice.random()))
                    Leaf.objects.create(book=book, number=1)
                elif act == 2 and (found := Book.objects.filter(author_id=key).first()):
                    found.delete()
                elif act == 3:
                    fresh = Author.objects.create(name="fresh")
                    names[fresh.id] = "fresh"
                elif act == 4 and len(names) > 5:
                    Book.objects.filter(author_id=key).delete()
                    Author.objects.filter(pk=key).delete()
                    del names[key]
                    if Author.objects.filter(pk=key).exists():
                        wrong.append(f"{key} was deleted and is there")
                    continue
                got = Author.objects.filter(pk=key).values_list("name", flat=True).first()
                if got != names[key]:
                    wrong.append(f"{key} is {got}, not {names[key]}")
            for key, name in names.items():
                if Author.objects.filter(pk=key).values_list("name", flat=True).first() != name:
                    wrong.append(f"{key} was lost")
        except Exception as error:
            wrong.append(repr(error))
        finally:
            connections.close_all()

    workers = [threading.Thread(target=work, args=[authors[one::threads], one]) for one in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield wrong
    finally:
        stop.set()
        for worker in workers:
            worker.join(30 * TIME_FACTOR)


@pytest.mark.parametrize(("count", "rows"), [(20, 300), pytest.param(100, 1500, marks=pytest.mark.long)])
def test_many_buckets_move_while_users_write_without_an_error(count: int, rows: int) -> None:
    buckets = shard_map.current().buckets_of(0)[:count]
    authors = library(rows)
    with users(authors) as wrong, mover() as one:
        job = one.run(one.start(0, 2, buckets))
    assert wrong == []
    assert moved(job)
    assert job.pause is not None
    assert job.pause < 10 * TIME_FACTOR
    print(f"pause of {len(buckets)} buckets: {job.pause:.2f} s")
    before = everything()
    with mover() as one:
        one.clean(job)
    assert clean_and_whole()
    assert everything() == before
    assert set(shard_map.current().buckets_of(2)) >= set(buckets)


def test_ids_grow_on_after_a_move_though_the_clock_of_the_source_was_ahead() -> None:
    bucket = shard_map.current().buckets_of(0)[0]
    ask("shard0", "UPDATE sharding_bucket SET last = 3000000000::bigint << 11 WHERE bucket = %s", bucket)
    before = take("shard0", bucket, 5)
    with mover() as one:
        one.run(one.start(0, 2, [bucket]))
    assert take("shard2", bucket)[0] > before[-1]


def test_the_new_shard_takes_no_write_before_every_old_map_has_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    assert WAIT == 0.6, "a map is believed for half a second"
    monkeypatch.setattr(steps, "WAIT", WAIT)
    bucket = shard_map.current().buckets_of(0)[0]
    seen: list[tuple[float, str]] = []

    def report(what: str, _done: int, _of: int) -> None:
        if what == "flipped":
            state = ask("shard2", "SELECT state FROM sharding_bucket WHERE bucket = %s", bucket)
            seen.append((time.monotonic(), state[0][0]))

    with mover(report) as one:
        one.run(one.start(0, 2, [bucket]))
    (flipped, first), (still, second) = seen  # just after the flip, and just before the shard is let write
    assert (first, second) == ("incoming", "incoming")
    assert still - flipped > 0.5, "a map is believed for half a second"


def killed(command: str, step: str, count: int = 1) -> None:
    """Run a mover that is killed at `step`."""
    names = [connections[alias].settings_dict["NAME"] for alias in ("default", *settings.SHARDING["SHARDS"].values())]
    process = forked.start("scaleout.sharding.tests.mover", names, command, step, count)
    process.join(60 * TIME_FACTOR)
    assert process.exitcode == -signal.SIGKILL
    process.close()


KILLS = [
    ("planned", 1),
    ("copying", 1),
    ("copying", 6),
    ("catching_up", 1),
    ("blocked", 1),
    ("blocked", 2),
    ("blocked", 3),
    ("verified", 1),
    ("flipped", 1),
    ("flipped", 2),
]


def some(steps_of_all: list[tuple[str, int]], *now: tuple[str, int]) -> list[Any]:
    """Return all steps, those but `now` marked `long`: a step of each kind is tried each time, the
    others seldom.
    """
    assert set(now) <= set(steps_of_all)
    return [pytest.param(*one, marks=[] if one in now else [pytest.mark.long]) for one in steps_of_all]


@pytest.mark.parametrize(
    ("step", "count"), some(KILLS, ("copying", 6), ("blocked", 2), ("verified", 1), ("flipped", 1))
)
def test_a_move_that_was_killed_is_resumed(step: str, count: int) -> None:
    buckets = shard_map.current().buckets_of(0)[:8]
    authors = library(64, buckets)
    before = everything()
    with mover() as one:
        one.start(0, 2, buckets)
    killed("run", step, count)
    if step in {"planned", "copying", "catching_up"}:
        Author.objects.filter(pk=authors[0].id).update(name="changed")
        before = everything()
    with mover() as one:
        job = one.unfinished()
        assert job is not None
        one.run(job)
        assert moved(job)
        assert everything() == before
        one.clean(job)
    assert everything() == before
    assert clean_and_whole()
    authors[1].name = "afterwards"
    authors[1].save()


@pytest.mark.parametrize(("step", "count"), some(KILLS, ("planned", 1), ("blocked", 3), ("flipped", 2)))
def test_a_move_that_was_killed_is_aborted_unless_the_map_was_flipped(step: str, count: int) -> None:
    buckets = shard_map.current().buckets_of(0)[:8]
    authors = library(64, buckets)
    before = everything()
    with mover() as one:
        one.start(0, 2, buckets)
    killed("run", step, count)
    with mover() as one:
        job = one.unfinished()
        assert job is not None
        if step == "flipped":
            with pytest.raises(MoveError, match=r"too late to abort.* --to 0"):
                one.abort(job)
            return
        one.abort(job)
    assert everything() == before
    assert clean_and_whole()
    assert len(shard_map.current().buckets_of(0)) == 342
    authors[1].name = "afterwards"
    authors[1].save()


def test_an_abort_that_was_killed_goes_on() -> None:
    buckets = shard_map.current().buckets_of(0)[:8]
    library(64, buckets)
    before = everything()
    with mover() as one:
        one.start(0, 2, buckets)
    killed("run", "verified")
    killed("abort", "aborting", 4)
    with mover() as one:
        job = one.unfinished()
        assert job is not None
        one.run(job)
        assert job.step == Step.ABORTED
    assert everything() == before
    assert clean_and_whole()


def test_a_clean_up_that_was_killed_goes_on() -> None:
    buckets = shard_map.current().buckets_of(0)[:8]
    library(64, buckets)
    before = everything()
    with mover() as one:
        job = one.run(one.start(0, 2, buckets))
    killed("clean", "cleaning", 4)
    with mover() as one:
        one.clean(one.all()[-1])
    assert job.step == Step.ACTIVE
    assert everything() == before
    assert clean_and_whole()


def test_buckets_move_back_before_and_after_the_source_is_cleaned() -> None:
    buckets = shard_map.current().buckets_of(0)[:8]
    authors = library(64, buckets)
    with mover() as one:
        there = one.run(one.start(0, 2, buckets))
        authors[0].name = "written there"
        authors[0].save()
        before = everything()
        back = one.run(one.start(2, 0, buckets))
        assert everything() == before
        one.clean(there)  # the source has them again: nothing may go
        assert everything() == before
        one.clean(back)
    assert everything() == before
    assert clean_and_whole()


@pytest.mark.parametrize("comparison", ["differing", "differing_rows"])
def test_a_difference_is_copied_again_and_never_flipped(monkeypatch: pytest.MonkeyPatch, comparison: str) -> None:
    """By a comparison while users write, and by the one of what they wrote, while they must not."""
    buckets = shard_map.current().buckets_of(0)[:4]
    authors = library(16, buckets)
    before = everything()

    compare = getattr(verify, comparison)

    def spoil(*arguments: Any) -> list[tuple[str, int]]:
        with transaction.atomic(using="shard2"):
            ask("shard2", "SET LOCAL sharding.mover = 'on'")
            ask("shard2", "UPDATE author SET name = 'spoilt' WHERE id = %s", authors[1].id)
        found: list[tuple[str, int]] = compare(*arguments)
        return found

    def write(what: str, _done: int, of: int) -> None:
        if what == "blocked" and of == 1:  # before it is
            Author.objects.filter(pk=authors[1].id).update(name=str(random.random()))

    with mover(write) as one:
        job = one.start(0, 2, buckets)
        with monkeypatch.context() as patch:
            patch.setattr(steps, comparison, spoil)
            with pytest.raises(MoveError, match=r"rows of author differ in the buckets 3, again after 3 copies"):
                one.run(job)
        assert job.step == Step.COPYING
        assert shard_map.current().buckets_of(0)[:4] == buckets
        authors[1].name = "still writable"
        authors[1].save()
    before = everything()
    with mover() as one:
        one.run(job)
        one.clean(job)
    assert everything() == before
    assert clean_and_whole()


def test_a_table_whose_foreign_key_deletes_by_itself_is_not_moved() -> None:
    constraint = ask("shard2", "SELECT conname FROM pg_constraint WHERE conrelid = 'leaf'::regclass AND contype = 'f'")
    name = constraint[0][0]
    change = "ALTER TABLE leaf DROP CONSTRAINT {0}, ADD CONSTRAINT {0} FOREIGN KEY (book_id) REFERENCES book (id) {1}"
    ask("shard2", change.format(name, "ON DELETE CASCADE"))
    try:
        with mover() as one, pytest.raises(MoveError, match=r"of leaf has an ON DELETE of its own"):
            one.start(0, 2, [0])
    finally:
        ask("shard2", change.format(name, "DEFERRABLE INITIALLY DEFERRED"))


def test_there_is_one_mover_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "PATIENCE", "100ms")
    with mover(), pytest.raises(MoveError, match="another mover, or a migration, is at work in default"), mover():
        pass
    monkeypatch.undo()  # the server releases the lock a little later
    with mover():
        pass


def test_a_mover_waits_for_one_that_is_just_ending() -> None:
    with mover() as one:
        ending = threading.Timer(0.5, one.__exit__)
        ending.start()
        with mover():
            pass
        ending.join()


def test_a_second_move_waits_for_the_first_one() -> None:
    with mover() as one:
        one.start(0, 2, [0])
        with pytest.raises(MoveError, match=r"is unfinished \(planned\)"):
            one.start(0, 1, [3])


def test_a_writer_that_holds_a_bucket_for_long_is_not_broken_off() -> None:
    buckets = shard_map.current().buckets_of(0)[:2]
    authors = library(4, buckets)
    tried = threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic(using="shard0"):
                Author.objects.filter(pk=authors[0].id).update(name="at last")
                held.set()
                tried.wait(10 * TIME_FACTOR)
        finally:
            connections.close_all()

    held = threading.Event()
    thread = threading.Thread(target=hold)

    def report(what: str, _done: int, _of: int) -> None:
        if what == "copying" and not held.is_set():
            thread.start()
            held.wait(10 * TIME_FACTOR)
            threading.Timer(1.0, tried.set).start()  # longer than the mover waits for a lock

    with mover(report) as one:
        one.run(one.start(0, 2, buckets))
    thread.join(20 * TIME_FACTOR)
    assert Author.objects.get(pk=authors[0].id).name == "at last"


def test_a_target_that_is_away_is_said_in_one_line_and_the_move_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    buckets = shard_map.current().buckets_of(0)[:4]
    library(16, buckets)
    before = everything()

    def cut(what: str, done: int, _of: int) -> None:
        if what == "copying" and done == 2:
            ask(
                "default",
                "SELECT pg_terminate_backend(pid, 30000) FROM pg_locks JOIN pg_database AS d ON d.oid = database"
                " WHERE locktype = 'advisory' AND objid = 7241002 AND datname = %s",
                connections["shard2"].settings_dict["NAME"],
            )

    with mover(cut) as one, pytest.raises(MoveError, match=r"stopped at copying: .*resume"):
        one.run(one.start(0, 2, buckets))
    with monkeypatch.context() as patch:
        patch.setitem(connections["shard2"].settings_dict, "PORT", "1")
        with mover() as one, pytest.raises(MoveError, match="shard2 cannot be reached"):
            one.run(one.all()[-1])
    with mover() as one:
        one.clean(one.run(one.all()[-1]))
    assert everything() == before
    assert clean_and_whole()


@pytest.mark.parametrize("end", ["shard0", "shard2"])
@pytest.mark.parametrize("part", [0, 2])
def test_a_shard_that_is_lost_while_buckets_are_blocked_costs_another_run_and_no_row(end: str, part: int) -> None:
    buckets = shard_map.current().buckets_of(0)[:4]
    authors = library(16, buckets)

    def cut(what: str, done: int, _of: int) -> None:
        if what == "blocked" and done == part:
            ask(
                "default",
                "SELECT pg_terminate_backend(pid, 30000) FROM pg_locks JOIN pg_database AS d ON d.oid = database"
                " WHERE locktype = 'advisory' AND objid = 7241002 AND datname = %s",
                connections[end].settings_dict["NAME"],
            )

    with mover(cut) as one, pytest.raises(MoveError, match=r"stopped at catching_up: .*resume"):
        one.run(one.start(0, 2, buckets))
    if end == "shard2":  # the mover could still release what it had blocked
        authors[0].name = "writes on"
        authors[0].save()
    with mover() as one:
        job = one.run(one.all()[-1])
        assert moved(job)
        before = everything()
        one.clean(job)
    assert everything() == before
    assert clean_and_whole()


def test_a_write_waits_for_a_bucket_that_is_about_to_move(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "PATIENCE", 60.0)  # however late the bucket is released
    author = author_on(0)
    bucket = bucket_of(author.id)
    set_state("shard0", bucket, "blocked")

    def release() -> None:
        ask("shard2", "INSERT INTO sharding_bucket (bucket, state, last) VALUES (%s, 'incoming', 0)", bucket)
        with transaction.atomic(using="shard2"):
            ask("shard2", "SET LOCAL sharding.mover = 'on'")
            ask("shard2", "INSERT INTO author VALUES (%s, 'writer')", author.id)
        move(bucket, 2)
        connections.close_all()

    timer = threading.Timer(0.5, release)
    timer.start()
    author.name = "patient"
    author.save()
    timer.join()
    assert Author.objects.get(pk=author.id).name == "patient"
    assert shard_map.current().alias_of(bucket) == "shard2"


def test_a_count_in_which_two_shards_show_the_same_bucket_says_that_it_is_not_exact() -> None:
    author = author_on(0)
    assert Author.objects.scatter_count(deadline=10.0) == (1, False)
    ask("shard2", "INSERT INTO sharding_bucket (bucket, state, last) VALUES (%s, 'active', 0)", author.bucket)
    ask("shard2", "INSERT INTO author VALUES (%s, 'writer')", author.id)
    assert Author.objects.scatter_count(deadline=10.0) == (2, True)
