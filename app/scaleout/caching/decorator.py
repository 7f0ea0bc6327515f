"""`@multi_level_cache`: a function's values, in this process and in Redis."""

from __future__ import annotations

import functools
import inspect
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Concatenate, Protocol, overload

from scaleout.caching import codec, depends, invalidation, level, metrics, process
from scaleout.caching.errors import AwayError, UncacheableError
from scaleout.caching.flights import Flight
from scaleout.caching.keys import Keys
from scaleout.caching.local import Held
from scaleout.caching.shared import EVERYTHING, Found, Grant
from scaleout.caching.source import source

CAP = 2.0  # seconds that a process believes a value without asking Redis again
STALE_HOLD = 0.2  # the same for a value that is being computed anew
PATIENCE = 1.5  # seconds until one of those who wait computes too: a load balancer waits 2
LOCK = 10.0  # seconds after which a computation that does not end no longer keeps others from it
LOOK = 0.02  # seconds between two looks for what another process computes

type Tags = Iterable[str] | Callable[..., Iterable[str]]


@dataclass(frozen=True, slots=True)
class Peeked:
    """A value that was there: where, and the seconds until it is computed again."""

    value: Any
    level: str
    remaining: float


class CachedFunction[**P, R]:
    """What the decorator makes of a function."""

    def __init__(  # noqa: PLR0913 - what the decorator was given
        self,
        function: Callable[P, R],
        timeout: float,
        key: str | Callable[..., str] | None,
        tags: Tags,
        stale: float,
        *,
        of_class: bool = False,
    ) -> None:
        self.__name__ = function.__name__
        functools.update_wrapper(self, function)
        self._function = function
        self._options = (timeout, key, tags, stale)
        self._timeout = timeout
        self._stale = stale
        self._tags = tags
        self._of_class = of_class
        self._keys = Keys(function, key, method=of_class)
        name = self._keys.name
        self._l1, self._l2, self._missed = (metrics.Tally(name, one) for one in ("L1", "L2", "miss"))

    def __set_name__(self, owner: type, name: str) -> None:
        """A method: its object is part of the key only if it says so."""
        self._keys = Keys(self._function, self._options[1], method=True)

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

    # ── what callers use ──────────────────────────────────────────────────────────────────────────
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the value: of this process, of Redis, or computed now."""
        key = self._keys.of(args, kwargs)
        if invalidation.going_to_invalidate():
            level.note(level.MISS)
            return self._function(*args, **kwargs)
        if depends.computing() or source().must_be_fresh():
            # A value of this process may be the moment old that a message takes: too old to be part
            # of another value, which would keep it, and for who has just written.
            if depends.making(key):
                fetched = self._make(key, args, kwargs, None, "itself")
            else:
                fetched = self._fetch(key, args, kwargs, None)
            depends.depends(*fetched.tags)
            return fetched.take()  # type: ignore[no-any-return]
        held = self._mine(key)
        if held is not None:
            self._l1.add()
            level.note(level.L1)
        else:
            held = self._together(key, args, kwargs)
        level.shows(held.tags)
        return held.take()  # type: ignore[no-any-return]

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Make the value of these arguments wrong everywhere, after the commit of each transaction
        that is open.
        """
        invalidation.invalidate(self._own_tag(self._keys.of(args, kwargs)))

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Compute the value now, keep it, and return it."""
        key = self._keys.of(args, kwargs)
        if invalidation.in_transaction():
            return self._function(*args, **kwargs)
        return self._make(key, args, kwargs, self._begin(key), "refresh").take()  # type: ignore[no-any-return]

    def peek(self, *args: P.args, **kwargs: P.kwargs) -> Peeked | None:
        """Return what is there without computing anything; None where nothing is (a value None is a
        Peeked of None).
        """
        key = self._keys.of(args, kwargs)
        # As in __call__: L1 is too old to be part of another value, and for who has just written.
        near = not (depends.computing() or source().must_be_fresh())
        held, where = self._mine(key) if near else None, "L1"
        if held is None:
            held, where = self._from_redis(key), "L2"
        if held is None:
            return None
        depends.depends(*held.tags)
        return Peeked(held.take(), where, held.remaining - (time.monotonic() - held.at))

    def warm(self, margin: float, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Compute the value if it is missing or will be computed again within `margin` seconds;
        return whether it was.

        Not if another process is at it. Raises AwayError: without Redis there is nothing to warm.
        """
        key = self._keys.of(args, kwargs)
        held = self._from_redis(key, raising=True)
        if held is not None and held.remaining > margin:
            return False
        owner = secrets.token_hex(8)
        grant = process.current.shared.begin(key, held.tags if held else (), self._stale, owner, LOCK)
        if not grant.locked:
            return False
        if grant.found and grant.found.remaining > margin:  # somebody has just put it there
            self._release(key, owner)
            return False
        self._make(key, args, kwargs, (owner, grant), "warm")
        return True

    # ── the first level ───────────────────────────────────────────────────────────────────────────
    def _mine(self, key: str) -> Held | None:
        held = process.current.store.get(key)
        if held is None or held.until <= time.monotonic() or not process.current.ledger.allows(held):
            return None
        return held

    def _guess(self, key: str) -> tuple[str, ...]:
        held = process.current.store.get(key)
        return held.tags if held else ()

    def _together(self, key: str, args: Any, kwargs: Any, *, again: bool = False) -> Held:
        """Fetch the value once for all threads of this process that want it; `again` for those who
        may not have what came out.
        """
        if invalidation.in_transaction():  # others may not see what it sees, nor it what they see
            return self._fetch(key, args, kwargs, None)
        flight, mine = process.current.flights.join((key, again))
        if mine:
            return self._fly((key, again), flight, lambda: self._fetch(key, args, kwargs, flight))
        began = time.monotonic()
        if flight.thread == threading.get_ident():  # it calls itself
            return self._make(key, args, kwargs, self._begin(key), "impatience")
        if not flight.wait(PATIENCE):
            if flight.take_over():
                return self._fly(
                    (key, again), flight, lambda: self._make(key, args, kwargs, self._begin(key), "impatience")
                )
            flight.wait(LOCK)
        metrics.waits.labels(self._keys.name).observe(time.monotonic() - began)
        if isinstance(flight.error, Exception):
            raise flight.error
        # What was asked for after an invalidation is not answered with what was begun before it.
        held_there = flight.held
        if held_there and held_there.until > began and process.current.ledger.allows(held_there):
            self._l1.add()
            level.note(level.L1)
            return held_there
        return self._fetch(key, args, kwargs, None) if again else self._together(key, args, kwargs, again=True)

    def _fly(self, name: Any, flight: Flight, fetch: Callable[[], Held]) -> Held:
        """Fetch the value, for all who wait for it."""
        flights = process.current.flights
        try:
            flight.land(held := fetch())
        except BaseException as error:
            flight.land(None, error)
            raise
        finally:
            flights.end(name, flight)
        return held

    # ── the second level, and the function itself ─────────────────────────────────────────────────
    def _from_redis(self, key: str, *, raising: bool = False) -> Held | None:
        now, position = time.monotonic(), process.current.ledger.position
        process.current.watch.start()
        try:
            found = process.current.shared.look(key, self._guess(key), self._stale)
        except AwayError:
            if raising:
                raise
            return None
        return self._hold(key, found, now, position) if found else None

    def _hold(self, key: str, found: Found, now: float, position: int) -> Held | None:
        """Keep in this process what was right in Redis at `now`, when the ledger stood at
        `position`.
        """
        try:
            value = codec.load(found.payload)
        except Exception:  # of another release of the application: as good as none
            return None
        held = Held.of(value, found.payload, now + min(CAP, found.remaining if found.remaining > 0 else STALE_HOLD))
        held.tags, held.checked, held.remaining, held.at = found.tags, position, found.remaining, now
        process.current.store.put(key, held)
        return held

    def _fetch(self, key: str, args: Any, kwargs: Any, flight: Flight | None) -> Held:
        """Return the value of Redis, or computed, once for all processes; a stale one rather than
        waiting.
        """
        held = self._from_redis(key)
        if held is not None and held.remaining > 0:
            return self._second(held)
        if process.current.wire.breaker.open or invalidation.in_transaction():
            return self._make(key, args, kwargs, None, "away" if process.current.wire.breaker.open else "transaction")
        owner, until = secrets.token_hex(8), time.monotonic() + PATIENCE
        began = time.monotonic()
        while True:
            now, position = time.monotonic(), process.current.ledger.position
            try:
                grant = process.current.shared.begin(key, self._guess(key), self._stale, owner, LOCK)
            except AwayError:
                return self._make(key, args, kwargs, None, "away")
            found = self._hold(key, grant.found, now, position) if grant.found else None
            turn = grant.locked or now >= until
            if found is not None and (found.remaining > 0 or not turn):
                if grant.locked:
                    self._release(key, owner)
                self._waited(began)
                return self._second(found)
            if turn and not grant.locked and flight is not None and not flight.take_over():
                flight.wait(LOCK)  # a thread that waits for this one was the first to lose patience
                if flight.held:
                    return flight.held
            if turn:
                if found is not None and flight is not None:
                    flight.land(found)  # who waits in this process is served at once
                self._waited(began)
                reason = ("expired" if found else "missing") if grant.locked else "impatience"
                return self._make(key, args, kwargs, (owner, grant), reason)
            _pause.wait(LOOK)

    def _second(self, held: Held) -> Held:
        self._l2.add()
        level.note(level.L2)
        return held

    def _waited(self, began: float) -> None:
        if (seconds := time.monotonic() - began) > LOOK:
            metrics.waits.labels(self._keys.name).observe(seconds)

    def _begin(self, key: str) -> tuple[str, Grant] | None:
        owner = secrets.token_hex(8)
        process.current.watch.start()
        try:
            return owner, process.current.shared.begin(key, self._guess(key), self._stale, owner, LOCK)
        except AwayError:
            return None

    def _release(self, key: str, owner: str) -> None:
        with suppress(AwayError):  # then it ends by itself
            process.current.shared.release(key, owner)

    def _make(self, key: str, args: Any, kwargs: Any, granted: tuple[str, Grant] | None, reason: str) -> Held:
        """Compute the value. It is kept in Redis if `granted`, and in this process if it is right
        by then.
        """
        self._missed.add()
        level.note(level.MISS)
        metrics.recomputations.labels(self._keys.name, reason).inc()
        current, inside = process.current, invalidation.in_transaction()
        began, position = time.monotonic(), current.ledger.position
        token = max(granted[1].token if granted else "", current.ledger.token())
        try:
            with source().at_least(token) as new_enough, depends.collecting(key) as collected:
                value = self._function(*args, **kwargs)
                collected.update({self._own_tag(key), EVERYTHING}, invalidation.checked(self._said_tags(args, kwargs)))
                tags = tuple(sorted(invalidation.checked(collected)))
            what = f"the value of {self._keys.name}"
            payload = codec.for_redis(codec.dump(value, what), what)
            held = Held.of(value, payload, began + min(CAP, self._timeout))
        except BaseException:
            if granted and granted[1].locked:
                self._release(key, granted[0])
            raise
        held.tags, held.checked, held.remaining, held.at = tags, position, self._timeout, began
        if inside or granted is None or not new_enough:
            if not inside:  # what it was made of may be rolled back, or seen by nobody else
                current.store.put(key, held)
            if granted and granted[1].locked:
                self._release(key, granted[0])
            return held
        checked, position = time.monotonic(), current.ledger.position
        owner, grant = granted
        try:
            right = current.shared.put(key, owner, grant.time, tags, payload, self._timeout + self._stale)
        except AwayError:
            right = True  # as far as anybody knows; and only for as long as a value without Redis
        else:
            # Or nobody may have it but the caller, who asked before it was invalidated, or replaced
            # by a newer one.
            held.checked = position if right else 0
            held.until, held.at = checked + min(CAP, self._timeout), checked
        if right:
            current.store.put(key, held)
        return held

    def _own_tag(self, key: str) -> str:
        return f"={key}"

    def _said_tags(self, args: Any, kwargs: Any) -> Iterable[str]:
        if not callable(self._tags):
            return self._tags
        args, kwargs = self._keys.normal(args, kwargs)
        return self._tags(*args, **kwargs)


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
_pause = threading.Event()  # never set: to wait without a busy loop


class Decorator(Protocol):
    """What `multi_level_cache(…)` returns."""

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
        return CachedFunction(plain, timeout, key, said, stale, of_class=of_class)

    return decorate
