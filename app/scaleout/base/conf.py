"""One settings dictionary for each package, as Django's `CACHES`. A dataclass declares its keys.

    @dataclass(frozen=True)
    class Settings:
        tag_header: str = "Surrogate-Key"  # the key CDN["TAG_HEADER"]
        purge_url: Annotated[str, origin] = ""  # origin() says what is wrong with a value, or None

    conf = Conf("CDN", Settings)
    conf().tag_header

`conf.register()` in the package's AppConfig lets `manage.py check` name each wrong setting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from itertools import islice
from types import MappingProxyType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LABEL = r"\w(?:[\w-]*\w)?"
_ORIGIN = re.compile(rf"https?://(?:\[[0-9A-Fa-f:.]+\]|{_LABEL}(?:\.{_LABEL})*)(?::[0-9]{{1,5}})?", re.ASCII)
_EMPTY: Mapping[str, Any] = MappingProxyType({})  # what a project without the dictionary has


class Conf[T: "DataclassInstance"]:
    """The settings of one package: `settings.<name>`, in the form of a dataclass.

    `form` is in the package's module `conf`. A field without a default is a required key. Its
    method `wrong()`, if it has one, yields what is wrong between two keys.
    """

    def __init__(self, name: str, form: type[T]) -> None:
        self.name, self._form = name, form
        self._package = form.__module__.removesuffix(".conf")
        self._built: tuple[object, T] | None = None
        self._check = partial(self.check)  # one object, however often it is registered

    def __call__(self) -> T:
        """Return the settings in use. Raises ImproperlyConfigured for an unknown or missing key.

        They are built once for each dictionary: replace it in a test, a change within is not seen.
        """
        given, built = self._given(), self._built
        if built is None or built[0] is not given:
            for error in self._wrong_keys(given):
                raise ImproperlyConfigured(error.msg)
            built = self._built = given, self._form(**{key.lower(): value for key, value in given.items()})
        return built[1]

    def register(self) -> None:
        """Register the check with Django."""
        checks.register(self._check)

    def check(self, **_kwargs: Any) -> list[checks.CheckMessage]:
        """Return what is wrong with the dictionary. It connects to nothing."""
        found: list[checks.CheckMessage] = [*self._wrong_keys(self._given()), *self._wrong_values(self._given())]
        return found or [self._error(5, text) for text in getattr(self(), "wrong", tuple)()]

    def _given(self) -> Any:
        return getattr(settings, self.name, _EMPTY)

    def _error(self, number: int, text: str, hint: str | None = None) -> checks.Error:
        return checks.Error(text, hint=hint, id=f"{self._package}.E{number:03}")

    def _wrong_keys(self, given: Any) -> Iterator[checks.Error]:
        if not isinstance(given, Mapping):
            yield self._error(1, f"{self.name} must be a dictionary, not {type(given).__name__}.")
            return
        known = {one.name.upper(): one for one in fields(self._form)}
        for key in [one for one in given if one not in known]:
            near = get_close_matches(str(key), known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"The keys are {', '.join(known)}."
            yield self._error(2, f"{self.name}[{key!r}] is no setting of {self._package}.", hint)
        for key, field in known.items():
            if key not in given and field.default is field.default_factory is MISSING:
                yield self._error(3, f"{self.name}[{key!r}] is missing.")

    def _wrong_values(self, given: Any) -> Iterator[checks.Error]:
        hints = get_type_hints(self._form, include_extras=True)
        for key, value in given.items() if isinstance(given, Mapping) else ():
            for text in _wrong(hints.get(str(key).lower(), Any), value, f"{self.name}[{key!r}]"):
                yield self._error(4, text)


def _wrong(hint: Any, value: Any, place: str) -> Iterator[str]:
    """Yield what is wrong with a value by its annotation. A wrong type does not show the value,
    which may be a secret.
    """
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind is Annotated:
        wrong = [*_wrong(inner[0], value, place)]
        # Each test may rely on those before it.
        yield from wrong or islice((f"{place} {text}." for test in inner[1:] if (text := test(value))), 1)
    elif kind in (Union, UnionType):
        options = [[*_wrong(one, value, place)] for one in inner]
        yield from options[0] if all(options) else []
    elif kind is Any or (kind is float and type(value) is int):
        return
    elif not isinstance(value, kind) or (type(value) is bool and kind in (int, float)) or _is_other(value, kind):
        yield f"{place} must be {kind.__name__.lower()}, not {type(value).__name__}."
    elif kind is str:
        if _CONTROL.search(value):
            yield f"{place} must be one line without control characters."
    elif issubclass(kind, Mapping) and inner:
        for key, item in value.items():
            yield from _wrong(inner[0], key, f"{place}: the key {key!r}")
            yield from _wrong(inner[1], item, f"{place}[{key!r}]")
    elif issubclass(kind, Collection) and inner:
        for number, item in enumerate(value):
            yield from _wrong(inner[0], item, f"{place}[{number}]")
        if text := once(value):
            yield f"{place} {text}."


def _is_other(value: Any, kind: Any) -> bool:
    """Return whether text stands where a collection should, which would be taken letter by letter,
    or a dictionary where a list should, whose values nothing would read.
    """
    if isinstance(value, Mapping):
        return kind is Collection
    return isinstance(value, str | bytes) and kind not in (str, bytes)


def between(least: float, most: float = 10**9) -> Callable[[float], str | None]:
    """Return the test of a number."""
    return lambda value: None if least <= value <= most else f"must be from {least} to {most}, not {value!r}"


def once(value: Collection[Any]) -> str | None:
    """Test that no item of a collection, and no value of a dictionary, stands there twice."""
    items = [*value.values()] if isinstance(value, Mapping) else [*value]
    twice = next((one for number, one in enumerate(items) if one in items[:number]), None)
    return None if twice is None else f"has {twice!r} twice"


def filled(value: Collection[Any]) -> str | None:
    """Test that text or a collection is not empty."""
    return None if value else "must not be empty"


def one_of(*allowed: str) -> Callable[[str], str | None]:
    """Return the test of a word."""
    return lambda value: None if value in allowed else f"must be one of {', '.join(allowed)}, not {value!r}"


def origin(value: str) -> str | None:
    """Test a URL: scheme, host and port, without a path. Empty is right as well."""
    try:
        right = not value or (_ORIGIN.fullmatch(value) and urlsplit(value).port != 0)
    except ValueError:  # of a port above 65535, or of what is no address of IPv6
        right = False
    return None if right else f"must be a URL such as http://edge:8081, not {value!r}"


def _imported(name: str, by: Callable[[str], object], test: Callable[[Any], str | None]) -> str | None:
    try:
        found = by(name)
    except Exception as error:  # a module may raise anything when it is imported
        return f"cannot be imported: {type(error).__name__}: {error}"
    return test(found)


def _callable(found: object) -> str | None:
    return None if callable(found) else f"must name a function, not {type(found).__name__}"


def module_with(*functions: str) -> Callable[[str], str | None]:
    """Return the test of a module's dotted name."""

    def test(module: object) -> str | None:
        missing = [one for one in functions if not callable(getattr(module, one, None))]
        return f"names a module without the functions {', '.join(missing)}" if missing else None

    return lambda value: _imported(value, import_module, test)


def _alias(value: str, among: str) -> str | None:
    known: Collection[str] = getattr(settings, among)
    return None if value in known else f"is {value!r}, which {among} does not name"


def redis_cache(value: str) -> str | None:
    """Test the alias of a cache whose connection to Redis is used. It does not connect."""

    def test(backend: type) -> str | None:
        modules = [one.__module__ for one in backend.__mro__]
        is_redis = any(one.startswith("django_redis.") for one in modules)
        return None if is_redis else f"is {value!r}, which is no cache of django-redis"

    return _alias(value, "CACHES") or _imported(settings.CACHES[value].get("BACKEND", ""), import_string, test)


Dotted = Annotated[str, lambda value: _imported(value, import_string, _callable)]  # names a function or a class
Name = Annotated[str, filled]
CacheAlias = Annotated[str, lambda value: _alias(value, "CACHES")]
DatabaseAlias = Annotated[str, lambda value: _alias(value, "DATABASES")]
