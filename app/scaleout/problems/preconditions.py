"""`If-Match`: a change is made only to what its author has seen (RFC 9110, 13.1.1; RFC 6585, 3)."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from django.utils.http import parse_etags

from scaleout.problems.responses import Problem


def require_match(request: HttpRequest, etag: str) -> None:
    """Raise Problem 412 if `If-Match` names another state than `etag`, and 428 if it is missing and
    `settings.REQUIRE_IF_MATCH`. Call it where the row is locked; an empty `etag` is that of what
    has none.

    Tags are compared without their `W/`: the load balancers make each tag weak, so a strong
    comparison would refuse every caller. A tag is a digest of the answer, so equal ones mean equal
    answers.
    """
    given = request.headers.get("If-Match")
    if given is None:
        if etag and getattr(settings, "REQUIRE_IF_MATCH", False):
            raise Problem(428, "Say in If-Match which state is to be changed: the ETag of the GET.")
        return
    known = {one.removeprefix("W/") for one in parse_etags(given)}
    if "*" not in known and (not etag or etag.removeprefix("W/") not in known):
        raise Problem(412, "It has been changed since, or has no such ETag: read it again.")
