"""Views of every kind, as the middleware meets them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponsePermanentRedirect,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.urls import path
from django.views.decorators.cache import cache_control, never_cache

from scaleout.cdn import personal, public, revalidated

kept = public(max_age=30, stale_while_revalidate=30, stale_if_error=3600, tags=lambda: ["product:7", "a b", "*"])


def data(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"answer": 42})


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<p>42</p>")


def echo(request: HttpRequest) -> HttpResponse:
    """Answer with the body that the caller asks for: one path, many bodies."""
    return HttpResponse(request.headers["X-Body"])


def _with(change: Callable[[HttpRequest, HttpResponse], Any]) -> Callable[[HttpRequest], HttpResponse]:
    def view(request: HttpRequest) -> HttpResponse:
        response = data(request)
        change(request, response)
        return response

    return kept(view)


def missing(request: HttpRequest) -> HttpResponse:
    raise Http404


def refused(request: HttpRequest) -> HttpResponse:
    return HttpResponse("no", status=400)


def moved(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect("/page")


def moved_for_good(request: HttpRequest) -> HttpResponse:
    return HttpResponsePermanentRedirect("/page")


def streamed(request: HttpRequest) -> HttpResponseBase:
    return StreamingHttpResponse([b"42"])


class PassedOn(StreamingHttpResponse):
    """As the gateway's: a service's answer with the service's own header."""

    passed_on = True


def service(request: HttpRequest) -> HttpResponseBase:
    headers = {key: value for key, value in request.GET.items() if key != "status"}
    return PassedOn([b"42"], status=int(request.GET.get("status", "200")), headers=headers)


urlpatterns = [
    path("public", kept(data)),
    path("public/page", kept(page)),
    path("public/by-browsers", public(max_age=30, browser=5)(data)),
    path("public/echo", kept(echo)),
    path("public/reads-session", _with(lambda request, _: request.session.get("visits"))),
    path("public/writes-session", _with(lambda request, _: request.session.__setitem__("visits", 1))),
    path("public/sets-cookie", _with(lambda _, response: response.set_cookie("seen", "1"))),
    path("public/varies", _with(lambda _, response: response.headers.__setitem__("Vary", "Accept, cookie"))),
    path("public/wrote", _with(lambda _, response: response.headers.__setitem__("X-Read-After", "0/1"))),
    path("public/missing", kept(missing)),
    path("public/refused", kept(refused)),
    path("public/streamed", kept(streamed)),
    path("public/moved", kept(moved)),
    path("public/moved-for-good", kept(moved_for_good)),
    path("public/many-tags", public(max_age=30, tags=[f"product:{n}" for n in range(2000)])(data)),
    path("data", data),
    path("page", page),
    path("page/personal", personal(page)),
    path("page/moved", moved),
    path("page/moved-for-good", moved_for_good),
    path("data/revalidated", revalidated(data)),
    path("data/never", never_cache(data)),
    path("data/own", cache_control(private=True, max_age=60)(data)),
    path("data/shared", cache_control(public=True, max_age=60)(data)),
    path("service", service),
]
