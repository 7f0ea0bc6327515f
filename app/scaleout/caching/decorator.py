"""`@multi_level_cache`: a function's values, in this process and in Redis."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Concatenate, Protocol, overload

from scaleout.caching import depends, invalidation, level, process
from scaleout.caching.call import Call, Recipe, Tags
from scaleout.caching.compute import compute
from scaleout.caching.errors import UncacheableError
from scaleout.caching.fetch import fetch, fetch_shared
from scaleout.caching.lease import Lease, take, try_take
from scaleout.caching.lookup import look, try_look
from scaleout.caching.source import source


@dataclass(frozen=True, slots=True)
class Peeked:
    """A value that was there: where, and the seconds until it is computed again."""

    value: Any
    level: str
    remaining: float


class CachedFunction[**P, R]:
    """A cached function: the result of the decorator."""

    def __init__(self, recipe: Recipe, *, of_class: bool) -> None:
        self.__name__ = recipe.function.__name__
        functools.update_wrapper(self, recipe.function)
        self._recipe = recipe
        self._of_class = of_class

    def __set_name__(self, owner: type, name: str) -> None:
        """A method: its object is part of the key only if it says so."""
        self._recipe.use_for_method()

    @overload
    def __get__(self, instance: None, owner: type) -> CachedFunction[P, R]: ...
    @overload
    def __get__[S, **Q](
        self: CachedFunction[Concatenate[S, Q], R], instance: S, owner: type | None = None
    ) -> BoundFunction[Q, R]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Return the method of an object, or of a class."""
        if self._of_class:
            return BoundFunction(self, owner)
        return self if instance is None else BoundFunction(self, instance)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the value: of this process, of Redis, or computed now."""
        recipe = self._recipe
        key = recipe.keys.of(args, kwargs)
        if invalidation.going_to_invalidate():
            level.note(level.MISS)
            return recipe.function(*args, **kwargs)  # type: ignore[no-any-return]
        if depends.computing() or source().must_be_fresh():
            # A value of this process may be as old as a message takes: too old for a caller that
            # has just written, and to be part of another value, which would keep it.
            call = Call(recipe, key, args, kwargs)
            held = compute(call, Lease(key, "itself")) if depends.making(key) else fetch_shared(call)
            depends.depends(*held.tags)
            return held.take()  # type: ignore[no-any-return]
        mine = process.current.held(key)
        if mine is not None:
            recipe.l1.add()
            level.note(level.L1)
        else:
            mine = fetch(Call(recipe, key, args, kwargs))
        level.shows(mine.tags)
        return mine.take()  # type: ignore[no-any-return]

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Make the value of these arguments wrong everywhere, after the commit of each transaction
        that is open.
        """
        invalidation.invalidate(self._call(args, kwargs).own_tag)

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute the value now, keep it, and return it."""
        call = self._call(args, kwargs)
        if invalidation.in_transaction():
            return call.value()  # type: ignore[no-any-return]
        return compute(call, try_take(call, "refresh")).take()  # type: ignore[no-any-return]

    def peek(self, *args: P.args, **kwargs: P.kwargs) -> Peeked | None:
        """Return the cached value without computing; None if none is cached (a value None is a
        Peeked of None).
        """
        call = self._call(args, kwargs)
        # As in __call__: L1 is too old to be part of another value, and for a caller that has just
        # written.
        near = not (depends.computing() or source().must_be_fresh())
        held, where = process.current.held(call.key) if near else None, "L1"
        if held is None:
            held, where = try_look(call), "L2"
        if held is None:
            return None
        depends.depends(*held.tags)
        return Peeked(held.take(), where, held.remaining - (time.monotonic() - held.at))

    def warm(self, margin: float, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Compute the value if it is missing or will be computed again within `margin` seconds;
        return whether it was.

        Not if another process is at it. Raises AwayError: without Redis there is nothing to warm.
        """
        call = self._call(args, kwargs)
        held = look(call)
        if held is not None and held.remaining > margin:
            return False
        lease = take(call, "warm")
        found = lease.grant.found if lease.grant else None
        if not lease.locked or (found and found.remaining > margin):  # another process was quicker
            lease.release()
            return False
        compute(call, lease)
        return True

    def _call(self, args: Any, kwargs: Any) -> Call:
        return Call(self._recipe, self._recipe.keys.of(args, kwargs), args, kwargs)


class BoundFunction[**P, R]:
    """The same for a method of one object, or of one class."""

    def __init__(self, cached: CachedFunction[Any, R], instance: object) -> None:
        self._cached = cached
        self._instance = instance

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the value."""
        return self._cached(self._instance, *args, **kwargs)

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Make the value wrong everywhere."""
        self._cached.invalidate(self._instance, *args, **kwargs)

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute the value now."""
        return self._cached.refresh(self._instance, *args, **kwargs)

    def peek(self, *args: P.args, **kwargs: P.kwargs) -> Peeked | None:
        """Return what is there."""
        return self._cached.peek(self._instance, *args, **kwargs)


_NO_VALUE = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


class Decorator(Protocol):
    """The decorator that `multi_level_cache(…)` returns."""

    def __call__[**P, R](self, function: Callable[P, R]) -> CachedFunction[P, R]:
        """Return the cached function."""


def multi_level_cache(
    *, timeout: float, key: str | Callable[..., str] | None = None, tags: Tags = (), stale: float = 30.0
) -> Decorator:
    """Cache what a function returns for `timeout` seconds, None included, in this process and in
    Redis.

    `key`: a text in place of the function's name, or a function of the arguments that returns one
    in place of the arguments. `tags`: what invalidates the value, or a function of the arguments
    that returns it; what is said with `depends()` is added. Such functions are given the arguments
    with their defaults, by position where they have one. `stale`: seconds beyond `timeout` for
    which a value is still shown while one caller computes the next.

    The value is kept as text, as JSON, or as a pickle (`codec`). One that can't be changed
    (`frozen`) is handed out as it is; of any other each caller gets a copy. Inside `atomic()`
    nothing is kept. Raises UncacheableError for what can't be a key or a value.
    """
    if not 0.001 <= timeout < 10**8 or not 0 <= stale < 10**8:
        raise ValueError("timeout is at least a millisecond, stale not less than 0 seconds, and neither years")
    said = tags if callable(tags) else tuple(sorted(invalidation.checked(tags)))

    def decorate[**P, R](function: Callable[P, R]) -> CachedFunction[P, R]:
        of_class = isinstance(function, classmethod)
        plain: Callable[P, R] = function.__func__ if isinstance(function, classmethod) else function
        if isinstance(function, staticmethod):
            raise UncacheableError(f"{function.__qualname__}: put @staticmethod above the decorator")
        if not (callable(plain) and hasattr(plain, "__qualname__")) or any(kind(plain) for kind in _NO_VALUE):
            raise UncacheableError(f"{function!r} is no plain function: put the decorator next to it")
        # Functions of one name in one place have keys of their own only if each has chosen one.
        if (key is None and "<" in plain.__qualname__) or (callable(key) and "<lambda>" in plain.__qualname__):
            raise UncacheableError(f"{plain.__qualname__} has no name that is its own: give a key")
        return CachedFunction(Recipe(plain, key, said, timeout, stale, method=of_class), of_class=of_class)

    return decorate
