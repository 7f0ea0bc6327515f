"""Set the `Cache-Control` of each answer, by its content and not by its path."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import has_vary_header, patch_vary_headers

from scaleout.cdn import policy, tags
from scaleout.cdn.conf import conf
from scaleout.cdn.validators import conditional

_READS = ("GET", "HEAD")
_OF_CDNS = ("cdn-cache-control", "surrogate-control")  # RFC 9213, also with a CDN's name before it; Edge Architecture
_KEPT_STATUS = (HTTPStatus.OK, HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.PERMANENT_REDIRECT)


class CdnMiddleware:
    """Set the cache headers of each answer.

    Place it outside of each middleware that sets cookies or turns errors into problems.

    A personal answer is `private, no-store`, unless its view or a service behind the gateway was as
    strict already. A file (`for_all`) is never personal. Errors are `no-store`, pages `no-cache`,
    and what a view declares public is public. Any other answer counts as personal: a cache must
    keep nothing by accident.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request."""
        response = self.get_response(request)
        said = response.headers.get("Cache-Control", "").lower()
        wish = policy.of(response)
        if _is_personal(request, response):
            if not _is_strict(said):
                _say(response, policy.PERSONAL)
            for name in [one for one in response.headers if one.lower().endswith(_OF_CDNS)]:
                del response.headers[name]  # a CDN that knows them prefers them to Cache-Control
            return response
        if said:  # by the view itself, for a file, or by the service that has answered
            return response
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            _say(response, policy.NOT_KEPT)
            return response
        _say(response, _control(request, response, wish))
        if "no-store" in response.headers["Cache-Control"]:
            return response
        patch_vary_headers(response, ["Accept-Encoding"])  # the load balancer compresses
        if wish is not None and wish.is_public:
            response.headers[policy.CDN_HEADER] = wish.for_cdns
            tags.put(response, wish.named())
        if response.status_code == HTTPStatus.OK and isinstance(response, HttpResponse):
            return conditional(request, response)
        return response


def _control(request: HttpRequest, response: HttpResponseBase, wish: policy.Policy | None) -> str:
    """Return the Cache-Control of an answer that is no error and does not look personal."""
    if request.method not in _READS or response.status_code not in _KEPT_STATUS or response.streaming:
        return policy.PERSONAL  # a streamed body may read the session after the headers are sent
    if wish is not None:
        return wish.control
    if response.status_code == HTTPStatus.OK and response.headers.get("Content-Type", "").startswith("text/html"):
        return policy.REVALIDATED
    return policy.PERSONAL


def _is_personal(request: HttpRequest, response: HttpResponseBase) -> bool:
    """Return whether the answer may depend on the caller, or holds what only the caller may get."""
    if policy.is_for_all(response):
        return False
    session = getattr(request, "session", None)
    return bool(
        "HTTP_AUTHORIZATION" in request.META
        or response.cookies
        or "Set-Cookie" in response.headers  # set by a service behind the gateway
        or (session is not None and (session.accessed or session.modified))
        or has_vary_header(response, "Cookie")
        or has_vary_header(response, "Authorization")
        or any(name in response.headers for name in conf().personal_headers)
    )


def _is_strict(said: str) -> bool:
    """Return whether no cache that several people share may keep an answer with this
    `Cache-Control`, in small letters.

    `private="X-Name"` is about that header alone.
    """
    directives = {one.strip() for one in said.split(",")}
    return bool(directives & {"no-store", "private"}) and "public" not in directives


def _say(response: HttpResponseBase, control: str) -> None:
    response.headers["Cache-Control"] = control
