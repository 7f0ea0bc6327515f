"""Views that say where they read, and that they write nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import LazySettings
from django.db import connections, router
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test import Client
from django.urls import path
from django.views import View

from scaleout.replication import PrimaryMixin, ReadOnlyMixin, read_only, use_primary
from scaleout.replication.tests.test_router import Product
from scaleout.replication.views import WriteRefused

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)


def where() -> str:
    """Return the alias that a read goes to now."""
    return router.db_for_read(Product)


def write(alias: str = "default") -> str:
    """Write where a replica would refuse it, or to a shard."""
    with connections[alias].cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE written () ON COMMIT DROP")
    return "written"


def late(request: HttpRequest, call: Callable[[], str]) -> TemplateResponse:
    """Call while the template renders."""
    return TemplateResponse(request, engines["django"].from_string("{{ call }}"), {"call": call})


@use_primary
def pinned(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(where())


@use_primary
def pinned_late(request: HttpRequest) -> TemplateResponse:
    return late(request, where)


@use_primary
async def pinned_async(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(where())


@read_only
def quiet(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(where())


@read_only
def loud(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(write())


@read_only
def loud_shard(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(write("shard1"))


@read_only
def loud_late(request: HttpRequest) -> TemplateResponse:
    return late(request, write)


@read_only
async def loud_async(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(await sync_to_async(write)())


class Pinned(PrimaryMixin, View):
    def get(self, _request: HttpRequest) -> HttpResponse:
        return HttpResponse(where())


class Loud(ReadOnlyMixin, View):
    def get(self, _request: HttpRequest) -> HttpResponse:
        return HttpResponse(write())


def after(_request: HttpRequest) -> HttpResponse:
    """Write after a view that promised not to."""
    quiet(_request)
    return HttpResponse(write())


FUNCTIONS: list[Any] = [pinned, pinned_late, pinned_async, quiet, loud, loud_shard, loud_late, loud_async, after]
urlpatterns = [
    *(path(view.__name__, view) for view in FUNCTIONS),
    path("Pinned", Pinned.as_view()),
    path("Loud", Loud.as_view()),
]


@pytest.fixture(autouse=True)
def routes(settings: LazySettings) -> Iterator[None]:
    settings.ROOT_URLCONF = __name__
    yield
    connections.close_all()


@pytest.mark.parametrize("name", ["pinned", "pinned_late", "pinned_async", "Pinned"])
def test_a_pinned_view_reads_the_primary(name: str) -> None:
    assert Client().get(f"/{name}").content == b"default"


def test_the_next_request_reads_a_replica(settings: LazySettings) -> None:
    assert Client().get("/pinned").content == b"default"
    assert Client().get("/quiet").content.decode() in settings.REPLICATION["REPLICAS"]


@pytest.mark.parametrize("name", ["loud", "loud_shard", "loud_late", "loud_async", "Loud"])
def test_a_view_that_promised_to_write_nothing_is_refused_to_write(name: str) -> None:
    with pytest.raises(WriteRefused, match="CREATE TEMPORARY TABLE"):
        Client().get(f"/{name}")


def test_the_promise_ends_with_its_view() -> None:
    assert Client().get("/after").content == b"written"
