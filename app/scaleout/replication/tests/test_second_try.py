"""A read whose server dies under it is run once more as a whole, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.conf import LazySettings
from django.db import OperationalError, connections, router
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test import Client
from django.urls import path

from scaleout.replication import at_least
from scaleout.replication.tests.test_router import Product

pytestmark = pytest.mark.django_db(databases="__all__", transaction=True)

runs: list[str] = []


def cut(alias: str) -> None:
    """End the server's side of the connection of `alias`, from outside."""
    connections[alias].ensure_connection()
    settings = connections[alias].settings_dict
    with psycopg.connect(
        host=settings["HOST"],
        port=settings["PORT"],
        user=settings["USER"],
        password=settings["PASSWORD"],
        dbname=settings["NAME"],
        autocommit=True,
    ) as other:
        other.execute("SELECT pg_terminate_backend(%s, 30000)", [connections[alias].connection.info.backend_pid])


def read() -> str:
    """Read where the router says, over a connection that has been cut if this is the first run."""
    alias = router.db_for_read(Product)
    runs.append(alias)
    if len(runs) == 1:
        cut(alias)
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")
    return alias


def plain(_request: HttpRequest) -> HttpResponse:
    """Read in the view."""
    return HttpResponse(read())


def template(request: HttpRequest) -> TemplateResponse:
    """Read while the template renders, as ListView does."""
    rows = (read() for _ in range(1))
    shown = engines["django"].from_string("{% for row in rows %}{{ row }}{% endfor %}")
    return TemplateResponse(request, shown, {"rows": rows})


async def asynchronous(request: HttpRequest) -> HttpResponse:
    """Read in a view that is a coroutine."""
    return await sync_to_async(plain)(request)


def handled(_request: HttpRequest) -> HttpResponse:
    """Answer 503 without an exception that leaves the view."""
    try:
        return HttpResponse(read())
    except OperationalError:
        return HttpResponse(status=503)


def block(_request: HttpRequest) -> HttpResponse:
    """Read in a block that chooses a server by itself, as what is cached does."""
    with at_least(1):
        return HttpResponse(read())


def streamed(_request: HttpRequest) -> StreamingHttpResponse:
    """Read when the answer has begun."""

    def parts() -> Iterator[str]:
        yield "begun"
        yield read()

    return StreamingHttpResponse(parts())


def write_shard(_request: HttpRequest) -> HttpResponse:
    """Write to a shard, then read."""
    with connections["shard0"].cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE written () ON COMMIT DROP")
    return HttpResponse(read())


def in_transaction(_request: HttpRequest) -> HttpResponse:
    """Say whether the view runs in a transaction."""
    read()
    return HttpResponse(str(connections["default"].in_atomic_block))


def reads_before(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Return a middleware that reads."""

    def middleware(request: HttpRequest) -> HttpResponse:
        read()
        return get_response(request)

    return middleware


def nothing(_request: HttpRequest) -> HttpResponse:
    """Answer."""
    return HttpResponse("answered")


urlpatterns = [
    path(view.__name__, view)
    for view in (plain, template, asynchronous, handled, block, streamed, write_shard, in_transaction, nothing)
]


@pytest.fixture(autouse=True)
def fresh(settings: LazySettings) -> Iterator[None]:
    settings.ROOT_URLCONF = __name__
    runs.clear()
    yield
    connections.close_all()


@pytest.mark.parametrize("name", ["plain", "template", "asynchronous", "handled", "block"])
@pytest.mark.parametrize("method", ["get", "head"])
def test_a_read_is_run_once_more_on_the_primary(settings: LazySettings, name: str, method: str) -> None:
    answer = getattr(Client(), method)(f"/{name}")
    assert answer.status_code == 200
    assert len(runs) == 2
    assert runs[0] in settings.REPLICATION["REPLICAS"]
    assert runs[1] == "default"
    if method == "get":
        assert answer.content == b"default"


def test_a_read_of_a_middleware_is_run_once_more_with_the_rest(settings: LazySettings) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.reads_before"]
    client = Client(raise_request_exception=False)
    assert client.get("/nothing").content == b"answered"
    assert len(runs) == 2


def test_the_second_run_is_in_a_transaction_where_the_first_one_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    assert Client().get("/in_transaction").content == b"True"
    assert len(runs) == 2


def test_an_answer_that_has_begun_is_not_repeated() -> None:
    answer: Any = Client().get("/streamed")
    with pytest.raises(OperationalError):
        list(answer.streaming_content)
    assert len(runs) == 1


def test_a_read_that_wrote_to_any_database_is_not_repeated() -> None:
    assert Client().get("/write_shard").status_code == 503
    assert len(runs) == 1


def test_what_may_change_something_by_its_method_is_not_repeated() -> None:
    assert Client().post("/plain").status_code == 503
    assert len(runs) == 1
