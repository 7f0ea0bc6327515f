"""Values that every caller may share, because they cannot change."""

from __future__ import annotations

import dataclasses
import functools
import sys
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Generic
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
def _open(kind: type) -> bool:
    """Return whether objects of this dataclass hold more than its fields.

    A cached property is visible to all callers, and a base that is no dataclass may be a list.
    """
    return any(
        (above not in {object, Generic} and "__dataclass_params__" not in vars(above))
        or any(isinstance(one, _LAZY) for one in vars(above).values())
        for above in kind.__mro__
    )


def frozen(value: object) -> bool:
    """Return whether `value` can't be changed, nor anything in it: atoms, tuples, frozensets,
    frozen dataclasses, enums.
    """
    kind = type(value)
    if kind in _ATOMS or isinstance(value, Enum):
        return True
    # A subclass of a named tuple has a dictionary, unless it says that it has none.
    if isinstance(value, tuple) and (kind is tuple or (hasattr(kind, "_fields") and not hasattr(value, "__dict__"))):
        return all(map(frozen, value))
    if kind is frozenset:
        assert isinstance(value, frozenset)  # noqa: S101 - for mypy
        return all(map(frozen, value))
    # The class's own parameters: a subclass that is no dataclass itself accepts new attributes.
    parameters = vars(kind).get("__dataclass_params__")
    if parameters is None or not parameters.frozen or _open(kind):  # type: ignore[arg-type]  # it has a hash
        return False
    names = {field.name for field in dataclasses.fields(value)}  # type: ignore[arg-type]  # it is a dataclass
    # An attribute outside of the fields could change.
    return getattr(value, "__dict__", {}).keys() <= names and all(frozen(getattr(value, name)) for name in names)


def size(value: object) -> int:
    """Return the most bytes of memory that a frozen value may take: shared parts count twice."""
    own = sys.getsizeof(value)
    if isinstance(value, (tuple, frozenset)):
        return own + sum(map(size, value))
    if dataclasses.is_dataclass(value):
        fields = sum(size(getattr(value, field.name)) for field in dataclasses.fields(value))
        return own + sys.getsizeof(getattr(value, "__dict__", None)) + fields
    return own
