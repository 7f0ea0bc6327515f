"""`ETag`, and the answer 304 to who has it already.

The tags are weak: the load balancer may compress the body, and so does a CDN. nginx and HAProxy
turn a strong one into a weak one when they do, so that a strong one would be another one to whoever
takes gzip. `If-None-Match` compares weakly in any case (RFC 9110, 13.1.2); a strong one would be of
use for ranges only.

That is the only condition that is looked at. `If-Unmodified-Since` and `If-Modified-Since` are
about a date, and there is none, so they are to be ignored. `If-Match` guards changes, where the
view looks at it beside its lock (`problems.require_match`), and ranges, and a weak validator never
matches it: a reader would be refused in any case.
"""

from __future__ import annotations

from hashlib import blake2b

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.utils.http import parse_etags

# Of the body that a 304 has not.
_OF_THE_BODY = {"content-length", "content-type", "content-encoding", "content-language", "content-range"}


def weak_etag(*parts: str | bytes) -> str:
    """Return the validator of a body that is made of `parts`; of those that matter, where some do
    not.
    """
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return f'W/"{digest.hexdigest()}"'


def conditional(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Give `response` an ETag where it has none, and return it, or a 304 in its place."""
    if "ETag" not in response.headers:
        response.headers["ETag"] = weak_etag(response.content)
    known = {_opaque(one) for one in parse_etags(request.META.get("HTTP_IF_NONE_MATCH", ""))}
    if not known & {"*", _opaque(response.headers["ETag"])}:
        return response
    answer = HttpResponseNotModified()
    for name, value in response.headers.items():
        if name.lower() not in _OF_THE_BODY:
            answer.headers.setdefault(name, value)
    return answer


def _opaque(etag: str) -> str:
    return etag.removeprefix("W/")
