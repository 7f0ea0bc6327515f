"""The first level, through Django's cache API."""

from __future__ import annotations

import functools
import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import pytest
from django.core.cache import BaseCache, caches
from django.utils.functional import cached_property
from waiting import TIME_FACTOR

from scaleout.caching import UncacheableError
from scaleout.caching.local import Held, LocalCache, weight


@pytest.fixture
def cache() -> BaseCache:
    return caches["local"]


def small(**options: int) -> LocalCache:
    return LocalCache(f"small {options}", {"OPTIONS": options})


def test_none_is_a_value(cache: BaseCache) -> None:
    cache.set("nothing", None)
    assert "nothing" in cache
    assert cache.get("nothing", "default") is None
    assert cache.get("other", "default") == "default"


def test_a_value_ends_with_its_time(cache: BaseCache) -> None:
    brief = 0.1 * TIME_FACTOR
    cache.set("brief", 1, brief)
    cache.set("over", 1, 0)
    cache.set("for ever", 1, None)
    assert cache.get("brief") == 1
    threading.Event().wait(brief + 0.01)  # its time is what is tested
    assert [cache.get(key) for key in ("brief", "over", "for ever")] == [None, None, 1]
    assert cache.touch("for ever", 0)
    assert not cache.touch("for ever")


def test_the_whole_api_of_django_works(cache: BaseCache) -> None:
    assert cache.add("a", 1)
    assert not cache.add("a", 2)
    assert (cache.incr("a"), cache.decr("a", 3), cache.get("a")) == (2, -1, -1)
    cache.set("half", 0.5)
    assert cache.incr("half") == 1.5
    with pytest.raises(ValueError, match="not found"):
        cache.incr("nothing")
    cache.set_many({"b": 2, "c": 3})
    assert cache.get_many(["b", "c", "d"]) == {"b": 2, "c": 3}
    assert cache.get_or_set("d", lambda: 4) == 4
    assert cache.delete("a")
    assert not cache.delete("a")
    cache.set("a", 1, version=2)
    assert (cache.get("a"), cache.get("a", version=2)) == (None, 1)
    cache.clear()
    assert cache.get("b") is None


@dataclass(frozen=True)
class Fixed:
    """Can't be changed, as long as what it holds can't."""

    held: Any


@dataclass(frozen=True)
class Lazy:
    """Can't be changed, but stores a list when its property is read."""

    held: Any

    @functools.cached_property
    def listed(self) -> list[Any]:
        """The list."""
        return [self.held]


@dataclass(frozen=True)
class LazyByDjango:
    """The same."""

    held: Any

    @cached_property
    def listed(self) -> list[Any]:
        """The list."""
        return [self.held]


class Looser(Fixed):
    """No frozen dataclass of its own: it takes new attributes."""


@dataclass(frozen=True)
class FixedList(list[int]):
    """Says that it can't be changed, and is a list."""

    held: int


class Pair(NamedTuple):
    """Can't be changed."""

    one: int
    other: int


class Sum(Pair):
    """A named tuple with a place for more."""


class Tight(Pair):
    """A named tuple with a method, and no such place."""

    __slots__ = ()


@pytest.mark.parametrize(
    "value", [Pair(1, 2), Tight(1, 2), "text", 1, (1, ("a", date(2026, 1, 1))), frozenset({1}), Fixed((1, 2)), None]
)
def test_what_cannot_be_changed_is_handed_out_as_it_is(cache: BaseCache, value: Any) -> None:
    cache.set("fixed", value)
    assert cache.get("fixed") is value


@pytest.mark.parametrize(
    "value",
    [
        [1, [2]],
        {"a": [1]},
        ([1],),
        Fixed([1]),
        {1, 2},
        Lazy(1),
        LazyByDjango(1),
        Looser(1),
        FixedList(1),
        Sum(1, 2),
        (Sum(1, 2),),
    ],
)
def test_a_caller_that_changes_what_it_got_changes_nothing_for_others(cache: BaseCache, value: Any) -> None:
    cache.set("open", value)
    first, second = cache.get("open"), cache.get("open")
    assert first == second == value
    assert first is not second
    assert first is not value


def test_what_cannot_be_pickled_is_refused_at_once(cache: BaseCache) -> None:
    with pytest.raises(UncacheableError, match="the value of 'lock' can't be cached"):
        cache.set("lock", threading.Lock())


class FussyError(Exception):
    """An object that is pickled but cannot be read again."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} {other}")


def test_what_cannot_be_read_again_is_refused_at_once(cache: BaseCache) -> None:
    with pytest.raises(UncacheableError, match="the value of 'fussy' can't be cached"):
        cache.set("fussy", FussyError("a", "b"))


def test_entries_are_bounded_and_the_least_used_goes_first() -> None:
    cache = small(MAX_ENTRIES=3)
    for key in "abc":
        cache.set(key, key)
    assert cache.get("a") == "a"
    cache.set("d", "d")
    assert [cache.get(key) for key in "abcd"] == ["a", None, "c", "d"]


def test_bytes_are_bounded() -> None:
    cache = small(MAX_BYTES=10_000)
    for number in range(50):
        cache.set(str(number), "x" * 1000)
        assert cache.store.bytes <= 10_000
    assert 5 < len(cache.store) < 10
    cache.set("larger than everything", "x" * 20_000)
    assert cache.get("larger than everything") is None
    cache.set("49", "short")
    cache.clear()
    assert cache.store.bytes == 0


@pytest.mark.parametrize(
    "fill",
    [
        lambda cache, number: cache.set("k" * 10_000 + str(number), 1),
        lambda cache, number: cache.set(number, tuple(range(1000 * number, 1000 * number + 1000))),
        lambda cache, number: cache.set(number, Fixed(tuple(Fixed(str(one)) for one in range(300)))),
        lambda cache, number: cache.set(number, chr(0x1F600) + "x" * 10_000),
        lambda cache, number: cache.store.put(
            str(number), Held(1, None, 300, float("inf"), tuple(f"{'tag' * 20}:{number}:{one}" for one in range(100)))
        ),
    ],
    ids=["long keys", "tuples", "dataclasses", "text of wide letters", "tags"],
)
def test_bytes_are_those_that_the_memory_has(fill: Callable[[LocalCache, int], None]) -> None:
    cache = small(MAX_BYTES=1_000_000, MAX_ENTRIES=100_000)
    cache.clear()
    tracemalloc.start()
    for number in range(150):  # more than it may keep
        fill(cache, number)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 500_000 < cache.store.bytes <= 1_000_000
    assert taken < 1_300_000


class Comes:
    """An object whose destructor uses the cache."""

    def __init__(self, cache: LocalCache) -> None:
        self.cache = cache

    def __del__(self) -> None:
        self.cache.get("anything")
        self.cache.set("anything", 1)


def test_a_destructor_that_uses_the_cache_does_not_hang_it() -> None:
    """cachebox itself hangs: it drops what it evicts under its lock."""
    cache = small(MAX_ENTRIES=2)
    done = threading.Event()

    def fill() -> None:
        for number in range(20):
            cache.store.put(str(number), Held(Comes(cache), None, 1, float("inf")))
        cache.clear()
        done.set()

    threading.Thread(target=fill, daemon=True).start()
    assert done.wait(5 * TIME_FACTOR), "it waits for itself"


def test_threads_lose_no_count_and_no_byte() -> None:
    cache = small(MAX_ENTRIES=20)
    cache.set("sum", 0)
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            for turn in range(500):
                cache.incr("sum")
                key = str((turn * 7 + number) % 40)
                if turn % 3:
                    cache.set(key, "x" * turn)
                    cache.get("sum")
                else:
                    cache.delete(key)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert cache.get("sum") == 3000
    held = {key: cache.store.get(key) for key in [f":1:{number}" for number in range(40)] + [":1:sum"]}
    assert cache.store.bytes == sum(weight(key, one) for key, one in held.items() if one)
