"""The decorator in one process, with a real Redis."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from django_redis import get_redis_connection
from prometheus_client import REGISTRY
from pytest_django import Settings
from waiting import TIME_FACTOR, eventually, in_time

from scaleout.caching import (
    UncacheableError,
    clear,
    decorator,
    depends,
    invalidate,
    invalidation,
    lease,
    ledger,
    metrics,
    multi_level_cache,
    process,
    shared,
    warmer,
    warming,
    wire,
)
from scaleout.caching.source import OneDatabase
from scaleout.caching.warming import warm

computed: list[Any] = []


@pytest.fixture(autouse=True)
def _fresh(transactional_db: None, settings: Settings) -> None:
    settings.CACHING = settings.CACHING | {"WARMERS": None}  # of the project: all that a test registers
    computed.clear()
    process.current.watch.start()
    assert process.current.watch.heard.wait(5 * TIME_FACTOR), "until it listens nothing is held for long"


def forget_here() -> None:
    """As another process: nothing in the first level."""
    caches["local"].clear()


@multi_level_cache(timeout=60)
def double(number: int | None) -> int | None:
    computed.append(number)
    return None if number is None else 2 * number


def test_a_value_is_computed_once_and_then_found_in_the_process_and_in_redis() -> None:
    assert [double(4), double(4)] == [8, 8]
    assert double.peek(4).level == "L1"  # type: ignore[union-attr]  # it is there
    forget_here()
    assert double.peek(4).level == "L2"  # type: ignore[union-attr]  # it is there
    assert double(4) == 8
    assert computed == [4]


def test_none_is_cached() -> None:
    assert [double(None), double(None)] == [None, None]
    forget_here()
    assert double(None) is None
    assert computed == [None]
    peeked = double.peek(None)
    assert peeked is not None
    assert peeked.value is None


def test_peek_computes_nothing() -> None:
    assert double.peek(5) is None
    assert computed == []


def test_refresh_computes_now() -> None:
    assert [double(1), double.refresh(1), double(1)] == [2, 2, 2]
    assert computed == [1, 1]


def test_invalidate_makes_one_value_wrong_and_no_other() -> None:
    double(1), double(2)
    double.invalidate(number=1)
    assert (double.peek(1), double.peek(2) is None) == (None, False)
    forget_here()
    assert (double.peek(1), double.peek(2) is None) == (None, False)


def test_clear_makes_everything_wrong() -> None:
    double(1), double(2)
    clear()
    forget_here()
    assert (double.peek(1), double.peek(2)) == (None, None)


def test_clear_in_a_transaction_is_sent_after_the_commit_and_not_after_a_rollback() -> None:
    double(1)
    for rollback in (True, False):
        with transaction.atomic():
            clear()
            assert several(1, lambda: double.peek(1) is None) == [False]
            transaction.set_rollback(rollback)
        assert (double.peek(1) is None) == (not rollback)


@multi_level_cache(timeout=60, tags=lambda slug: (f"list:{slug}", "lists"))
def page(slug: str) -> list[str]:
    computed.append(slug)
    depends("item:1")
    return [slug]


def test_a_value_has_its_own_tags_and_those_declared_while_it_was_computed() -> None:
    for tag in ("list:a", "lists", "item:1"):
        page("a"), page("b")
        invalidate(tag)
        forget_here()
        assert page.peek("a") is None
        assert (page.peek("b") is None) == (tag != "list:a")


def test_a_caller_that_changes_what_it_got_changes_nothing_for_others() -> None:
    first = page("a")
    first.append("mine")
    page("a").append("mine")
    assert page("a") == ["a"]
    forget_here()
    assert page("a") == ["a"]


@multi_level_cache(timeout=60)
def outer() -> str:
    computed.append("outer")
    return "of " + ",".join(page("a"))


def test_a_value_made_of_another_falls_with_it() -> None:
    assert outer() == "of a"
    invalidate("item:1")
    forget_here()
    assert outer.peek() is None
    assert outer() == "of a"
    assert computed == ["outer", "a", "outer", "a"]


@multi_level_cache(timeout=60)
def fragile(fails: bool) -> str:
    computed.append(fails)
    if fails:
        raise LookupError("not now")
    return "whole"


def test_an_exception_goes_to_the_caller_and_leaves_nothing_behind() -> None:
    for _ in range(2):
        with pytest.raises(LookupError, match="not now"):
            fragile(True)
    assert computed == [True, True]
    assert not list(get_redis_connection("default").scan_iter("*computing:*")), "a lock"


@multi_level_cache(timeout=60)
def unpicklable() -> Any:
    return threading.Lock()


def test_a_value_that_cannot_be_pickled_is_refused_at_once() -> None:
    with pytest.raises(UncacheableError, match=r"test_decorator\.unpicklable can't be cached"):
        unpicklable()


@multi_level_cache(timeout=60)
def badly_tagged() -> int:
    depends("with space")
    return 1


def test_a_tag_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(UncacheableError, match="not a tag: 'with space'"):
        badly_tagged()
    with pytest.raises(UncacheableError, match="not a tag: 'with space'"):
        multi_level_cache(timeout=60, tags=("with space",))
    with pytest.raises(UncacheableError, match="not a tag"):
        invalidate("two words")


@multi_level_cache(timeout=60)
def factorial(number: int) -> int:
    return number * factorial(number - 1) if number else 1


def test_a_cached_function_may_call_itself() -> None:
    assert factorial(5) == 120


@multi_level_cache(timeout=60, key="round")
def around() -> int:
    computed.append("around")
    return around() if len(computed) < 2 else 7


def test_a_function_that_asks_for_the_value_that_it_makes_does_not_wait_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease, "PATIENCE", 60.0 * TIME_FACTOR)
    with in_time(20):
        assert around() == 7


def test_in_a_transaction_nothing_is_kept_and_ones_own_change_is_seen() -> None:
    assert double(1) == 2
    with transaction.atomic():
        assert [double(1), double(2), double(2)] == [2, 4, 4]
        assert computed == [1, 2, 2], "what was there is used, what is computed inside is not kept"
        double.invalidate(1)
        assert double(1) == 2
        assert computed == [1, 2, 2, 1], "who has changed it sees it"
    assert double.peek(1) is None
    assert double.peek(2) is None


@multi_level_cache(timeout=60, key="whose")
def whose() -> str:
    computed.append("whose")
    if transaction.get_connection().in_atomic_block:
        began.set()
        assert may_end.wait(5 * TIME_FACTOR)
    return threading.current_thread().name


began, may_end = threading.Event(), threading.Event()


def test_what_is_computed_in_a_transaction_is_handed_to_no_other_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "PATIENCE", 60.0)
    inside: list[str] = []

    def change() -> None:
        with transaction.atomic():
            inside.append(whose())
        connection.close()

    thread = threading.Thread(target=change, name="the author")
    thread.start()
    assert began.wait(5 * TIME_FACTOR)
    assert whose() == threading.current_thread().name
    may_end.set()
    thread.join()
    assert inside == ["the author"]
    assert computed == ["whose", "whose"]


def test_warming_in_a_transaction_leaves_no_lock_behind() -> None:
    with transaction.atomic():
        double.warm(0.0, 1)
    assert not list(get_redis_connection("default").scan_iter("*computing:*"))


def test_what_is_rolled_back_invalidates_nothing() -> None:
    double(1)
    with transaction.atomic():
        double.invalidate(1)
        transaction.set_rollback(True)
    assert double.peek(1) is not None


def test_a_hook_that_reads_before_ours_has_run_loses_no_invalidation() -> None:
    double(1), double(2)
    read: list[int | None] = []
    with transaction.atomic():
        transaction.on_commit(lambda: read.append(double(2)))
        double.invalidate(1)
    assert read == [4]
    assert double.peek(1) is None
    forget_here()
    assert double.peek(1) is None


def test_a_hook_that_fails_before_ours_has_run_loses_no_invalidation() -> None:
    double(1), double(2)

    def fail() -> None:
        raise LookupError("a hook")

    @transaction.atomic
    def change() -> None:
        transaction.on_commit(fail)
        double.invalidate(1)

    with pytest.raises(LookupError, match="a hook"):
        change()
    assert double(2) == 4, "the next call of this thread"
    forget_here()
    assert double.peek(1) is None


def test_tags_left_by_an_earlier_transaction_are_forewarned_and_sent_by_the_next() -> None:
    warned: list[set[str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process.current.shared, "forewarn", lambda tags: warned.append(set(tags)))
        with transaction.atomic():
            invalidate("a")
            transaction.set_rollback(True)
        double(1), page("a")
        with transaction.atomic():
            invalidate("list:a")
            transaction.set_rollback(True)
        with transaction.atomic():
            invalidate("lists")
            invalidate("list:a", "lists", "b")
    assert warned == [{"a"}, {"list:a"}, {"list:a", "lists"}, {"b"}]
    forget_here()
    assert page.peek("a") is None


@pytest.mark.django_db(transaction=True, databases=["default", "shard0"])
def test_a_value_is_wrong_after_the_commit_of_whatever_database() -> None:
    double(1)
    with ThreadPoolExecutor(1) as elsewhere, transaction.atomic(using="shard0"):
        double.invalidate(1)
        assert double.peek(1) is not None, "what others may see is what was committed"
        assert elsewhere.submit(double, 1).result(5 * TIME_FACTOR) == 2
    assert double.peek(1) is None


def test_where_no_commit_can_be_waited_for_an_invalidation_is_refused_and_nothing_is_kept() -> None:
    connection.ensure_connection()
    connection.set_autocommit(False)
    try:
        assert double(1) == 2
        with pytest.raises(TransactionManagementError, match="without atomic"):
            double.invalidate(1)
    finally:
        connection.rollback()
        connection.set_autocommit(True)
    assert double.peek(1) is None


def test_a_transaction_that_invalidates_very_much_invalidates_everything_and_tells_it_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    double(1)
    sent, warned = list[int](), list[int]()
    tell, forewarn = process.current.tell, process.current.shared.forewarn

    def telling(tags: set[str], token: str) -> None:
        sent.append(len(tags))
        tell(tags, token)

    def forewarning(tags: set[str]) -> None:
        warned.append(len(tags))
        forewarn(tags)

    monkeypatch.setattr(process.current, "tell", telling)
    monkeypatch.setattr(process.current.shared, "forewarn", forewarning)
    with transaction.atomic():
        for number in range(invalidation.MOST + 100):
            invalidate(f"row:{number}")
        assert len(connection.run_on_commit) == 1
    assert (sent, sum(warned)) == ([1], invalidation.MOST + 1)
    forget_here()
    assert double.peek(1) is None
    invalidate(*(f"row:{number}" for number in range(invalidation.MOST + 1)))
    assert sent == [1, 1]


@multi_level_cache(timeout=60, tags=(f"generated:{number}" for number in range(2)))
def tagged_once() -> int:
    computed.append("tagged")
    return len(computed)


@multi_level_cache(timeout=60, tags=lambda number: f"number:{number}")
def tagged_by_text(number: int) -> int:
    return number


def test_tags_are_several_texts_and_no_text() -> None:
    for _ in range(2):
        tagged_once()
        invalidate("generated:1")
        assert tagged_once.peek() is None
    with pytest.raises(UncacheableError, match="tags are several"):
        multi_level_cache(timeout=60, tags="products")
    with pytest.raises(UncacheableError, match=r"tags are several: \('number:1',\)"):
        tagged_by_text(1)


@multi_level_cache(timeout=60)
def peeking(number: int) -> str:
    there = double.peek(number)
    return "nothing" if there is None else f"peeked {there.value} in {there.level}"


def test_a_value_that_is_made_of_a_look_falls_with_what_was_seen() -> None:
    double(1)
    assert peeking(1) == "peeked 2 in L2", "the first level may be too old for that"
    double.invalidate(1)
    assert peeking(1) == "nothing"


@multi_level_cache(timeout=60)
def half_made() -> Any:
    return HalfMade()


@dataclass(frozen=True)
class HalfMade:
    """A value without one of its fields."""

    missing: int = field(init=False)


def test_a_value_that_cannot_be_held_leaves_no_lock_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "PATIENCE", 60.0 * TIME_FACTOR)  # what the second would wait for the lock
    for _ in range(2):
        with in_time(20), pytest.raises(AttributeError):
            half_made()


def test_a_change_after_a_rolled_back_savepoint_is_sent() -> None:
    double(1), double(2)
    with transaction.atomic():
        with transaction.atomic():
            double.invalidate(1)
            transaction.set_rollback(True)
        double.invalidate(2)
    assert double.peek(2) is None


def test_a_tag_that_redis_has_dropped_makes_its_values_wrong_for_good() -> None:
    page("a")
    forget_here()
    redis = get_redis_connection("default")
    redis.delete(":1:{caching}:tag:list:a")
    assert page.peek("a") is None
    page("b"), page("a")
    assert computed == ["a", "b", "a"]


def test_a_clock_that_redis_has_dropped_makes_all_older_values_wrong_once_they_change() -> None:
    page("a")
    get_redis_connection("default").delete(":1:{caching}:clock")
    invalidate("list:a")
    forget_here()
    assert page.peek("a") is None
    page("a")
    forget_here()
    assert page.peek("a") is not None


class Evil:
    """An object that runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return computed.append, ("evil",)


def _value_name() -> tuple[Any, bytes]:
    redis = get_redis_connection("default")
    (name,) = redis.scan_iter("*sealed:*")
    return redis, name


@pytest.mark.parametrize("forged", ["payload", "bare pickle", "nonsense", "cut", "empty"])
def test_what_redis_holds_and_this_application_has_not_sealed_is_a_miss_and_is_never_decoded(forged: str) -> None:
    double(3)
    forget_here()
    redis, name = _value_name()
    was = redis.get(name)
    evil = pickle.dumps(Evil())
    before = REGISTRY.get_sample_value("caching_refused_total", {"where": "value"}) or 0.0
    redis.set(
        name,
        {
            "payload": was.partition(b"\n")[0] + b"\np" + evil + was[-32:],
            "bare pickle": evil,
            "nonsense": b"\xff nonsense",
            "cut": was[:-1],
            "empty": b"",
        }[forged],
        px=60_000,
    )
    assert double(3) == 6
    assert computed == [3, 3]
    assert REGISTRY.get_sample_value("caching_refused_total", {"where": "value"}) == before + 1
    forget_here()
    assert double(3) == 6, "the good value has taken its place"
    assert computed == [3, 3]


def test_a_value_that_was_moved_to_another_key_is_a_miss() -> None:
    double(3)
    redis, name = _value_name()
    sealed = redis.get(name)
    double(4)
    (other,) = set(redis.scan_iter("*sealed:*")) - {name}
    redis.set(other, sealed, px=60_000)
    forget_here()
    assert double(4) == 8
    assert computed == [3, 4, 4]


def test_a_value_sealed_with_another_key_is_a_miss(settings: Settings) -> None:
    settings.CACHING = settings.CACHING | {"KEY": "theirs"}
    double(3)
    settings.CACHING = settings.CACHING | {"KEY": "ours"}
    forget_here()
    assert double(3) == 6
    assert computed == [3, 3]


@multi_level_cache(timeout=60)
def pair() -> tuple[int, int]:
    computed.append("pair")
    return 1, 2


def test_where_the_project_wants_no_pickles_none_is_written_and_none_is_read(settings: Settings) -> None:
    assert pair() == (1, 2)
    forget_here()
    settings.CACHING = settings.CACHING | {"PICKLES": False}
    assert pair.peek() is None, "sealed, but a pickle"
    with pytest.raises(UncacheableError, match=r"no text and no JSON"):
        pair()
    assert double(3) == 6


@pytest.mark.parametrize("damaged", [b"nonsense", b"\xff:\xff", b"a:b:c", b""])
def test_a_clock_or_a_tag_that_is_damaged_costs_a_computation_and_no_error(damaged: bytes) -> None:
    redis = get_redis_connection("default")
    for name in (":1:{caching}:clock", ":1:{caching}:tag:list:a", ":1:{caching}:token"):
        page("a")
        redis.set(name, damaged)
        forget_here()
        page("a")
        assert not process.current.wire.breaker.open
    invalidate("list:a")
    assert not process.current.wire.breaker.open


@pytest.mark.parametrize("margin", [0.0, 120.0])
def test_warming_computes_what_is_missing_or_about_to_expire(margin: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "_warmers", {})

    @warmer("tests")
    def _() -> Any:
        yield double, 1
        yield double, 2
        yield fragile, True

    double(1)
    (outcome,) = warm(["tests"], margin=margin)
    assert (outcome.computed, outcome.warm, outcome.failed, outcome.late) == ((2, 0, 1, 0) if margin else (1, 1, 1, 0))
    assert double.peek(2) is not None


def test_warming_computes_nothing_that_another_process_has_just_put_there(monkeypatch: pytest.MonkeyPatch) -> None:
    double(1)
    monkeypatch.setattr(decorator, "look", lambda _call: None)  # as it was a moment ago
    assert not double.warm(0.0, 1)
    assert computed == [1]
    assert not list(get_redis_connection("default").scan_iter("*computing:*")), "a lock"


both = threading.Barrier(2, timeout=5 * TIME_FACTOR)


@multi_level_cache(timeout=60)
def meeting(number: int) -> int:
    both.wait()
    return number


def test_warming_computes_several_at_a_time_and_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "_warmers", {"tests": lambda: [(meeting, 1), (meeting, 2)]})
    progress: list[tuple[int, int]] = []
    (outcome,) = warm(at_once=2, progress=lambda done, total: progress.append((done, total)))
    assert (outcome.computed, outcome.failed) == (2, 0)
    assert progress == [(1, 2), (2, 2)]


def test_warming_begins_nothing_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "_warmers", {"tests": lambda: [(double, 1), (double, 2)]})
    (outcome,) = warm(seconds=-1)
    assert (outcome.computed, outcome.late) == (0, 2)
    with pytest.raises(CommandError, match="some values could not be computed"):
        call_command("warm_cache", "--seconds=-1", stdout=StringIO())
    assert computed == []


def test_where_nothing_is_named_what_the_settings_name_is_warmed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warming, "_warmers", {"ours": lambda: [(double, 1)], "others": lambda: [(double, 2)]})
    settings.CACHING = settings.CACHING | {"WARMERS": ["ours"]}
    assert [one.name for one in warm()] == ["ours"]
    assert [one.name for one in warm(["others"])] == ["others"]
    settings.CACHING = settings.CACHING | {"WARMERS": None}
    assert [one.name for one in warm()] == ["ours", "others"]


def test_calls_are_counted_by_where_the_value_was() -> None:
    def now(level: str) -> float:
        metrics.tell()
        return float(metrics.requests.labels("scaleout.caching.tests.test_decorator.double", level)._value.get())

    before = {level: now(level) for level in ("L1", "L2", "miss")}
    double(9), double(9), double(9)
    forget_here()
    double(9)
    assert {level: now(level) - before[level] for level in before} == {"L1": 2, "L2": 1, "miss": 1}


def test_computations_invalidations_and_waits_are_counted() -> None:
    def now(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    def made(reason: str) -> float:
        return now(
            "caching_recomputations_total", function="scaleout.caching.tests.test_decorator.double", reason=reason
        )

    reasons = ("missing", "refresh", "warm", "transaction", "away")
    before = {reason: made(reason) for reason in reasons}
    double(1), double.refresh(1), double.warm(0.0, 2)
    with transaction.atomic():
        double(3)
    invalidated = now("caching_invalidations_total")
    invalidate("a", "b")
    assert now("caching_invalidations_total") - invalidated == 2
    waited = now("caching_wait_seconds_count", function="scaleout.caching.tests.test_decorator.slow")
    several(3, slow)
    assert now("caching_wait_seconds_count", function="scaleout.caching.tests.test_decorator.slow") > waited

    assert (now("caching_breaker_open"), now("caching_unsent_invalidations")) == (0, 0)
    leave_redis()
    double(4)
    invalidate("a", "b", "c")
    assert (now("caching_breaker_open"), now("caching_unsent_invalidations")) == (1, 3)
    assert {reason: made(reason) - before[reason] for reason in reasons} == dict.fromkeys(reasons, 1)
    assert process.current.send_unsent()
    assert now("caching_unsent_invalidations") == 0
    monotonic = time.monotonic()
    process.current.wire.breaker.answered(0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: monotonic + 2 * wire.GRACE)
        assert process.current.wire.breaker.answered(0.0)
    assert now("caching_breaker_open") == 0


def test_a_late_writer_puts_nothing_old_over_what_is_newer() -> None:
    redis = process.current.shared
    early = redis.begin("key", (), 0, "early", 10)
    invalidate("thing")
    late = redis.begin("key", (), 0, "late", 10)
    assert redis.put("key", "late", late.time, ("thing",), b"new", 60)
    assert not redis.put("key", "early", early.time, ("thing",), b"old", 60)
    found = redis.look("key", (), 0)
    assert found is not None
    assert found.payload == b"new"


truth = ["old"]
has_read, may_go_on = threading.Event(), threading.Event()


@multi_level_cache(timeout=60, key="slow-reader")
def slow_reader() -> str:
    found = truth[0]
    if found == "old":
        has_read.set()
        assert may_go_on.wait(5 * TIME_FACTOR)
    return found


def test_a_slow_reader_replaces_no_newer_value_by_its_old_one() -> None:
    thread = threading.Thread(target=slow_reader)
    thread.start()
    assert has_read.wait(5 * TIME_FACTOR)
    truth[0] = "new"
    assert slow_reader.refresh() == "new"
    may_go_on.set()
    thread.join()
    assert slow_reader() == "new"
    forget_here()
    assert slow_reader() == "new"


def test_a_new_clock_has_what_is_computed_read_the_newest_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OneDatabase, "newest", lambda _self: "ffff")
    assert process.current.shared.begin("key", (), 0, "owner", 10).token == "ffff", "earlier invalidations are lost"
    process.current.shared.invalidate({"a"}, "0001")
    assert process.current.shared.begin("key", (), 0, "owner", 10).token == "ffff"
    monkeypatch.setattr(shared, "NEW", 0)
    assert process.current.shared.begin("key", (), 0, "owner", 10).token == "0001"


def test_a_message_says_what_must_have_been_read(monkeypatch: pytest.MonkeyPatch) -> None:
    process.current.shared.invalidate({"a", "b"}, "0002")  # as another process does it
    eventually(lambda: process.current.ledger.token() == "0002", 5, "the message")
    position = process.current.ledger.position
    process.current.shared.invalidate({"a"}, "0001")
    eventually(lambda: process.current.ledger.position > position, 5, "the next")
    assert process.current.ledger.token() == "0002", "the newest counts"
    assert set(process.current.ledger._recent) == {"a", "b"}
    monkeypatch.setattr(ledger, "TOKEN_SECONDS", 0)
    process.current.ledger.note({"c"}, "0003")
    assert process.current.ledger.token() == "", "by then everybody has it"


def leave_redis() -> None:
    """Do without Redis until the end of the test."""
    process.current.watch.stop()  # it would send what is unsent, and close the breaker
    assert process.current.watch._thread
    process.current.watch._thread.join(5 * TIME_FACTOR)
    process.current.wire.leave("the test")


def test_what_is_invalidated_again_while_it_is_sent_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    leave_redis()
    invalidate("a")
    send = process.current.shared.invalidate

    def change_first(tags: set[str], token: str, *, anyway: bool = False) -> None:
        send(tags, token, anyway=anyway)
        if anyway:
            monkeypatch.setattr(process.current.shared, "invalidate", send)
            invalidate("a")

    monkeypatch.setattr(process.current.shared, "invalidate", change_first)
    assert not process.current.send_unsent()
    assert process.current._unsent == {"a"}
    assert process.current.send_unsent()


def test_what_could_not_be_sent_is_kept_and_more_than_can_be_kept_is_sent_as_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leave_redis()
    monkeypatch.setattr(process, "MOST", 2)
    invalidate("a", "b")
    with monkeypatch.context() as patch:
        patch.setattr(process.current.wire, "push", _fails)
        with pytest.raises(OSError, match="not now"):
            process.current.send_unsent()
    assert process.current._unsent == {"a", "b"}
    invalidate("c")
    assert process.current._unsent == {"*"}


def _fails(*_: Any) -> None:
    raise OSError("not now")


def test_a_process_that_has_heard_of_more_than_it_can_remember_believes_nothing_that_it_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    double(1)
    monkeypatch.setattr(ledger, "MOST", 3)
    invalidate("a", "b", "c")
    assert double.peek(1).level == "L1"  # type: ignore[union-attr]  # it is there
    invalidate("d")
    assert double.peek(1).level == "L2"  # type: ignore[union-attr]  # as above


def test_a_position_that_cannot_be_had_loses_no_invalidation(monkeypatch: pytest.MonkeyPatch) -> None:
    double(1), double(2)
    with monkeypatch.context() as patch:
        patch.setattr(OneDatabase, "token", _fails)
        with pytest.raises(OSError, match="not now"), transaction.atomic():
            double.invalidate(1)
    assert double(2) == 4, "the next call of this thread"
    assert double.peek(1) is None


def several(number: int, call: Callable[[], Any]) -> list[Any]:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(call())) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@multi_level_cache(timeout=60, key="slow")
def slow() -> int:
    threading.Event().wait(0.5)  # another caller comes
    return 1


@multi_level_cache(timeout=60, key="slower")
def slower() -> int:
    computed.append("slower")
    eventually(lambda: len(computed) >= at_once[0], 60, "another one to compute")
    threading.Event().wait(0.3)  # longer than any caller has patience
    return 1


at_once = [1]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in another process"])
def test_of_those_who_have_waited_long_enough_one_computes(elsewhere: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "PATIENCE", 0.2)
    at_once[0] = 1 if elsewhere else 2
    if elsewhere:
        assert process.current.shared.begin("slower", (), 0, "another", 60).locked
    assert several(30, slower) == [1] * 30
    assert len(computed) == at_once[0]


def test_a_child_process_waits_for_no_computation_of_its_parent() -> None:
    _, mine = process.current.flights.join("key")
    assert (mine, process.current.flights.join("key")[1]) == (True, False)
    process.current.end()
    process.renew()  # as after a fork
    assert process.current.flights.join("key")[1]


BRIEF = 0.3 * TIME_FACTOR
answers: list[int] = []


@multi_level_cache(timeout=BRIEF, stale=30, key="stale")
def counted() -> int:
    computed.append("counted")
    if len(computed) > 1:
        eventually(lambda: len(answers) == 19, 60, "the others to have what there was")
    return len(computed)


def test_while_one_computes_what_has_expired_the_others_get_what_there_was() -> None:
    answers.clear()
    assert counted() == 1
    threading.Event().wait(BRIEF + 0.05)  # its time-out is what is tested
    several(20, lambda: answers.append(counted()))
    assert sorted(answers) == [1] * 19 + [2]
    assert counted() == 2


def test_the_command_warms_and_says_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "_warmers", {"ours": lambda: [(double, 1), (double, 2)]})
    double(1)
    out = StringIO()
    call_command("warm_cache", "--margin", "0", stdout=out)
    assert out.getvalue().startswith("ours: computed 1, warm 1, failed 0, not begun 0\ndone in ")
    with pytest.raises(CommandError, match="no warmer other; there are: ours"):
        call_command("warm_cache", "other")
    with pytest.raises(CommandError, match="--at-once must be 1 or more"):
        call_command("warm_cache", "--at-once", "0")


class Terminal(StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        """Return that it is one."""
        return True


def test_the_command_shows_its_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "_warmers", {"ours": lambda: [(double, 1), (double, 2)]})
    for stderr, written in ((Terminal(), "\r1 of 2\r2 of 2\n"), (StringIO(), "")):
        call_command("warm_cache", stdout=StringIO(), stderr=stderr)
        assert stderr.getvalue() == written


def shown(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(double(3)))


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("plain")


urlpatterns = [path("shown", shown), path("plain", plain)]


def test_an_answer_says_where_its_value_was_where_strangers_may_know(settings: Settings) -> None:
    settings.ROOT_URLCONF = __name__
    assert [Client().get("/shown")["X-Cache"] for _ in range(2)] == ["MISS", "L1"]
    forget_here()
    assert Client().get("/shown")["X-Cache"] == "L2"
    assert "X-Cache" not in Client().get("/plain")
    settings.CACHING = settings.CACHING | {"EXPOSE_TOPOLOGY": False}
    assert "X-Cache" not in Client().get("/shown")
