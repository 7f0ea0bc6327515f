"""Questions to all shards: in order, in pages, in time, and honest about what is missing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from django.db import DataError, connections
from django.db.models import F, Q, Value
from waiting import TIME_FACTOR, eventually, in_time

from scaleout.sharding import scatter as scatter_module
from scaleout.sharding import shard_map
from scaleout.sharding.ids import bucket_of
from scaleout.sharding.scatter import THREADS, Page
from scaleout.sharding.tests.shelves import Author, author_on, set_state

ALIASES = ("shard0", "shard1", "shard2")
pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", *ALIASES]),
    pytest.mark.usefixtures("shelves"),
]
PATIENT = 10.0  # seconds: for a machine that is busy with other things


def some_authors(count: int) -> list[Author]:
    made = Author.objects.bulk_create([Author(name=str(one)) for one in range(count)], across_shards=True)
    return sorted(made, key=lambda author: author.id)


def test_pages_go_through_all_shards_in_the_order_of_the_ids() -> None:
    authors, found, after, pages = some_authors(95), [], 0, 0
    while True:
        page = Author.objects.scatter(limit=20, after=after, deadline=PATIENT)
        assert not page.partial
        found += page.items
        pages += 1
        if page.next is None:
            break
        after = page.next
    assert found == authors
    assert pages == 5


def test_a_last_page_that_is_full_has_no_next() -> None:
    authors = some_authors(20)
    page = Author.objects.scatter(limit=20, deadline=PATIENT)
    assert (list(page), page.next) == (authors, None)


def test_filters_hold_on_every_shard() -> None:
    some_authors(30)
    page = Author.objects.filter(Q(name="3") | Q(name="7")).scatter(deadline=PATIENT)
    assert {author.name for author in page} == {"3", "7"}
    assert Author.objects.exclude(name="3").scatter_count(PATIENT) == (29, False)


def test_what_is_found_can_be_changed_at_once() -> None:
    some_authors(3)
    for author in Author.objects.scatter(deadline=PATIENT):
        author.name = "changed"
        author.save()
    assert Author.objects.filter(name="changed").scatter_count(PATIENT) == (3, False)


def test_a_slice_is_refused() -> None:
    with pytest.raises(TypeError, match="filters only"):
        Author.objects.all()[:3].scatter()


def test_a_query_that_is_wrong_is_an_error_and_not_a_missing_shard() -> None:
    for number in range(3):
        author_on(number)
    with pytest.raises(DataError, match="division by zero"):
        Author.objects.filter(id=Value(1) / (F("id") - F("id"))).scatter(deadline=PATIENT)


def test_half_copied_rows_and_those_left_behind_never_show() -> None:
    author = author_on(0)
    for state, shown in (("active", 1), ("blocked", 1), ("incoming", 0), ("moved", 0)):
        set_state("shard0", bucket_of(author.id), state)
        page = Author.objects.scatter(deadline=PATIENT)
        # A bucket that no shard shows: its rows may be missing, so the page says so.
        assert (len(page.items), page.partial) == (shown, not shown)


def test_a_row_that_two_shards_show_is_given_once_and_as_its_holder_has_it() -> None:
    author = author_on(0, "old")
    bucket = bucket_of(author.id)
    with connections["shard2"].cursor() as cursor:
        cursor.execute("INSERT INTO sharding_bucket (bucket, state, last) VALUES (%s, 'active', 0)", [bucket])
        cursor.execute("INSERT INTO author VALUES (%s, 'new')", [author.id])
    shard_map.reassign("default", [bucket], 0, 2)
    shard_map.current().expire()
    assert [one.name for one in Author.objects.scatter(deadline=PATIENT)] == ["new"]


@pytest.mark.parametrize(("before", "after"), [("incoming", "active"), ("active", "active")])
def test_what_a_move_has_hidden_or_doubled_is_asked_for_again_and_the_answer_is_whole(
    before: str, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first question finds the bucket on no shard, or on two; the move ends between the two
    questions.
    """
    author = author_on(0)
    bucket = bucket_of(author.id)
    with connections["shard2"].cursor() as cursor:
        cursor.execute("INSERT INTO sharding_bucket (bucket, state, last) VALUES (%s, 'active', 0)", [bucket])
        cursor.execute("INSERT INTO author VALUES (%s, 'writer')", [author.id])
    gather = scatter_module._gather
    states = {"shard0": "moved" if before == "incoming" else "active", "shard2": before}

    def gather_while_it_moves(*arguments: Any) -> Any:
        for alias, state in states.items():
            set_state(alias, bucket, state)
        gathered = gather(*arguments)
        states.update({"shard0": "moved", "shard2": after})
        return gathered

    monkeypatch.setattr(scatter_module, "_gather", gather_while_it_moves)
    assert Author.objects.scatter_count(deadline=PATIENT) == (1, False)
    states.update({"shard0": "moved" if before == "incoming" else "active", "shard2": before})
    page = Author.objects.scatter(deadline=PATIENT)
    assert ([one.id for one in page], page.partial) == ([author.id], False)


def test_a_shard_that_is_down_makes_the_answer_partial(monkeypatch: pytest.MonkeyPatch) -> None:
    authors = some_authors(60)
    monkeypatch.setitem(connections["shard1"].settings_dict, "PORT", "1")
    page = Author.objects.scatter(deadline=PATIENT)
    assert (page.partial, page.missing) == (True, ("shard1",))
    assert page.items == [one for one in authors if shard_map.current().number(bucket_of(one.id)) != 1]
    count, partial = Author.objects.scatter_count(PATIENT)
    assert (count, partial) == (len(page.items), True)
    monkeypatch.undo()
    assert not Author.objects.scatter(deadline=PATIENT).partial


def asked(deadline: float) -> Page[Author]:
    """Ask for all authors, in a thread of its own."""
    try:
        return Author.objects.scatter(deadline=deadline)
    finally:
        connections.close_all()


def test_a_shard_that_hangs_delays_no_other_and_its_queries_end() -> None:
    authors = some_authors(60)
    other = connections["shard1"].copy()  # not this thread's, which may not be in a transaction
    with closing(other), other.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE author IN ACCESS EXCLUSIVE MODE")
        # More questions than the hung shard has threads, side by side. The others answer in time.
        with in_time(), ThreadPoolExecutor(THREADS + 2) as pool:
            pages = list(pool.map(lambda _: asked(0.75 * TIME_FACTOR), range(THREADS + 2)))
        assert [page.missing for page in pages] == [("shard1",)] * len(pages)
    assert [one.id for one in pages[-1]] == [
        one.id for one in authors if shard_map.current().number(bucket_of(one.id)) != 1
    ]
    page = Author.objects.scatter(deadline=PATIENT)
    assert (page.items, page.partial) == (authors, False)


def test_no_question_leaves_a_connection_behind() -> None:
    for _ in range(20):
        Author.objects.scatter(10, deadline=PATIENT)

    def left() -> int:
        own = [connections[alias].connection for alias in ALIASES]
        pids = [connection.info.backend_pid for connection in own if connection]
        with connections["shard0"].cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE '%%_shard_%%' AND pid <> ALL(%s)", [pids]
            )
            return int(cursor.fetchone()[0])

    connections["shard0"].ensure_connection()
    eventually(lambda: left() == 0, PATIENT, "all connections to be closed")
