"""The orders service: one order per key, prices from the products service, access by its user.

The products service is the real one, in a thread of these tests on its own port.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer
from requests import PreparedRequest, Response
from scaleout.gateway import Policy, Service, ServiceSession, deadline
from scaleout.identity import keys, tokens
from scaleout.replication import metrics
from scaleout.sharding import shard_map
from scaleout.sharding.ids import LARGEST, bucket_of, compose
from scaleout.sharding.shard_map import current
from waiting import in_time

from shop import services
from shop.orders import products
from shop.orders.models import USER_EVENTS, Inbox, Order, OrderItem
from shop.products.models import Category, Product
from shop.services import calls
from shop.services.tests import servers

ALIASES = ("shard0", "shard1", "shard2")
pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "replica1", "replica2", *ALIASES]),
    pytest.mark.usefixtures("shards"),
]
ORDERS = "/api/orders/"
ADA, EVE = compose(1 << 20, 7), compose(1 << 20, 400)


@pytest.fixture(autouse=True)
def _service(settings: Settings) -> None:
    """Run as the orders service."""
    settings.ROOT_URLCONF = "shop.orders.tests.urls"
    users = settings.IDENTITY
    signer, _ = settings.KEYS["orders"]
    settings.IDENTITY = {"KEYRING": keys.Keyring("orders", signer, users["KEYRING"].trusted)}
    settings.USERS = users


@pytest.fixture
def shop(live_server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The products service, and a function that creates a product and returns its id."""
    monkeypatch.setattr(services, "address", lambda _service: live_server.url)
    category = Category.objects.create(slug="tents", name="Tents")

    def make(price: int = 1250, currency: str = "EUR") -> int:
        sku = f"SKU-{Product.objects.count()}"
        made = Product.objects.create(sku=sku, name=sku, category=category, price_amount=price, currency=currency)
        return int(made.pk)

    return make


def bearer(settings: Settings, user_id: int, *, staff: bool = False) -> dict[str, str]:
    """Return the header with a token that the users service has made."""
    mine, settings.IDENTITY = settings.IDENTITY, settings.USERS
    try:
        return {"authorization": f"Bearer {tokens.for_user(user_id, is_staff=staff)}"}
    finally:
        settings.IDENTITY = mine


def place(client: Client, headers: dict[str, str], items: Any, key: str = "key") -> Any:
    body = items if isinstance(items, bytes) else json.dumps({"items": items})
    return client.post(ORDERS, body, content_type="application/json", headers={**headers, "idempotency-key": key})


def item(product_id: int, quantity: int = 1) -> dict[str, int]:
    return {"product_id": product_id, "quantity": quantity}


def assert_problem(answer: Any, status: int, says: str = "") -> None:
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert says in answer.json()["detail"]


# ── placing ───────────────────────────────────────────────────────────────────────────────────────
def test_an_order_has_the_prices_of_the_products_service(
    client: Client, settings: Settings, shop: Callable[..., int]
) -> None:
    first, second = shop(1250), shop(400)
    answer = place(client, bearer(settings, ADA), [item(first, 2), item(second)])
    assert answer.status_code == 201
    order = answer.json()
    assert {name: order[name] for name in ("user_id", "status", "total", "currency", "archived", "items")} == {
        "user_id": ADA,
        "status": "placed",
        "total": 2900,
        "currency": "EUR",
        "archived": False,
        "items": [
            {"product_id": first, "quantity": 2, "unit_price": 1250},
            {"product_id": second, "quantity": 1, "unit_price": 400},
        ],
    }
    assert client.get(f"{ORDERS}{order['id']}", headers=bearer(settings, ADA)).json() == order
    assert bucket_of(order["id"]) == bucket_of(ADA)


def test_the_prices_of_a_long_order_take_one_call(
    client: Client, settings: Settings, shop: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, asked, send = [shop(100 + number) for number in range(50)], [], ServiceSession.send

    def counted(session: ServiceSession, request: PreparedRequest, **more: Any) -> Response:
        asked.append(request.url)
        return send(session, request, **more)

    monkeypatch.setattr(ServiceSession, "send", counted)
    answer = place(client, bearer(settings, ADA), [item(one) for one in made])
    assert answer.status_code == 201, answer.content
    assert answer.json()["total"] == sum(100 + number for number in range(50))
    assert len(asked) == 1
    answer = place(client, bearer(settings, ADA), [item(one) for one in (*made[1:], made[-1] + 1)], key="other")
    assert_problem(answer, 400, f"Product {made[-1] + 1} does not exist.")


def test_a_deleted_user_places_no_order_with_a_valid_token(
    client: Client, settings: Settings, shop: Callable[..., int]
) -> None:
    product = shop()
    before = place(client, bearer(settings, ADA), [item(product)], key="before")
    Inbox.objects.create(user_id=ADA, consumer=USER_EVENTS, event_id=uuid.uuid4())
    assert_problem(place(client, bearer(settings, ADA), [item(product)], key="after"), 403)
    assert Order.objects.for_user(ADA).count() == 1
    again = place(client, bearer(settings, ADA), [item(product)], key="before")
    assert (again.status_code, again.json()["id"]) == (200, before.json()["id"])
    assert place(client, bearer(settings, EVE), [item(product)]).status_code == 201


def test_no_order_is_placed_after_the_callers_deadline(
    client: Client, settings: Settings, shop: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "scaleout.gateway.DeadlineMiddleware"]
    headers, items = {**bearer(settings, ADA), "x-deadline": "20"}, [item(shop())]
    with monkeypatch.context() as patch:
        patch.setattr(
            products, "remember", lambda _prices: deadline._until.set(0.0)
        )  # the call to products took so long
        answer = place(client, headers, items)
    assert_problem(answer, 503, "same key")
    assert answer["Retry-After"] == "1"
    assert not Order.objects.for_user(ADA).exists()
    assert place(client, headers, items).status_code == 201


def test_the_same_key_again_is_the_same_order_though_the_price_has_changed_and_the_product_is_gone(
    client: Client, settings: Settings, shop: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    product = shop(1250)
    made = place(client, bearer(settings, ADA), [item(product)])
    Product.objects.all().delete()
    with servers.closed_port() as url:
        monkeypatch.setattr(services, "address", lambda _service: url)
        again = place(client, bearer(settings, ADA), [item(product)])
    assert (made.status_code, again.status_code) == (201, 200)
    assert again.json() == made.json()


def test_the_same_key_with_other_items_is_422_and_changes_nothing(
    client: Client, settings: Settings, shop: Callable[..., int]
) -> None:
    product, other = shop(), shop()
    place(client, bearer(settings, ADA), [item(product)])
    for items in ([item(product, 2)], [item(other)], [item(product), item(other)]):
        assert_problem(place(client, bearer(settings, ADA), items), 422)
    assert OrderItem.objects.filter(order_id__in=[one.id for one in Order.objects.for_user(ADA)]).count() == 1


def test_a_key_belongs_to_one_user(client: Client, settings: Settings, shop: Callable[..., int]) -> None:
    product = shop()
    first = place(client, bearer(settings, ADA), [item(product)])
    second = place(client, bearer(settings, EVE), [item(product)])
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long time-outs: twenty callers and the products service share one process."""
    monkeypatch.setattr(products, "SECONDS", 20.0)
    policy = Policy(connect=20.0, attempt=1.0, concurrency=20)

    def session(addresses: tuple[tuple[str, str], ...]) -> ServiceSession:
        made = ServiceSession(Service.at(name, url, policy) for name, url in addresses)
        made.auth = calls.OnBehalf()
        return made

    monkeypatch.setattr(calls, "_session", cache(session))


@pytest.mark.usefixtures("patient")
def test_of_posts_with_one_key_and_two_bodies_at_once_one_body_makes_each_users_order(
    settings: Settings, shop: Callable[..., int]
) -> None:
    product = shop()
    headers = [bearer(settings, user_id) for user_id in (ADA, EVE)]

    def attempt(number: int) -> tuple[int, int, int]:
        try:
            who, quantity = number % 2, 1 + number // 2 % 2
            return who, quantity, place(Client(), headers[who], [item(product, quantity)]).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(attempt, range(40)))
    for who, user_id in enumerate((ADA, EVE)):
        (order,) = Order.objects.for_user(user_id)
        (line,) = order.items.all()
        for quantity in (1, 2):
            wanted = [201, *[200] * 9] if quantity == line.quantity else [422] * 10
            assert sorted(status for *of, status in answers if of == [who, quantity]) == sorted(wanted)


@pytest.mark.usefixtures("patient")
def test_forty_posts_with_one_key_at_once_make_one_order(settings: Settings, shop: Callable[..., int]) -> None:
    items, headers = [item(shop(), 2), item(shop())], bearer(settings, ADA)

    def attempt(_number: int) -> tuple[int, int]:
        try:
            answer = place(Client(), headers, items)
            return answer.status_code, answer.json()["id"]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(attempt, range(40)))
    assert sorted(status for status, _ in answers) == [*[200] * 39, 201]
    assert len({order_id for _, order_id in answers}) == 1
    assert OrderItem.objects.filter(order_id=answers[0][1]).count() == 2


def test_a_product_that_does_not_exist_is_a_problem_of_the_caller(
    client: Client, settings: Settings, shop: Callable[..., int]
) -> None:
    product = shop()
    assert_problem(place(client, bearer(settings, ADA), [item(product), item(product + 1)]), 400, str(product + 1))
    assert not Order.objects.for_user(ADA).exists()


def test_products_of_two_currencies_are_no_order(client: Client, settings: Settings, shop: Callable[..., int]) -> None:
    assert_problem(place(client, bearer(settings, ADA), [item(shop()), item(shop(5, "JPY"))]), 400, "EUR and JPY")


def test_a_total_above_the_exact_range_of_json_numbers_is_rejected(
    client: Client, settings: Settings, shop: Callable[..., int]
) -> None:
    assert_problem(place(client, bearer(settings, ADA), [item(shop(2**53 - 1), 2)]), 400, "too large")


def price(items: Any) -> Callable[[], AbstractContextManager[str]]:
    return lambda: servers.serving(servers.answer(json.dumps({"items": items, "next": None}).encode()))


AWAY: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "closed port": servers.closed_port,
    "hangs": lambda: servers.serving(servers.hang),
    "trickles": lambda: servers.serving(servers.trickle),
    "has an error": lambda: servers.serving(servers.answer(b"{}", b"HTTP/1.1 500 Oh\r\n")),
    "refuses us": lambda: servers.serving(servers.answer(b"{}", b"HTTP/1.1 429 Too Many Requests\r\n")),
    "no price": price([{"id": 1, "name": "Tent", "price": None}]),
    "no list": lambda: servers.serving(servers.answer(b'{"items": 1}')),
    "no object": lambda: servers.serving(servers.answer(b"[1]")),
    "no product": price([1]),
    "a negative price": price([{"id": 1, "name": "Tent", "price": {"amount": -1, "currency": "EUR"}}]),
    "a price in words": price([{"id": 1, "name": "Tent", "price": {"amount": "much", "currency": "EUR"}}]),
    "half a cent": price([{"id": 1, "name": "Tent", "price": {"amount": 0.5, "currency": "EUR"}}]),
    "no currency": price([{"id": 1, "name": "Tent", "price": {"amount": 1, "currency": None}}]),
    "no name": price([{"id": 1, "name": None, "price": {"amount": 1, "currency": "EUR"}}]),
}


@pytest.mark.parametrize("how", AWAY)
def test_without_a_price_the_answer_is_503_in_time_and_there_is_no_order(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    with AWAY[how]() as url:
        monkeypatch.setattr(services, "address", lambda _service: url)
        with in_time():
            answer = place(client, bearer(settings, ADA), [item(1), item(2), item(3)])
    assert_problem(answer, 503)
    assert answer["Retry-After"] == "1"
    assert not Order.objects.for_user(ADA).exists()


# ── looking ───────────────────────────────────────────────────────────────────────────────────────
def fill(user_id: int, count: int) -> list[int]:
    """Make orders and return their numbers, the latest first."""
    orders = Order.objects.bulk_create(
        Order(user_id=user_id, idempotency_key=str(number), total=number) for number in range(count)
    )
    OrderItem.objects.bulk_create(
        OrderItem(order=order, product_id=number, quantity=1, unit_price=7) for order in orders for number in (1, 2)
    )
    return sorted((order.id for order in orders), reverse=True)


def test_orders_come_in_pages_the_latest_first(client: Client, settings: Settings) -> None:
    made = fill(ADA, 25)
    fill(EVE, 3)
    found, query, pages = [], "", 0
    while pages == 0 or query:
        page = client.get(f"{ORDERS}?limit=10{query}", headers=bearer(settings, ADA)).json()
        found += [order["id"] for order in page["items"]]
        query = f"&cursor={page['next']}" if page["next"] else ""
        pages += 1
    assert (found, pages) == (made, 3)


def test_an_order_of_another_user_is_404(client: Client, settings: Settings) -> None:
    (mine,) = fill(ADA, 1)
    other = client.get(f"{ORDERS}{mine}", headers=bearer(settings, EVE))
    missing = client.get(f"{ORDERS}{mine + 1}", headers=bearer(settings, EVE))
    assert_problem(other, 404)
    assert other.json()["detail"] == missing.json()["detail"]
    assert client.get(ORDERS, headers=bearer(settings, EVE)).json()["items"] == []
    assert_problem(client.get(f"{ORDERS}?user_id={ADA}", headers=bearer(settings, EVE)), 403)


def test_staff_see_the_orders_of_each_user(client: Client, settings: Settings) -> None:
    (mine,) = fill(ADA, 1)
    staff = bearer(settings, EVE, staff=True)
    assert client.get(f"{ORDERS}{mine}", headers=staff).json()["user_id"] == ADA
    assert [one["id"] for one in client.get(f"{ORDERS}?user_id={ADA}", headers=staff).json()["items"]] == [mine]
    assert client.get(ORDERS, headers=staff).json()["items"] == []


def service(settings: Settings, caller: str, audience: str) -> dict[str, str]:
    mine = settings.IDENTITY
    settings.IDENTITY = {"KEYRING": keys.Keyring(caller, settings.KEYS[caller][0], mine["KEYRING"].trusted)}
    try:
        return {"authorization": f"Bearer {tokens.for_service(audience)}"}
    finally:
        settings.IDENTITY = mine


def test_the_users_service_reads_the_orders_of_each_user_and_can_do_nothing_else(
    client: Client, settings: Settings
) -> None:
    (mine,) = fill(ADA, 1)
    users = service(settings, "users", "orders")
    assert [one["id"] for one in client.get(f"{ORDERS}?user_id={ADA}", headers=users).json()["items"]] == [mine]
    assert_problem(client.get(ORDERS, headers=users), 403)
    assert_problem(client.get(f"{ORDERS}{mine}", headers=users), 404)
    assert_problem(place(client, users, [item(1)]), 403)
    assert_problem(
        client.get(f"{ORDERS}?user_id={ADA}", headers=service(settings, "orders", "orders")), 403
    )  # a service, but not one that reads here
    assert_problem(client.get(f"{ORDERS}?user_id={ADA}", headers=service(settings, "users", "products")), 401)


def test_without_a_good_token_everything_is_401(client: Client, settings: Settings) -> None:
    (mine,) = fill(ADA, 1)
    for headers in ({}, {"authorization": "Bearer nonsense"}, {"authorization": "Basic YTpi"}):
        assert_problem(client.get(ORDERS, headers=headers), 401)
        assert_problem(client.get(f"{ORDERS}{mine}", headers=headers), 401)
        assert_problem(place(client, headers, [item(1)]), 401)


@pytest.mark.parametrize("count", [1, 40])
def test_the_number_of_queries_does_not_grow_with_the_orders(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(shard_map, "LEASE", 60.0)  # a slow request would ask for the map's version
    fill(ADA, count)
    shard = current().alias_for(ADA)
    aliases = ("default", "replica1", "replica2", *ALIASES)

    def counted() -> dict[str, float]:
        return {alias: metrics.queries.labels(alias)._value.get() for alias in aliases}

    for headers, query in ((bearer(settings, ADA), ""), (bearer(settings, EVE, staff=True), f"&user_id={ADA}")) * 2:
        before = counted()
        answer = client.get(f"{ORDERS}?limit=200{query}", headers=headers)
        assert len(answer.json()["items"]) == count
        grown = {alias: now - before[alias] for alias, now in counted().items()}
        # The orders and their items in their shard, and the product names.
        assert grown == dict.fromkeys(aliases, 0) | {shard: 2, "default": 1}


# ── shards ────────────────────────────────────────────────────────────────────────────────────────
def test_a_missing_shard_is_503_for_its_own_users_only(
    client: Client, settings: Settings, shop: Callable[..., int]
) -> None:
    product = shop()
    others = [compose(1 << 20, bucket) for bucket in range(0, 1024, 100)]
    assert len({current().alias_for(one) for one in others}) == 3
    lost = connections["shard1"]
    name = lost.settings_dict["NAME"]
    lost.close()
    lost.settings_dict["NAME"] = "no_such_database"
    try:
        for user_id in others:
            headers = bearer(settings, user_id)
            wanted = (503, 503) if current().alias_for(user_id) == "shard1" else (200, 201)
            answers = client.get(ORDERS, headers=headers), place(client, headers, [item(product)])
            assert tuple(answer.status_code for answer in answers) == wanted
            assert {answer.get("Retry-After") for answer in answers} == {"1" if wanted[0] == 503 else None}
    finally:
        lost.close()
        lost.settings_dict["NAME"] = name


def test_an_order_whose_bucket_is_moving_is_503_and_is_placed_when_it_has_moved(
    client: Client, settings: Settings, shop: Callable[..., int]
) -> None:
    items = [item(shop())]

    def block(state: str) -> None:
        with connections[current().alias_for(ADA)].cursor() as cursor:
            cursor.execute("UPDATE sharding_bucket SET state = %s WHERE bucket = %s", [state, bucket_of(ADA)])

    block("blocked")
    answer = place(client, bearer(settings, ADA), items)
    assert_problem(answer, 503)
    assert answer["Retry-After"] == "1"
    block("active")
    assert place(client, bearer(settings, ADA), items).status_code == 201


# ── what is sent by mistake or on purpose ─────────────────────────────────────────────────────────
BODIES: list[bytes] = [
    b"", b"{", b"null", b"[]", b"\xff", b"[" * 100_000, b'{"items": ' * 50_000, b'{"items": null}', b'{"items": []}',
    b'{"items": [{"product_id": 1, "quantity": 1, "quantity": 2}]}',
    b'{"items": {}}', b'{"items": [1]}', b'{"items": [{}]}', b'{"items": [{"product_id": 1}]}', b'{"user_id": 7}',
    b'{"items": [{"product_id": 1, "quantity": 1}], "user_id": 7}',
    b'{"items": [{"product_id": 1, "quantity": 1, "unit_price": 0}]}',
    *(
        b'{"items": [{"product_id": %s, "quantity": %s}]}' % pair
        for pair in [
            (b"1", b"0"), (b"1", b"-1"), (b"1", b"10001"), (b"1", b"1.5"), (b"1", b'"1"'), (b"1", b"true"),
            (b"1", b"1e400"), (b"1", b"NaN"), (b"1", b"9" * 5000), (b"0", b"1"), (b"-1", b"1"), (b'"x"', b"1"),
            (b"%d" % 2**63, b"1"), (b"%d" % 10**18, b"1"), (b"9" * 100, b"1"), (b"null", b"1"), (b"[]", b"1"),
        ]
    ),
    json.dumps({"items": [item(1), item(1)]}).encode(),
    json.dumps({"items": [item(number + 1) for number in range(51)]}).encode(),
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=[str(number) for number in range(len(BODIES))])
def test_a_bad_body_is_a_problem_of_the_caller(client: Client, settings: Settings, body: bytes) -> None:
    assert_problem(place(client, bearer(settings, ADA), body), 400)


@pytest.mark.parametrize("key", ["", " ", "a b", "a\0b", "é", "\x7f", "k" * 201])
def test_a_bad_key_is_a_problem_of_the_caller(client: Client, settings: Settings, key: str) -> None:
    assert_problem(place(client, bearer(settings, ADA), [item(1)], key), 400)


def test_an_order_needs_a_key(client: Client, settings: Settings) -> None:
    body = json.dumps({"items": [item(1)]})
    answer = client.post(ORDERS, body, content_type="application/json", headers=bearer(settings, ADA))
    assert_problem(answer, 400, "Idempotency-Key")


@pytest.mark.parametrize(
    "query", ["cursor=x", "cursor=-1", f"cursor={LARGEST + 1}", "limit=0", "limit=201", "user_id=x", "user_id=%00"]
)
def test_a_bad_page_is_a_problem_of_the_caller(client: Client, settings: Settings, query: str) -> None:
    assert_problem(client.get(f"{ORDERS}?{query}", headers=bearer(settings, ADA, staff=True)), 400)


@pytest.mark.parametrize("query", ["cursor=", "limit=", "user_id=", "cursor=&limit=&user_id="])
def test_an_empty_parameter_counts_as_not_given(client: Client, settings: Settings, query: str) -> None:
    made = fill(ADA, 2)
    answer = client.get(f"{ORDERS}?{query}", headers=bearer(settings, ADA))
    assert [one["id"] for one in answer.json()["items"]] == made


@pytest.mark.parametrize("path", ["0", str(LARGEST + 1), str(2**63), "9" * 5000, "-1", "x", "%00", "1/items"])
def test_a_number_that_no_order_has_is_404(client: Client, settings: Settings, path: str) -> None:
    assert_problem(client.get(ORDERS + path, headers=bearer(settings, ADA, staff=True)), 404)


def test_another_method_is_405_and_another_type_415(client: Client, settings: Settings) -> None:
    answer = client.delete(f"{ORDERS}7", headers=bearer(settings, ADA))
    assert_problem(answer, 405)
    assert set(answer["Allow"].split(", ")) == {"GET", "HEAD"}
    headers = {**bearer(settings, ADA), "idempotency-key": "key"}
    assert_problem(client.post(ORDERS, "items=1", content_type="text/plain", headers=headers), 415)


def test_the_openapi_document_names_every_endpoint(client: Client) -> None:
    paths = client.get(f"{ORDERS}openapi.json").json()["paths"]
    assert {path: set(methods) for path, methods in paths.items()} == {
        "/api/orders/": {"get", "post"},
        "/api/orders/{order_id}": {"get"},
    }
    placing = paths["/api/orders/"]["post"]
    assert {"200", "201", "400", "401", "403", "413", "415", "422"} <= placing["responses"].keys()
    assert {"429", "502", "503", "504"} <= placing["responses"].keys()  # of the gateway
    assert [one["name"] for one in placing["parameters"]] == ["Idempotency-Key"]
