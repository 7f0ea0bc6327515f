"""Warming: compute registered calls before they expire, several at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from django.db import connections

from scaleout.caching.conf import conf
from scaleout.caching.decorator import CachedFunction
from scaleout.caching.errors import AwayError

log = logging.getLogger(__name__)

type Call = tuple[CachedFunction[Any, Any], *tuple[Any, ...]]
type Warmer = Callable[[], Iterable[Call]]

MARGIN = 90.0  # seconds: a value that expires earlier is computed now
AT_ONCE = 4

_warmers: dict[str, Warmer] = {}


def warmer(name: str) -> Callable[[Warmer], Warmer]:
    """Register a function that yields calls to warm: a cached function and its arguments, each."""

    def register(function: Warmer) -> Warmer:
        _warmers[name] = function
        return function

    return register


def names() -> list[str]:
    """Return the names of the registered warmers."""
    return list(_warmers)


@dataclass
class Outcome:
    """The outcome of one warmer's calls. `late`: not begun, because the time was over."""

    name: str
    computed: int = 0
    warm: int = 0
    failed: int = 0
    late: int = 0


def warm(
    only: Iterable[str] = (),
    *,
    margin: float = MARGIN,
    at_once: int = AT_ONCE,
    seconds: float = 60.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Outcome]:
    """Warm the warmers in `only`, or those of `CACHING["WARMERS"]`, or all.

    Begins nothing after `seconds`. Raises none of their errors.
    """
    until = time.monotonic() + seconds
    work: list[tuple[Outcome, Call]] = []
    chosen = list(only) or conf().warmers or list(_warmers)
    outcomes = [Outcome(name) for name in chosen]
    for outcome in outcomes:
        try:
            work += [(outcome, call) for call in _warmers[outcome.name]()]
        except Exception:  # a failed warmer stops no other
            log.exception("warmer failed: %r", outcome.name)
            outcome.failed += 1
    done = 0
    with ThreadPoolExecutor(at_once, thread_name_prefix="warm") as pool:
        for (outcome, _), what in zip(work, pool.map(lambda one: _one(one[1], margin, until), work), strict=True):
            setattr(outcome, what, getattr(outcome, what) + 1)
            done += 1
            progress(done, len(work))
    return outcomes


def _one(call: Call, margin: float, until: float) -> str:
    if time.monotonic() > until:
        return "late"
    function, *args = call
    try:
        return "computed" if function.warm(margin, *args) else "warm"
    except AwayError:
        return "late"
    except Exception:  # a later caller will get the error
        log.exception("warming failed: %s%r", function.__name__, tuple(args))
        return "failed"
    finally:
        connections.close_all()
