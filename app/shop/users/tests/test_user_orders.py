"""A user with orders, and without them while the orders service is down. It is a real server."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from django.test import Client
from pytest_django import Settings
from scaleout.identity import tokens
from scaleout.replication import metrics
from scaleout.sharding.shard_map import current
from waiting import in_time

from shop import services
from shop.services.tests import servers
from shop.users import accounts
from shop.users.models import User

ALIASES = ("default", "shard0", "shard1", "shard2")
pytestmark = [
    pytest.mark.django_db(transaction=True, databases=list(ALIASES)),
    pytest.mark.usefixtures("shards"),
]


@pytest.fixture(autouse=True)
def _service(settings: Settings) -> None:
    settings.ROOT_URLCONF = "shop.users.tests.urls"


@pytest.fixture
def user() -> User:
    return accounts.register("ada@example.org", "Ada", "long enough")


def page(client: Client, user: User) -> dict[str, object]:
    headers = {"authorization": f"Bearer {tokens.for_user(user.id, is_staff=False)}"}
    answer = client.get(f"/api/users/{user.id}/orders", headers=headers)
    assert answer.status_code == 200
    shown: dict[str, object] = answer.json()
    assert shown["user"] == {"id": user.id, "email": "ada@example.org", "name": "Ada"}
    return shown


def test_the_orders_are_those_that_the_orders_service_gives_for_this_user(
    client: Client, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = [{"id": 7, "user_id": user.id, "items": [], "total": 100}]
    asked: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        asked.append(servers.request(connection))
        body = json.dumps({"items": orders, "next": None}).encode()
        connection.sendall(servers.HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    with servers.serving(behave) as url:
        monkeypatch.setattr(services, "address", lambda service: url if service == "orders" else "")
        shown = page(client, user)
    assert (shown["orders"], shown["orders_available"]) == (orders, True)
    assert asked[0].startswith(b"GET /api/orders/?user_id=%d&" % user.id)


@pytest.mark.parametrize("count", [0, 1, 50])
def test_the_page_takes_one_query_and_one_call_however_many_orders_there_are(
    client: Client, user: User, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    orders = [{"id": number, "user_id": user.id, "items": [], "total": 100} for number in range(count)]
    asked: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        asked.append(servers.request(connection))
        connection.sendall(servers.HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def queries() -> dict[str, float]:
        return {alias: metrics.queries.labels(alias)._value.get() for alias in ALIASES}

    body = json.dumps({"items": orders, "next": None}).encode()
    before = queries()
    with servers.serving(behave) as url:
        monkeypatch.setattr(services, "address", lambda _service: url)
        assert page(client, user)["orders"] == orders
    grown = {alias: now - before[alias] for alias, now in queries().items()}
    assert grown == dict.fromkeys(ALIASES, 0) | {current().alias_for(user.id): 1}
    assert len(asked) == 1


AWAY: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "closed port": servers.closed_port,
    "takes no connection": servers.unreachable,
    "hangs": lambda: servers.serving(servers.hang),
    "hangs up": lambda: servers.serving(servers.reset),
    "trickles": lambda: servers.serving(servers.trickle),
    "unavailable": lambda: servers.serving(servers.answer(b"{}", b"HTTP/1.1 503 Oh\r\n")),
    "does not believe us": lambda: servers.serving(servers.answer(b"{}", b"HTTP/1.1 401 No\r\n")),
    "no list": lambda: servers.serving(servers.answer(b'{"items": null}')),
    "no object": lambda: servers.serving(servers.answer(b"[]")),
}


@pytest.mark.parametrize("how", AWAY)
def test_without_the_orders_service_the_page_comes_without_orders_and_soon(
    client: Client, user: User, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    with AWAY[how]() as url:
        monkeypatch.setattr(services, "address", lambda _service: url)
        with in_time():
            shown = page(client, user)
    assert (shown["orders"], shown["orders_available"]) == ([], False)


def test_an_unresolvable_orders_service_is_unavailable_too(client: Client, user: User) -> None:
    with in_time():
        assert page(client, user)["orders_available"] is False
