"""The view: any method, any path below /api/."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from django.conf import settings
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string
from django.views.decorators.csrf import csrf_exempt
from django_redis import get_redis_connection

from scaleout.base.problem import problem_response
from scaleout.gateway.client import deadline
from scaleout.gateway.client.errors import Failed, Refused
from scaleout.gateway.client.exchange import Answer, Request
from scaleout.gateway.client.headers import Headers
from scaleout.gateway.client.service import Policy, Service
from scaleout.gateway.conf import conf
from scaleout.gateway.edge import headers, metrics, target
from scaleout.gateway.edge.documents import Document, Missing, fetch, merge
from scaleout.gateway.edge.rate import Rate
from scaleout.gateway.edge.upload import Upload

log = logging.getLogger(__name__)

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_FAILURES = {
    502: "The service {name!r} gave no valid answer.",
    503: "The service {name!r} does not answer at the moment.",
    504: "The service {name!r} did not answer in time.",
}


_READ_HERE = frozenset({"cache-control", "vary"})


class PassedOn(StreamingHttpResponse):
    """The unchanged answer of a service: no middleware rewrites its problems or its text."""

    passed_on = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer, status=answer.status, reason=answer.reason or None)  # closes it in the end
        del self.headers["Content-Type"]  # Django's default, if the service has sent none
        self._repeated: Headers = []
        for header, value in answer.headers:
            if header in self.headers and header.lower() in _READ_HERE:
                self.headers[header] += f", {value}"  # the same (RFC 9110, 5.3), and seen whole by the middleware
            elif header in self.headers:
                self._repeated.append((header, value))
            else:
                self.headers[header] = value

    def items(self) -> Any:
        """Return the headers; a repeated one, such as Set-Cookie, is sent as often."""
        return [*self.headers.items(), *self._repeated]


class Gateway:
    """The services of a site, and the rate limit of their callers."""

    def __init__(self, services: dict[str, Service], policy: Policy, rate: Rate | None, most_body: int) -> None:
        self._services, self._policy, self._rate, self._most_body = services, policy, rate, most_body
        self._caller: Callable[[HttpRequest], str] = import_string(conf().caller)
        self._headers: Callable[[], dict[str, str]] = import_string(path) if (path := conf().headers) else dict

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request."""
        until = time.monotonic() + self._policy.total
        name, extra = "", dict[str, str]()
        try:
            raw = target.of(request)
            name = target.service(raw, self._services)
            if request.method not in _METHODS:
                raise Refused(405, "method", "This method is not allowed.", {"Allow": ", ".join(_METHODS)})
            self._count(request, extra)
            response: HttpResponseBase = PassedOn(self._call(request, raw, name, until))
        except Refused as refused:
            metrics.rejections.labels(name, refused.reason).inc()
            response = problem_response(request, refused.status, refused.detail, refused.headers)
        except Failed as failure:
            after = {"Retry-After": "1"} if failure.status == 503 else {}
            response = problem_response(request, failure.status, _FAILURES[failure.status].format(name=name), after)
        if name:
            metrics.requests.labels(name, str(response.status_code)).inc()
        for header, value in extra.items():
            theirs = response.headers.get(header)  # a list, to which a service may add policies of its own
            response.headers[header] = f"{value}, {theirs}" if theirs else value
        return response

    def documents(self, seconds: float) -> tuple[Document, list[str]]:
        """Return the services' OpenAPI documents as one, and the services without one. Each has
        `seconds`.
        """
        found, missing = dict[str, Document](), list[str]()
        for name, service in self._services.items():
            try:
                found[name] = fetch(service, seconds)
            except Missing as error:
                log.warning("OpenAPI document missing: %s", error)
                missing.append(name)
        return merge(found), missing

    def refuses(self, request: HttpRequest) -> int | None:
        """Count a request that the site itself answers; return the seconds to wait, None
        for now.
        """
        quota = self._rate.take(self._caller(request)) if self._rate else None
        return None if quota is None or quota.allowed else quota.seconds

    def _count(self, request: HttpRequest, extra: dict[str, str]) -> None:
        quota = self._rate.take(self._caller(request)) if self._rate else None
        if quota is None or self._rate is None:
            return
        extra.update(self._rate.headers(quota))
        if not quota.allowed:
            after = {"Retry-After": str(quota.seconds)}
            raise Refused(429, "rate", "Too many requests. Retry after the seconds in Retry-After.", after)

    def _call(self, request: HttpRequest, raw: str, name: str, until: float) -> Answer:
        upload = Upload(request.META, self._most_body)
        if deadline.caller_gone(request.META):
            raise Refused(504, "gone", "The caller has closed the connection.")
        passed = headers.to_service(request.META, self._headers())
        if sock := request.META.get("gunicorn.socket"):
            # The wait for the caller is bounded too: its call may hold a place.
            sock.settimeout(self._policy.piece)
        started = time.monotonic()
        try:
            return self._services[name].call(Request(str(request.method), raw, passed, upload), until)
        finally:
            metrics.seconds.labels(name).observe(time.monotonic() - started)


_building = threading.Lock()


def gateway() -> Gateway:
    """Return the gateway of this process, the same for all threads, made at the first request."""
    with _building:
        return _from_settings()


@cache
def _from_settings() -> Gateway:
    wanted = conf()
    policy = Policy(concurrency=wanted.concurrency, waiting=wanted.waiting, probe=wanted.probe)
    services = {}
    for name, url in wanted.services.items():
        services[name] = Service.at(name, url, policy)
    rate = None
    if wanted.rate:
        rate = Rate(wanted.rate, 60, partial(get_redis_connection, wanted.cache))
    return Gateway(services, policy, rate, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)


@csrf_exempt  # the services have no sessions: each request names its caller
def forward(request: HttpRequest) -> HttpResponseBase:
    """Pass the request on to the service that its path names."""
    return gateway()(request)
