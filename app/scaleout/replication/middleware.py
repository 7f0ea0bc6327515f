"""One trail for each request: it begins with the position of the caller, and ends with that of its
writes.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from http import HTTPStatus

from django.core.exceptions import BadRequest
from django.core.handlers.exception import response_for_exception
from django.db import InterfaceError, OperationalError, connections
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from scaleout.replication import causal, lsn, metrics, positions, quorum, state
from scaleout.replication.conf import conf

log = logging.getLogger(__name__)

COOKIE = "read_after"
_META = f"HTTP_{causal.HEADER.upper().replace('-', '_')}"
_NAME = re.compile(rf"{COOKIE}(_[0-9a-f]{{1,16}})?")
# Seconds that a browser keeps a position: longer than a replica may lag before it is removed.
REMEMBERED = 60


class ReplicationMiddleware:
    """Pass the position of the caller's last write on, and repeat a read whose server has died.

    A browser carries the position in a cookie, any other caller in `X-Read-After`: take it from the
    answer to a write and send it with the reads that must see that write. `X-Database` names the
    aliases that were queried, `X-Database-Server` the server of each, in the same order.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._positions = positions.from_settings()

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request. Raises BadRequest for a malformed `X-Read-After`."""
        trail = self._begin(request)
        response = self.get_response(request)
        if _may_repeat(request, response, trail):
            _remove_what_broke()
            trail.replica, trail.host = None, None
            trail.done.again, trail.done.failed = True, False
            response = self.get_response(request)
            outcome = "failed" if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR else "answered"
            metrics.second_tries.labels(outcome).inc()
        if _in_doubt(response, trail):
            response = _unconfirmed(request)
            if trail.wrote:
                # The next read shows whether the write is stored. The primary is not asked: it may
                # be the one that hangs.
                self._hand_out(request, response, lsn.MAXIMUM)
        elif trail.wrote:
            self._hand_out(request, response, causal.position())
        elif trail.after and causal.HEADER not in response:  # a later one may come from another service
            response[causal.HEADER] = lsn.render(trail.after)
        queries = trail.done.queries.copy()
        for alias, number in queries.items():
            metrics.queries.labels(alias).inc(number)
        if queries and conf().expose_topology:
            response["X-Database"] = ",".join(queries)
            response["X-Database-Server"] = ",".join(trail.done.servers.get(alias, "") for alias in queries)
        return response

    def _begin(self, request: HttpRequest) -> state.Trail:
        """Begin with the position that the caller names; if it names none, with that of its user's
        last write.

        A request that may write reads the primary in the second case: so it costs one question to
        Redis, at its end.
        """
        after, kept = _position_of(request), self._positions
        pinned = False
        if kept is not None and not after:
            if request.method in ("GET", "HEAD"):
                after = kept.of(request)
            else:
                pinned = kept.known(request)
        trail = state.begin(causal.bounded(after))
        trail.on_primary = pinned
        trail.done.in_request = True
        return trail

    def _hand_out(self, request: HttpRequest, response: HttpResponse, after: int) -> None:
        """Give the position of a write to the caller, and keep it for its user."""
        _set(request, response, after)
        if self._positions is not None:
            self._positions.keep(request, after)

    def process_exception(self, _request: HttpRequest, exception: Exception) -> None:
        """Record a failure that no query has recorded, such as that of a connection of another
        backend.
        """
        if isinstance(exception, OperationalError | InterfaceError):
            state.current().done.failed = True


def _may_repeat(request: HttpRequest, response: HttpResponseBase, trail: state.Trail) -> bool:
    """Return whether the whole request may run again: a read lost its server, and nothing else
    happened.

    An answer that fails after its beginning counts as a good one here: it is never repeated.
    """
    if not trail.done.failed or response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return False
    against = {
        "its method may change something": request.method not in ("GET", "HEAD"),
        "it wrote, or sent a task": not trail.done.repeatable or trail.done.lost,
        "a thread of unknown origin wrote": trail.wrote,
        "it is inside a transaction": any(one.in_atomic_block for one in connections.all(initialized_only=True)),
    }
    reason = next((reason for reason, holds in against.items() if holds), "")
    if reason:
        log.info("request not repeated after its database was lost: %s", reason)
    return not reason


def _in_doubt(response: HttpResponseBase, trail: state.Trail) -> bool:
    """Return whether a write may be stored that `response` does not report.

    A view that catches the loss of its server and answers with success has checked that itself.
    """
    return trail.done.unconfirmed or (trail.done.lost and response.status_code >= HTTPStatus.BAD_REQUEST)


def _unconfirmed(request: HttpRequest) -> HttpResponse:
    """Return the project's answer to quorum.Unconfirmed, in place of the view's."""
    try:
        raise quorum.Unconfirmed(quorum.Unconfirmed.detail)
    except quorum.Unconfirmed as error:
        return response_for_exception(request, error)


def _set(request: HttpRequest, response: HttpResponse, after: int) -> None:
    """Set the header and the cookies of a write's position.

    A browser may write twice at once, and the answer with the older position may arrive last. So
    each position has a cookie of its own, beside the one that says that this browser has written,
    and the browser keeps both.
    """
    response[causal.HEADER] = lsn.render(after)
    for name in (COOKIE, f"{COOKIE}_{after:x}"):
        response.set_cookie(name, str(after), REMEMBERED, httponly=True, samesite="Lax", secure=request.is_secure())
    for name, _ in _cookies(request):
        if name not in response.cookies:
            response.delete_cookie(name, samesite="Lax")


def _cookies(request: HttpRequest) -> list[tuple[str, str]]:
    return [(name, value) for name, value in request.COOKIES.items() if _NAME.fullmatch(name)]


def _position_of(request: HttpRequest) -> int:
    try:
        after = lsn.parse(request.META[_META]) if _META in request.META else 0
    except ValueError:
        raise BadRequest(f"{causal.HEADER} is not a position") from None
    # A user cannot repair a cookie: a malformed one is ignored.
    for _, cookie in _cookies(request):
        if cookie.isascii() and cookie.isdigit() and len(cookie) <= len(str(lsn.MAXIMUM)):
            after = max(after, min(int(cookie), lsn.MAXIMUM))
    return after


def _remove_what_broke() -> None:
    for connection in connections.all(initialized_only=True):
        cluster, host = getattr(connection, "cluster", None), getattr(connection, "host", None)
        if cluster is not None and host is not None and connection.connection and connection.connection.closed:
            cluster.suspect(host)
    connections.close_all()
