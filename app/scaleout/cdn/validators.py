"""`ETag`, and the answer 304 to a client that has the body already.

The tags are weak. nginx, HAProxy and a CDN compress bodies and then turn a strong tag into a weak
one, so a strong tag would change for a client that takes gzip. `If-None-Match` compares weakly in
any case (RFC 9110, 13.1.2); a strong tag would serve ranges only.

No other condition is evaluated. `If-Unmodified-Since` and `If-Modified-Since` need a date, and the
answers have none. `If-Match` guards changes: the view evaluates it beside its lock
(`problems.require_match`). For reads it would refuse every client, because a weak validator never
matches it.
"""

from __future__ import annotations

from hashlib import blake2b

from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.utils.http import parse_etags

# Headers of the body, which a 304 does not have.
_OF_THE_BODY = {"content-length", "content-type", "content-encoding", "content-language", "content-range"}


def weak_etag(*parts: str | bytes) -> str:
    """Return the validator of a body that is made of `parts`, or of those parts that matter."""
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return f'W/"{digest.hexdigest()}"'


def conditional(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Give `response` an ETag if it has none; return it, or a 304 in its place."""
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
