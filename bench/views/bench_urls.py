"""Two ways to cache what is dear, and a count of its computations."""

import time

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django_redis import get_redis_connection
from scaleout.caching import multi_level_cache

TIMEOUT = 1  # second that a cached value lives
DEAR = 0.1  # seconds that it takes to compute


def dear(way: str) -> str:
    """Take DEAR seconds, and note when."""
    get_redis_connection("default").rpush(f"bench:computed:{way}", time.time())
    time.sleep(DEAR)
    return "dear"


_ours = multi_level_cache(timeout=TIMEOUT, key="bench:dear")(lambda: dear("ours"))


def ours(_request: HttpRequest) -> HttpResponse:
    """Serve the value as the two-level cache has it."""
    return HttpResponse(_ours())


def textbook(_request: HttpRequest) -> HttpResponse:
    """Serve the value as the textbook has it: get; if there is none, compute and set."""
    value = cache.get("bench:dear")
    if value is None:
        value = dear("textbook")
        cache.set("bench:dear", value, TIMEOUT)
    return HttpResponse(value)


def computed(_request: HttpRequest, way: str) -> HttpResponse:
    """Say when the computations of the value began, as seconds since 1970, one in a line."""
    return HttpResponse(b"\n".join(get_redis_connection("default").lrange(f"bench:computed:{way}", 0, -1)))


urlpatterns = [
    path("cached/ours/", ours),
    path("cached/textbook/", textbook),
    path("computed/<str:way>/", computed),
]
