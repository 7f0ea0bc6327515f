"""`ETag`, and the answer 304 to who has it already.

The tags are weak: the load balancer may compress the body, and so does a CDN. nginx and HAProxy turn a strong one into
a weak one when they do, so that a strong one would be another one to whoever takes gzip. `If-None-Match` compares
weakly in any case (RFC 9110, 13.1.2); a strong one would be of use for ranges only.
"""

from __future__ import annotations

from hashlib import blake2b

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response

# Of the body that a 304 has not.
_OF_THE_BODY = {"content-length", "content-type", "content-encoding", "content-language", "content-range"}


def weak_etag(*parts: str | bytes) -> str:
    """Return the validator of a body that is made of `parts`; of those that matter, where some do not."""
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return f'W/"{digest.hexdigest()}"'


def conditional(request: HttpRequest, response: HttpResponse) -> HttpResponseBase:
    """Give `response` an ETag where it has none, and return it, or a 304 (412) in its place."""
    if "ETag" not in response.headers:
        response.headers["ETag"] = weak_etag(response.content)
    answer = get_conditional_response(request, etag=response.headers["ETag"], response=response)
    if answer is None or answer is response:
        return response
    for name, value in response.headers.items():
        if name.lower() not in _OF_THE_BODY:
            answer.headers.setdefault(name, value)
    return answer
