"""Keys: the same for the same call in every process, and never the same for two."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from array import array
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntFlag
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from django.contrib.sessions.models import Session
from django.core.exceptions import ImproperlyConfigured
from django.utils.safestring import mark_safe

from scaleout.caching import UncacheableError, bind, invalidate, multi_level_cache
from scaleout.caching.keys import Keys


class Colour(Enum):
    """Any enum."""

    RED = 1


class Rights(IntFlag):
    """Flags, of which not every sum has a name."""

    READ = 1
    WRITE = 2


class Celsius(NamedTuple):
    """A tuple of a kind."""

    degrees: int


class Fahrenheit(NamedTuple):
    """A tuple of another kind."""

    degrees: int


class Cents(int):
    """A number of a kind, whose text does not say which."""

    def __repr__(self) -> str:
        return "some"


class Said:
    """An object whose key is any text."""

    def __init__(self, cache_key: str) -> None:
        self.cache_key = cache_key


def listing(slug: str, page: int = 1, *more: Any, sort: str = "id", **filters: Any) -> None:
    """A function with every kind of argument."""


KEYS = Keys(listing, None, method=False)


def key(*args: Any, **kwargs: Any) -> str:
    return KEYS.of(args, kwargs)


def test_a_key_names_the_module_and_the_function() -> None:
    assert key("a").startswith("scaleout.caching.tests.test_keys.listing:")


def test_the_same_call_has_the_same_key_however_it_is_written() -> None:
    assert key("a") == key("a", 1) == key(slug="a", page=1) == key("a", sort="id")
    assert key("a", x=1, y=2) == key("a", y=2, x=1)
    assert key("a", 1, frozenset({"x", "y", "z"})) == key("a", 1, frozenset({"z", "y", "x"}))


def test_different_calls_have_different_keys() -> None:
    calls = [
        *(
            ("1",),
            (1,),
            (True,),
            (1.0,),
            (Decimal(1),),
            (None,),
            ("None",),
            (b"1",),
            (Colour.RED,),
            *((Rights(number),) for number in (0, 1, 3, 8, 16)),
            ((1,),),
            ((True,),),
        ),
        *((Celsius(1),), (Fahrenheit(1),), (Cents(1),), (Cents(2),), (mark_safe("1"),), (mark_safe("a"),), ("a",)),
        *(
            (datetime(2026, 1, 1, tzinfo=UTC),),
            (datetime(2026, 1, 2, tzinfo=UTC),),
            (datetime(2026, 1, 1, 1, tzinfo=UTC),),
            (date(2026, 1, 1),),
        ),
        *(((Said("a"), Said("b")),), ((Said("a'>,<scaleout.caching.tests.test_keys.Said 'b"),),)),
        *(
            (Colour,),
            (Celsius,),
            (("a", "b"),),
            (("a,b",),),
            ("a", 2),
            ("a", "2"),
            ("a', page='2",),
            (UUID(int=1),),
            (frozenset({1}),),
        ),
    ]
    assert len({key(*call) for call in calls}) == len(calls)
    assert key("a", x=1) != key("a", x="1") != key("a", y=1)
    assert key("a", **{"x='1'\0y": 2}) != key("a", x="1", y=2)


@pytest.mark.parametrize("value", [[1], {"a": 1}, {1}, object(), (1, [2])])
def test_what_may_change_or_has_no_text_of_its_own_is_refused_at_once(value: Any) -> None:
    with pytest.raises(UncacheableError, match=r"test_keys\.listing: the argument slug is a \w+, which can't be part"):
        key(value)


def test_calls_with_long_arguments_fill_no_memory() -> None:
    keys = Keys(listing, None, method=False)
    many = range(60)
    for call in [("x" * 1000,), (10**2000,), ("x", *many), ("short",), ("x" * 100, 10**9)]:
        assert keys.of(call, {}) == keys.of(call, {})
    assert [memo[0] for memo in keys._memo] == ["short", "x" * 100]


def test_a_call_that_the_function_does_not_take_is_refused() -> None:
    with pytest.raises(TypeError, match="missing a required argument"):
        key()


def test_a_key_is_the_same_in_a_process_with_other_hashes() -> None:
    script = (
        "import django; django.setup();"
        "from scaleout.caching.tests.test_keys import key, Colour;"
        "print(key('a', 2, frozenset('abc'), Colour.RED, x=(1, None)))"
    )
    environment = {
        **os.environ, "DJANGO_SETTINGS_MODULE": "config.test_settings", "PYTHONPATH": str(Path(__file__).parents[3])
    }  # fmt: skip
    seen = {
        subprocess.run(
            [sys.executable, "-c", script], env={**environment, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert seen == {f"{key('a', 2, frozenset('abc'), Colour.RED, x=(1, None))}\n".encode()}


@dataclass
class Shop:
    """An object that says its key."""

    name: str

    @property
    def cache_key(self) -> str:
        """The key."""
        return self.name

    @multi_level_cache(timeout=60)
    def motto(self, language: str = "en") -> str:
        """A method."""
        return f"{self.name} in {language}"


class Plain:
    """An object that says none."""

    calls = 0

    @multi_level_cache(timeout=60)
    def answer(self, number: int) -> int:
        """A method whose object does not matter."""
        Plain.calls += 1
        return number

    @staticmethod
    @multi_level_cache(timeout=60)
    def fixed() -> str:
        """No object at all."""
        return "fixed"


def test_a_method_is_cached_without_its_object_unless_that_says_its_key() -> None:
    assert [Plain().answer(1), Plain().answer(number=1), Plain().answer(2)] == [1, 1, 2]
    assert Plain.calls == 2
    assert (Shop("a").motto(), Shop("b").motto(), Shop("a").motto("de")) == ("a in en", "b in en", "a in de")
    assert Shop("a").motto.peek() is not None
    Shop("a").motto.invalidate()
    assert (Shop("a").motto.peek(), Shop("b").motto.peek() is None) == (None, False)
    assert Plain.fixed() == "fixed"


@multi_level_cache(timeout=60)
def total(self: Any, factor: int = 1) -> int:
    """Stand for a method of any class."""
    return int(self.amount) * factor


class Price:
    """An object with a state, and no word of it."""

    def __init__(self, amount: int) -> None:
        self.amount = amount


class Slotted:
    """The same without a dictionary."""

    __slots__ = ("amount",)

    def __init__(self, amount: int) -> None:
        self.amount = amount


class Basket(list[int]):
    """A state that is not in attributes."""

    @multi_level_cache(timeout=60)
    def sum(self) -> int:
        """Return what it costs."""
        return sum(self)


@pytest.mark.parametrize("value", [Basket([1]), deque([1]), {1}, bytearray(b"1"), array("i", [1]), threading.Lock()])
def test_a_method_of_an_object_that_holds_something_is_refused(value: Any) -> None:
    keys = Keys(Basket.sum.__wrapped__, None, method=True)  # type: ignore[attr-defined]  # functools.wraps adds it
    with pytest.raises(UncacheableError, match="the argument self is a"):
        keys.of((value,), {})


def local_class(rate: int) -> type:
    """Return a class that another call returns another one of."""

    class Tax:
        RATE = rate

    return Tax


def test_a_class_without_a_name_of_its_own_is_refused() -> None:
    for value in (local_class(1), (local_class(1),)):
        with pytest.raises(UncacheableError, match="Tax has no name that is its own"):
            key(value)


@pytest.mark.parametrize("kind", [Price, Slotted])
def test_a_method_of_an_object_with_a_state_and_no_key_is_refused(kind: type[Any]) -> None:
    keys = Keys(total.__wrapped__, None, method=True)  # type: ignore[attr-defined]  # functools.wraps adds it
    with pytest.raises(
        UncacheableError, match=rf"the argument self is a {kind.__name__}, .* an object with `cache_key`"
    ):
        keys.of((kind(1),), {})


def test_a_method_of_a_row_or_of_a_tuple_is_cached_for_that_one() -> None:
    keys = Keys(total.__wrapped__, None, method=True)  # type: ignore[attr-defined]  # functools.wraps adds it
    rows = [Session(pk="1"), Session(pk="2")]
    objects = [*rows, Celsius(1), Celsius(2), Said("a"), Said("a\0factor=1"), Plain()]
    assert len({keys.of((one,), {}) for one in objects}) == len(objects)
    assert keys.of((Session(pk="1", session_data="other"),), {}) == keys.of((rows[0],), {})
    with pytest.raises(UncacheableError, match="self is a Session, which can't be part of a key"):
        keys.of((Session(pk=None),), {})


@pytest.mark.parametrize("chosen", ["with a space", "", "é", "x" * 201])
def test_a_chosen_key_is_plain_text(chosen: str) -> None:
    with pytest.raises(UncacheableError, match="a key is 1 to 200 characters"):
        Keys(listing, chosen, method=False).of(("a",), {})


def test_two_functions_do_not_share_a_chosen_key() -> None:
    def second() -> int:
        """Another function."""
        return 2

    def load() -> int:
        """Stand for a function of a module that is loaded again."""
        multi_level_cache(timeout=1, key="taken")(load)
        return 1

    assert [load(), load()] == [1, 1]
    with pytest.raises(UncacheableError, match=r"second: the key 'taken' is that of .*load already"):
        multi_level_cache(timeout=1, key="taken")(second)


class Table:
    """A class whose subclasses differ only by class attributes."""

    table = ""

    @multi_level_cache(timeout=60)
    def name(self) -> str:
        """A method of objects without attributes."""
        return self.table

    @multi_level_cache(timeout=60)
    @classmethod
    def plural(cls) -> str:
        """A class method."""
        return f"{cls.table}s"

    @classmethod
    @multi_level_cache(timeout=60)
    def upper(cls) -> str:
        """A class method, decorated the other way round."""
        return cls.table.upper()


class Stove(Table):
    """One subclass."""

    table = "stove"


class Tent(Table):
    """Another one."""

    table = "tent"


def test_subclasses_share_no_value_of_a_method() -> None:
    assert [Stove().name(), Tent().name(), Stove().name()] == ["stove", "tent", "stove"]


def of_class(kind: object, name: str) -> Any:
    """Return a class method, which mypy takes for one of objects."""
    return getattr(kind, name)


def test_a_class_method_is_cached_for_each_class() -> None:
    assert [of_class(one, "plural")() for one in (Stove, Tent, Tent())] == ["stoves", "tents", "tents"]
    assert [of_class(one, "upper")() for one in (Stove, Tent)] == ["STOVE", "TENT"]
    Tent.table = "yurt"
    assert [of_class(Tent, name)() for name in ("plural", "upper")] == ["tents", "TENT"]
    tents, stoves = of_class(Tent, "plural"), of_class(Stove, "plural")
    assert tents.refresh() == "yurts"
    assert (stoves.peek() is None, of_class(Table, "plural").peek()) == (False, None)
    tents.invalidate()
    assert (stoves.peek() is None, tents.peek()) == (False, None)
    Tent.upper.invalidate(Tent)
    assert [of_class(one, "upper")() for one in (Tent, Stove)] == ["YURT", "STOVE"]


@multi_level_cache(timeout=60, key=lambda number: f"id:{number}")
def user(number: int) -> str:
    """A function with a key made of its arguments."""
    return f"user {number}"


@multi_level_cache(timeout=60, key=lambda number: f"id:{number}")
def order(number: int) -> str:
    """Another one."""
    return f"order {number}"


def test_two_functions_whose_arguments_give_the_same_key_share_no_value() -> None:
    assert [user(7), order(7), user(7)] == ["user 7", "order 7", "user 7"]


@multi_level_cache(timeout=60, key=str)
def whatever_the_caller_says_is_its_key(word: str) -> str:
    """A function with long keys."""
    return word


today = {"is": "monday"}


@multi_level_cache(timeout=60, key=lambda number: f"{number}:{today['is']}")
def report(number: int) -> str:
    """Return what depends on the day, as its key says."""
    return f"{number} on {today['is']}"


def test_a_function_that_makes_the_key_is_asked_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (report(1), report(number=1)) == ("1 on monday", "1 on monday")
    monkeypatch.setitem(today, "is", "tuesday")
    assert (report(1), report(number=1)) == ("1 on tuesday", "1 on tuesday")


def test_a_long_key_is_as_good_as_a_short_one() -> None:
    words = ["x" * 199 + end for end in "ab"]
    call = whatever_the_caller_says_is_its_key
    assert [call(word) for word in words] == words
    call.invalidate(words[0])
    assert [call.peek(word) is None for word in words] == [True, False]


@multi_level_cache(timeout=60, key="priced", tags=lambda number, currency: (f"currency:{currency}",))
def priced(number: int, currency: str = "EUR") -> str:
    """A function with a chosen name, and arguments."""
    return f"{number} {currency}"


@multi_level_cache(timeout=60, key=lambda number, currency: f"{number}:{currency}")
def quoted(number: int, currency: str = "EUR") -> str:
    """A function whose key is made of an argument that is seldom given."""
    return f"{number} {currency}"


def test_the_arguments_count_beside_a_chosen_key() -> None:
    assert [priced(1), priced(2), priced(1, "USD")] == ["1 EUR", "2 EUR", "1 USD"]
    assert Keys(listing, "chosen", method=False).of(("a",), {}).startswith("chosen:")


def test_what_makes_keys_and_tags_of_arguments_is_given_their_defaults_too() -> None:
    assert [quoted(1), quoted(1, currency="USD"), quoted(number=1, currency="EUR")] == ["1 EUR", "1 USD", "1 EUR"]
    priced(1), priced(1, currency="USD")
    invalidate("currency:EUR")
    assert (priced.peek(1), priced.peek(1, "USD") is None) == (None, False)


@multi_level_cache(timeout=60)
def größe() -> str:  # noqa: PLC2401 - that is what is tested
    """A function whose name no tag may have."""
    return "large"


def test_a_function_of_any_name_is_cached() -> None:
    assert größe() == "large"
    assert größe.peek() is not None
    größe.invalidate()
    assert größe.peek() is None


class Called:
    """An object that can be called."""

    def __call__(self) -> int:
        """Return anything."""
        return 1


def test_a_function_without_a_name_of_its_own_needs_a_key() -> None:
    with pytest.raises(UncacheableError, match="has no name that is its own"):
        multi_level_cache(timeout=1)(lambda: 1)
    with pytest.raises(UncacheableError, match="has no name that is its own"):
        multi_level_cache(timeout=1, key=str)(lambda number: number)


def test_what_gives_no_value_is_refused() -> None:
    async def later() -> None:
        """Not now."""

    async def each() -> AsyncIterator[int]:
        """One after the other."""
        yield 1

    with pytest.raises(UncacheableError, match="put @staticmethod above the decorator"):
        multi_level_cache(timeout=1)(staticmethod(user.__wrapped__))  # type: ignore[attr-defined]  # functools.wraps adds it
    for one in (later, each, partial(user, 1), Called()):
        with pytest.raises(UncacheableError, match="is no plain function"):
            multi_level_cache(timeout=1, key="x")(one)
    with pytest.raises(ValueError, match="timeout is at least a millisecond"):
        multi_level_cache(timeout=0.0004)


def test_a_model_whose_managers_do_not_tell_what_they_change_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"sessions\.Session: .* is not of a CachingQuerySet"):
        bind(Session, lambda change: ())
