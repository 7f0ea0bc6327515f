"""What a view says of its answers, beside the view: `@public(max_age=30)`.

It is a wish. The middleware grants it only where the answer turned out to be nobody's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, Protocol

from django.http import HttpRequest
from django.http.response import HttpResponseBase

# Of an answer, or a function that is asked when the view has made it.
type Tags = Iterable[str] | Callable[[], Iterable[str]]

PERSONAL = "private, no-store"
REVALIDATED = "no-cache"
NOT_KEPT = "no-store"

_ATTRIBUTE = "cdn_policy"
_FOR_ALL = "cdn_for_all"


@dataclass(frozen=True, slots=True)
class Policy:
    """A `Cache-Control`, and the tags by which a CDN purges the answer."""

    control: str
    tags: Tags = ()
    is_public: bool = False

    def named(self) -> Iterable[str]:
        """Return the tags as they are now."""
        return self.tags() if callable(self.tags) else self.tags


def of(response: HttpResponseBase) -> Policy | None:
    """Return what the view has said of this answer."""
    return getattr(response, _ATTRIBUTE, None)


def for_all(response: HttpResponseBase) -> None:
    """Say of an answer that it is the same whoever asks, with a token or without: a file."""
    setattr(response, _FOR_ALL, True)


def is_for_all(response: HttpResponseBase) -> bool:
    """Return whether that was said."""
    return getattr(response, _FOR_ALL, False)


class Decorator(Protocol):
    """What is put onto a view."""

    def __call__[**P, R: HttpResponseBase](
        self, view: Callable[Concatenate[HttpRequest, P], R]
    ) -> Callable[Concatenate[HttpRequest, P], R]:
        """Return the view, which now says it."""


def _says(policy: Policy) -> Decorator:
    def decorate[**P, R: HttpResponseBase](
        view: Callable[Concatenate[HttpRequest, P], R],
    ) -> Callable[Concatenate[HttpRequest, P], R]:
        @wraps(view)
        def answer(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> R:
            response = view(request, *args, **kwargs)
            setattr(response, _ATTRIBUTE, policy)
            return response

        return answer

    return decorate


def public(*, max_age: int, stale_while_revalidate: int = 0, stale_if_error: int = 0, tags: Tags = ()) -> Decorator:
    """Let anybody keep the view's good answers to GET and HEAD for `max_age` seconds.

    `stale_while_revalidate`: seconds beyond it for which an answer is still shown while a new one is fetched;
    `stale_if_error`: the same where none can be had (RFC 5861). `tags`: what purges the answer. Raises ValueError.
    """
    if isinstance(tags, str):
        raise ValueError(f"tags are several: ({tags!r},)")
    if max_age < 1 or stale_while_revalidate < 0 or stale_if_error < 0:
        raise ValueError("max_age is at least one second, the others not negative")
    control = f"public, max-age={max_age}"
    if stale_while_revalidate:
        control += f", stale-while-revalidate={stale_while_revalidate}"
    if stale_if_error:
        control += f", stale-if-error={stale_if_error}"
    return _says(Policy(control, tags if callable(tags) else tuple(tags), is_public=True))


# Anybody may keep the view's answers, but asks each time whether they are still right: as pages are.
revalidated = _says(Policy(REVALIDATED))
# Nobody may keep the view's answers: as what is no page is, if nothing is said.
personal = _says(Policy(PERSONAL))
