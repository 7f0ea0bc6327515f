"""`If-Match`: a change is made only to what its author has seen (RFC 9110, 13.1.1; RFC 6585, 3)."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.http import parse_etags

from scaleout.problems.conf import conf
from scaleout.problems.responses import Problem


def require_match(request: HttpRequest, etag: str) -> None:
    """Raise Problem 412 if `If-Match` names another state than `etag`.

    Raise 428 if it is missing and `PROBLEMS["REQUIRE_IF_MATCH"]` is set. Call it where the row is
    locked; `etag` is empty for a resource that does not exist.

    Tags are compared without their `W/`: the load balancers make each tag weak, so a strong
    comparison would refuse every caller. A tag is a digest of the answer, so equal tags mean equal
    answers.
    """
    given = request.headers.get("If-Match")
    if given is None:
        if etag and conf().require_if_match:
            raise Problem(428, "If-Match is missing. Send the ETag of your last GET in it.")
        return
    known = {one.removeprefix("W/") for one in parse_etags(given)}
    if "*" not in known and (not etag or etag.removeprefix("W/") not in known):
        raise Problem(412, "The resource has changed since your last GET. Read it again.")
