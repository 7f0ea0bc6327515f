"""What may be handed to every caller as it is, because nobody can change it."""

from __future__ import annotations

import dataclasses
import functools
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from uuid import UUID
from zoneinfo import ZoneInfo

from django.utils.functional import cached_property
from django.utils.safestring import SafeString

_ATOMS = frozenset(
    {type(None), bool, int, float, complex, str, SafeString, bytes, range, Decimal, Fraction, UUID}
    | {date, datetime, time, timedelta, timezone, ZoneInfo}
)
_LAZY = (functools.cached_property, cached_property)


@functools.lru_cache(256)
def _lazy(kind: type) -> bool:
    """Return whether objects of this class take in a value later: a cached property stands where all callers see it."""
    return any(isinstance(one, _LAZY) for above in kind.__mro__ for one in vars(above).values())


def frozen(value: object) -> bool:
    """Return whether `value` can't be changed, nor anything in it: atoms, tuples, frozensets, frozen dataclasses,
    enums."""
    kind = type(value)
    if kind in _ATOMS or isinstance(value, Enum):
        return True
    # A subclass of a named tuple has a dictionary, unless it says that it has none.
    if isinstance(value, tuple) and (kind is tuple or (hasattr(kind, "_fields") and not hasattr(value, "__dict__"))):
        return all(map(frozen, value))
    if kind is frozenset:
        assert isinstance(value, frozenset)  # noqa: S101 - for mypy
        return all(map(frozen, value))
    # Its own parameters: a subclass that is no dataclass itself takes new attributes.
    parameters = vars(kind).get("__dataclass_params__")
    if parameters is None or not parameters.frozen or _lazy(kind):  # type: ignore[arg-type]  # it has a hash
        return False
    names = {field.name for field in dataclasses.fields(value)}  # type: ignore[arg-type]  # it is a dataclass
    # What is outside of the fields is a place of its own.
    return getattr(value, "__dict__", {}).keys() <= names and all(frozen(getattr(value, name)) for name in names)
