"""What may be handed to every caller as it is, because nobody can change it."""

from __future__ import annotations

import dataclasses
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from uuid import UUID
from zoneinfo import ZoneInfo

from django.utils.safestring import SafeString

_ATOMS = frozenset(
    {type(None), bool, int, float, complex, str, SafeString, bytes, range, Decimal, Fraction, UUID}
    | {date, datetime, time, timedelta, timezone, ZoneInfo}
)


def frozen(value: object) -> bool:
    """Return whether `value` can't be changed, nor anything in it: atoms, tuples, frozensets, frozen dataclasses,
    enums."""
    kind = type(value)
    if kind in _ATOMS or isinstance(value, Enum):
        return True
    if isinstance(value, tuple) and (kind is tuple or hasattr(kind, "_fields")):
        return all(map(frozen, value))
    if kind is frozenset:
        assert isinstance(value, frozenset)  # noqa: S101 - for mypy
        return all(map(frozen, value))
    parameters = getattr(kind, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        return False
    names = {field.name for field in dataclasses.fields(value)}  # type: ignore[arg-type]  # it is a dataclass
    # A cached property would be a place of its own, outside the fields.
    return getattr(value, "__dict__", {}).keys() <= names and all(frozen(getattr(value, name)) for name in names)
