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
CDN_HEADER = "CDN-Cache-Control"  # RFC 9213: for caches like ours, which ignore Cache-Control then

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


def public(
    *, max_age: int, stale_while_revalidate: int = 0, stale_if_error: int = 0, tags: Tags = (), browser: int = 0
) -> Decorator:
    """Let CDNs keep the view's good answers to GET and HEAD for `max_age` seconds, and a browser
    for `browser` seconds.

    A browser is not purged, so by default it asks each time whether what it has is still right.
    `stale_while_revalidate`: seconds beyond `max_age` for which a CDN still shows an answer while
    it fetches a new one; `stale_if_error`: the same where none can be had (RFC 5861). `tags`: what
    purges the answer. Raises ValueError.
    """
    if isinstance(tags, str):
        raise ValueError(f"tags are several: ({tags!r},)")
    if max_age < 1 or min(stale_while_revalidate, stale_if_error, browser) < 0:
        raise ValueError("max_age is at least one second, the others not negative")
    for_cdns = f"public, max-age={max_age}"
    if stale_while_revalidate:
        for_cdns += f", stale-while-revalidate={stale_while_revalidate}"
    if stale_if_error:
        for_cdns += f", stale-if-error={stale_if_error}"
    control = f"public, max-age={browser}"
    return _says(Policy(control, for_cdns, tags if callable(tags) else tuple(tags), is_public=True))


# Anybody may keep the view's answers, but asks each time whether they are still right: as pages
# are.
revalidated = _says(Policy(REVALIDATED))
# Nobody may keep the view's answers: as what is no page is, if nothing is said.
personal = _says(Policy(PERSONAL))
