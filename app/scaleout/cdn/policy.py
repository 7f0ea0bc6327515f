"""Decorators by which a view declares how its answers may be cached: `@public(max_age=30)`.

The middleware applies the declaration only if the answer is not personal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Concatenate, Protocol

from django.http import HttpRequest
from django.http.response import HttpResponseBase

# The tags of an answer, or a function that returns them after the view has run.
type Tags = Iterable[str] | Callable[[], Iterable[str]]

PERSONAL = "private, no-store"
REVALIDATED = "no-cache"
NOT_KEPT = "no-store"
CDN_HEADER = "CDN-Cache-Control"  # RFC 9213: a CDN reads it in place of Cache-Control

_ATTRIBUTE = "cdn_policy"
_FOR_ALL = "cdn_for_all"


@dataclass(frozen=True, slots=True)
class Policy:
    """A `Cache-Control`, what a CDN reads in its place, and the tags by which a CDN purges the
    answer.
    """

    control: str
    for_cdns: str = ""
    tags: Tags = ()
    is_public: bool = False

    def named(self) -> Iterable[str]:
        """Return the tags as they are now."""
        return self.tags() if callable(self.tags) else self.tags


def of(response: HttpResponseBase) -> Policy | None:
    """Return the policy that the view has declared for this answer."""
    return getattr(response, _ATTRIBUTE, None)


def for_all(response: HttpResponseBase) -> None:
    """Mark an answer as the same for every caller, with a token or without: a file."""
    setattr(response, _FOR_ALL, True)


def is_for_all(response: HttpResponseBase) -> bool:
    """Return whether `for_all` has marked the answer."""
    return getattr(response, _FOR_ALL, False)


class Decorator(Protocol):
    """A decorator of views."""

    def __call__[**P, R: HttpResponseBase](
        self, view: Callable[Concatenate[HttpRequest, P], R]
    ) -> Callable[Concatenate[HttpRequest, P], R]:
        """Return the view with the declaration added."""


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


def public(
    *, max_age: int, stale_while_revalidate: int = 0, stale_if_error: int = 0, tags: Tags = (), browser: int = 0
) -> Decorator:
    """Let CDNs keep the view's successful answers to GET and HEAD for `max_age` seconds.

    `browser`: seconds for which a browser keeps them. A purge does not reach browsers, so by
    default a browser revalidates each time. `stale_while_revalidate`: seconds beyond `max_age` for
    which a CDN shows an old answer while it fetches a new one. `stale_if_error`: the same while the
    site fails (RFC 5861). `tags`: purging one of them purges the answer.

    Raises ValueError for a negative time, a `max_age` of 0, and `tags` that is one text.
    """
    if isinstance(tags, str):
        raise ValueError(f"tags must be several, not one text: write ({tags!r},)")
    if max_age < 1 or min(stale_while_revalidate, stale_if_error, browser) < 0:
        raise ValueError("max_age must be at least 1 second, and the other times at least 0")
    for_cdns = f"public, max-age={max_age}"
    if stale_while_revalidate:
        for_cdns += f", stale-while-revalidate={stale_while_revalidate}"
    if stale_if_error:
        for_cdns += f", stale-if-error={stale_if_error}"
    control = f"public, max-age={browser}"
    return _says(Policy(control, for_cdns, tags if callable(tags) else tuple(tags), is_public=True))


# Caches may keep the view's answers, but revalidate each time: the rule of pages.
revalidated = _says(Policy(REVALIDATED))
# No cache may keep the view's answers: the default of everything that is no page.
personal = _says(Policy(PERSONAL))
