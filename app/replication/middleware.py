"""One trail for each request: what it must have seen comes in, what it has written goes out."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import BadRequest
from django.db import InterfaceError, OperationalError, connections
from django.http import HttpRequest, HttpResponse

from replication import causal, lsn, metrics, routing, state

COOKIE = "read_after"
# Seconds that a browser remembers a write. Longer than a replica may lag before it is left out anyway.
REMEMBERED = 60


class ReplicationMiddleware:
    """Hand the position of the caller's last write through, and repeat a read once when its server died under it.

    A browser carries the position in a cookie, any other caller in `X-Read-After`: take it from the answer to a write
    and send it with the reads that must see that write. `X-Database` names the aliases that were
    asked, `X-Database-Server` the server that each one led to, in the same order.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request. Raises BadRequest for an `X-Read-After` that is no position."""
        trail = state.begin(_position_of(request))
        response = self.get_response(request)
        if trail.wrote:
            after = causal.position()
            response[causal.HEADER] = lsn.render(after)
            secure = request.is_secure()
            response.set_cookie(COOKIE, str(after), REMEMBERED, httponly=True, samesite="Lax", secure=secure)
        elif trail.after and causal.HEADER not in response:  # a later one may come from another service
            response[causal.HEADER] = lsn.render(trail.after)
        for alias, number in trail.queries.items():
            metrics.queries.labels(alias).inc(number)
        if trail.queries and getattr(settings, "EXPOSE_TOPOLOGY", False):
            response["X-Database"] = ",".join(trail.queries)
            response["X-Database-Server"] = ",".join(trail.servers[alias] for alias in trail.queries)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Run the view again if a read failed for want of its server.

        This is safe because nothing was written, and of use because the lost server is left out from now on.
        """
        match, trail = request.resolver_match, state.current()
        if (
            match is None
            or request.method not in ("GET", "HEAD")
            or not isinstance(exception, OperationalError | InterfaceError)
            or trail.wrote
            or any(connection.in_atomic_block for connection in connections.all(initialized_only=True))
        ):
            return None
        _leave_out_what_broke()
        trail.replica, trail.primary_said = routing.second_choice(), True
        try:
            response = match.func(request, *match.args, **match.kwargs)
        except (OperationalError, InterfaceError):
            metrics.second_tries.labels("failed").inc()
            return None  # the first failure is the one that is reported
        metrics.second_tries.labels("answered").inc()
        assert isinstance(response, HttpResponse)  # noqa: S101 - for mypy; views return nothing else
        return response


def _position_of(request: HttpRequest) -> int:
    try:
        after = lsn.parse(request.headers[causal.HEADER]) if causal.HEADER in request.headers else 0
    except ValueError:
        raise BadRequest(f"{causal.HEADER} is not a position") from None
    # A browser cannot help what is in its cookie: a bad one is as good as none.
    cookie = request.COOKIES.get(COOKIE, "")
    if cookie.isascii() and cookie.isdigit() and len(cookie) <= len(str(lsn.MAXIMUM)):
        after = max(after, min(int(cookie), lsn.MAXIMUM))
    return after


def _leave_out_what_broke() -> None:
    for connection in connections.all(initialized_only=True):
        cluster, host = getattr(connection, "cluster", None), getattr(connection, "host", None)
        if cluster is not None and host is not None and connection.connection and connection.connection.closed:
            cluster.suspect(host)
    connections.close_all()
