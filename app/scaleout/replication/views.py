"""Decorators and mixins of whole views: read the primary, or write nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import ImproperlyConfigured
from django.http.response import HttpResponseBase

from scaleout.replication import state

type View = Callable[..., Any]


class WriteRefused(ImproperlyConfigured):
    """A read-only view was about to write."""


@contextmanager
def _pinned() -> Iterator[None]:
    state.current().on_primary = True  # until the end of the request: a TemplateResponse renders after the view
    yield


@contextmanager
def _promise() -> Iterator[None]:
    done = state.current().done
    done.read_only += 1
    try:
        yield
    finally:
        done.read_only -= 1


def _inside(block: Callable[[], Any], view: View) -> View:
    if iscoroutinefunction(view):

        @wraps(view)
        async def wait(*args: Any, **kwargs: Any) -> HttpResponseBase:
            with block():
                return _rendered(await view(*args, **kwargs))

        return wait

    @wraps(view)
    def answer(*args: Any, **kwargs: Any) -> HttpResponseBase:
        with block():
            return _rendered(view(*args, **kwargs))

    return answer


def _rendered(response: Any) -> HttpResponseBase:
    """Return the response, which is rendered inside the block if it renders at all."""
    if hasattr(response, "render") and state.current().done.read_only:
        response.render()
    return response  # type: ignore[no-any-return]


def pinned(view: View) -> View:
    """Let a view read the primary, from its start to the end of the request: the decorator
    `use_primary`.
    """
    return _inside(_pinned, view)


def read_only[V: View](view: V) -> V:
    """Let a view write to no database. A decorator; raises WriteRefused at a statement that may
    write.

    A TemplateResponse is rendered inside it. A later write of a middleware, such as a session, is
    allowed.
    """
    return _inside(_promise, view)  # type: ignore[return-value]  # it is called as the view is


def refuse(sql: str) -> None:
    """Raise WriteRefused if the current view is read-only."""
    if state.current().done.read_only:
        raise WriteRefused(f"this view is read_only, but this statement may write:\n{str(sql)[:200]}")


class PrimaryMixin:
    """A class-based view that reads the primary, as with `use_primary`."""

    def dispatch(self, *args: Any, **kwargs: Any) -> Any:
        """Answer."""
        return pinned(super().dispatch)(*args, **kwargs)  # type: ignore[misc]  # of View


class ReadOnlyMixin:
    """A class-based view that writes nothing, as with `read_only`."""

    def dispatch(self, *args: Any, **kwargs: Any) -> Any:
        """Answer."""
        return read_only(super().dispatch)(*args, **kwargs)  # type: ignore[misc]  # of View
