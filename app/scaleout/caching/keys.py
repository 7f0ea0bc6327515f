"""The key of a call: the function's name and its arguments, the same in every process and on every
run.

`hash()` would differ by process, and `str()` would take 1, "1" and True for one.
"""

from __future__ import annotations

import copyreg
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from fractions import Fraction
from hashlib import blake2b
from typing import Any
from uuid import UUID

from django.db.models import Model

from scaleout.caching.errors import UncacheableError

# A subclass before its base: the text of a date has no time.
_PLAIN = (str, bool, int, float, complex, bytes, type(None), Decimal, Fraction, UUID, datetime, date, time, timedelta)
_MEMO = frozenset({str, int, bool, type(None)})
_MEMO_MOST = 4096
_MEMO_BYTES = 500  # of the arguments of a call, which a caller may make long
_CHOSEN = re.compile(r"[!-~]{1,200}")
MOST = 250  # characters of a key: with a mark before it it is a tag


def written(value: object, where: str) -> str:
    """Return `value` as a text of its own. Raises UncacheableError if it can change, or has no
    text.
    """
    if isinstance(value, Enum):
        # A flag that has no name of its own is known by its number.
        return f"{_name(type(value))}.{value.value if isinstance(value, Flag) else value.name}"
    for kind in _PLAIN:
        if isinstance(value, kind):
            return _of(value, kind, kind.__repr__(value))  # type: ignore[call-arg]  # that of the class
    if isinstance(value, tuple):
        return _of(value, tuple, f"({','.join(written(item, where) for item in value)},)")
    if isinstance(value, frozenset):
        return _of(value, frozenset, f"{{{','.join(sorted(written(item, where) for item in value))}}}")
    if isinstance(value, Model) and value.pk is not None:
        return f"<{value._meta.label} {written(value.pk, where)}>"
    own = _name(value) if isinstance(value, type) else own_key(value)
    if own is None:
        raise UncacheableError(
            f"{where} is a {type(value).__name__}, which can't be part of a key:"
            " give a number, a text, a class, a tuple of such, or an object with `cache_key`"
        )
    return f"<{_name(type(value))} {own!r}>"


def _of(value: object, kind: type, text: str) -> str:
    """Return `text`, with the class of the value if that is a subclass of `kind`: a function may
    distinguish them.
    """
    return text if type(value) is kind else f"<{_name(type(value))} {text}>"


def _name(kind: type) -> str:
    if "<" in kind.__qualname__:  # each call of the function that makes it makes another one, of the same name
        raise UncacheableError(f"{kind.__qualname__} has no name that is its own: it can't be part of a key")
    return f"{kind.__module__}.{kind.__qualname__}"


def own_key(value: object) -> str | None:
    """Return the key that an object defines: `cache_key`, a text or a method that returns one."""
    said = getattr(value, "cache_key", None)
    if callable(said):
        said = said()
    return None if said is None else str(said)


def _written_self(value: object, where: str) -> str:
    """Return a method's object as text like that of an argument: its class, if it is like all of
    these.
    """
    try:
        return written(value, where)
    except UncacheableError:
        if _holds_something(value):
            raise
        return _name(type(value))


def _holds_something(value: object) -> bool:
    """Return whether `value` holds what pickle would keep: attributes, slots, items."""
    try:
        how = value.__reduce_ex__(2)
    except Exception:  # it can't be known
        return True
    new = copyreg.__newobj__  # type: ignore[attr-defined]  # the stubs lack it
    return isinstance(how, str) or how[:2] != (new, (type(value),)) or any(one is not None for one in how[2:])


def digest(text: str) -> str:
    """Return the digest of `text` for a key."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


_taken: dict[str, str] = {}  # the prefixes of keys, and their functions


class Keys:
    """The keys of one function."""

    def __init__(self, function: Callable[..., Any], chosen: str | Callable[..., str] | None, *, method: bool) -> None:
        self.name = f"{function.__module__}.{function.__qualname__}"
        self._signature = inspect.signature(function)
        self._chosen = chosen
        self._method = method
        self._memo: dict[Any, str] = {}
        # A name may be too long for a tag, or have letters that no tag may have.
        named = self.name if _CHOSEN.fullmatch(self.name) else digest(self.name)
        self._lead = self._checked(chosen) if isinstance(chosen, str) else named
        # A reloaded module has the same function again.
        if (other := _taken.setdefault(self._lead, self.name)) != self.name:
            raise UncacheableError(f"{self.name}: the key {chosen!r} is that of {other} already")

    def of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return the key of a call.

        Raises UncacheableError for arguments that cannot be part of a key, and TypeError for those
        that the function does not take.
        """
        # Most calls have few arguments of the simplest kinds: their keys are looked up, not made.
        # The types are part of the look-up, because 1 == True. A key function may read more than
        # the arguments, so it is called each time.
        simple = not kwargs and not callable(self._chosen) and all(type(value) in _MEMO for value in args)
        memo = (*args, *map(type, args)) if simple else None
        if memo is not None and (known := self._memo.get(memo)) is not None:
            return known
        key = self._make(args, kwargs)
        if memo is not None and sum(map(sys.getsizeof, args)) <= _MEMO_BYTES:
            if len(self._memo) >= _MEMO_MOST:
                self._memo.clear()
            self._memo[memo] = key
        return key

    def _make(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        bound = self._bound(args, kwargs)
        if callable(self._chosen):
            key = self._checked(self._chosen(*bound.args, **bound.kwargs))
            whole = f"{self._lead}:{key}"
            return whole if len(whole) <= MOST else f"{self._lead}#{digest(key)}"
        if self._chosen is not None and not self._signature.parameters:
            return self._lead
        parts: list[str] = []
        for position, (name, value) in enumerate(bound.arguments.items()):
            kind = self._signature.parameters[name].kind
            where = f"{self.name}: the argument {name}"
            if position == 0 and self._method and kind is not inspect.Parameter.VAR_POSITIONAL:
                parts.append(_written_self(value, where))
            elif kind is inspect.Parameter.VAR_KEYWORD:
                parts += [f"{one!r}={written(value[one], where)}" for one in sorted(value)]
            else:
                parts.append(f"{name}={written(value, where)}")
        return f"{self._lead}:{digest(chr(0).join(parts))}"

    def normal(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a call in one form: with the defaults, by position if possible.

        Raises TypeError for those that the function does not take.
        """
        bound = self._bound(args, kwargs)
        return bound.args, bound.kwargs

    def _bound(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound

    def _checked(self, key: object) -> str:
        if not isinstance(key, str) or not _CHOSEN.fullmatch(key):
            raise UncacheableError(f"{self.name}: a key is 1 to 200 characters of ASCII without spaces, not {key!r}")
        return key
