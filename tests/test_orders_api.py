"""`/api/orders/…` of the contract, asked at the service itself."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from support.client import assert_problem
from support.load import at_once
from support.services import Person, Services, but_status, place, place_in_the_end
from support.settings import TIME_FACTOR
from support.stack import Stack
from support.wait import eventually

type Make = Callable[[], Person]


def test_an_order_is_placed_at_the_price_of_the_catalogue(services: Services, person: Make, product: int) -> None:
    who = person()
    price = services.products.get(f"/api/products/{product}").json()["price"]
    answer = place(services, who, "one", [{"product_id": product, "quantity": 3}])
    assert answer.status_code == 201
    order = answer.json()
    assert order["items"] == [{"product_id": product, "quantity": 3, "unit_price": price["amount"]}]
    assert (order["user_id"], order["status"], order["total"], order["archived"]) == (
        who.id,
        "placed",
        3 * price["amount"],
        False,
    )
    one = services.orders.get(f"/api/orders/{order['id']}", headers=who.headers).json()
    page = services.orders.get("/api/orders/", headers=who.headers).json()
    assert [but_status(seen) for seen in (one, *page["items"])] == [but_status(order)] * 2
    assert page["next"] is None


def test_a_header_that_belongs_to_the_callers_connection_does_not_reach_the_service(
    services: Services, person: Make, product: int
) -> None:
    who = person()
    headers = {**who.headers, "Idempotency-Key": "hop"}
    order = {"items": [{"product_id": product, "quantity": 1}]}
    named = {**headers, "Connection": "keep-alive, Idempotency-Key"}
    answer = services.orders.post("/api/orders/", json=order, headers=named)
    assert_problem(answer, 400)
    assert "Idempotency-Key" in answer.json()["detail"], "the key was passed on"
    answer = services.orders.post("/api/orders/", json=order, headers=headers)
    assert answer.status_code == 201
    assert re.fullmatch(r"\S+;q=\d+;w=60", answer.headers["RateLimit-Policy"]), answer.headers
    assert "r=" in answer.headers["RateLimit"]


def test_of_two_hundred_posts_with_one_key_one_makes_the_order(
    services: Services, inside: Services, person: Make, product: int
) -> None:
    who = person()
    items = [{"product_id": product, "quantity": 1}]
    answers = at_once(200, 20, lambda _: place(inside, who, "same", items))  # of the service itself
    assert sorted(answer.status_code for answer in answers) == [200] * 199 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(services.orders.get("/api/orders/", headers=who.headers).json()["items"]) == 1


def test_of_two_hundred_posts_with_one_key_at_once_through_the_load_balancer_one_makes_the_order(
    services: Services, person: Make, product: int
) -> None:
    who = person()
    items = [{"product_id": product, "quantity": 1}]
    seen = at_once(200, 200, lambda _: place_in_the_end(services, who, "same", items))
    assert set(seen) <= {200, 201}
    assert seen.count(201) <= 1  # none where just that answer was lost
    assert len(services.orders.get("/api/orders/", headers=who.headers).json()["items"]) == 1


def test_the_same_key_with_other_items_is_refused(services: Services, person: Make, product: int) -> None:
    who = person()
    place(services, who, "key", [{"product_id": product, "quantity": 1}])
    assert_problem(place(services, who, "key", [{"product_id": product, "quantity": 2}]), 422)


def test_only_staff_see_the_orders_of_another_user(
    services: Services, person: Make, staff: Person, product: int
) -> None:
    who, other = person(), person()
    order = place(services, who, "one", [{"product_id": product, "quantity": 1}]).json()
    assert_problem(services.orders.get(f"/api/orders/{order['id']}", headers=other.headers), 404)
    assert_problem(services.orders.get(f"/api/orders/?user_id={who.id}", headers=other.headers), 403)
    assert services.orders.get("/api/orders/", headers=other.headers).json()["items"] == []
    seen = services.orders.get(f"/api/orders/?user_id={who.id}", headers=staff.headers).json()["items"]
    assert [but_status(one) for one in seen] == [but_status(order)]


@pytest.mark.parametrize(
    "items",
    [
        [], [{"product_id": 0, "quantity": 1}], [{"product_id": 10**30, "quantity": 1}],
        [{"product_id": 999999999999, "quantity": 1}], [{"product_id": 1, "quantity": 0}],
        [{"product_id": 1, "quantity": -1}], [{"product_id": 1, "quantity": 10**30}],
        [{"product_id": "1", "quantity": "\ud800"}],
    ],
)  # fmt: skip
def test_a_bad_order_is_a_problem_of_the_caller(
    services: Services, person: Make, items: list[dict[str, object]]
) -> None:
    assert_problem(place(services, person(), "bad", items), 400)


def test_a_body_that_is_no_json_or_too_deep_is_a_problem_of_the_caller(services: Services, person: Make) -> None:
    headers = person().headers | {"Idempotency-Key": "key", "Content-Type": "application/json"}
    for body in (b"{", b"\xff", b"\0", b"[" * 100_000, b'{"items":' * 50_000, b"9" * 10_000):
        assert_problem(services.orders.post("/api/orders/", data=body, headers=headers), 400)
    plain = headers | {"Content-Type": "text/plain"}
    assert_problem(services.orders.post("/api/orders/", data=b"{}", headers=plain), 415)


# ── failures ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.failure
@pytest.mark.parametrize("how", ["stop", "pause"])
def test_without_the_products_service_no_order_is_placed_and_an_old_one_is_still_readable(
    broken: Stack, services: Services, person: Make, product: int, how: str
) -> None:
    who = person()
    items = [{"product_id": product, "quantity": 1}]
    before = place(services, who, "before", items)
    assert before.status_code == 201
    getattr(broken, how)("products")
    started = time.monotonic()
    answer = place(services, who, "while", items)
    assert time.monotonic() - started < 2.5 * TIME_FACTOR
    assert_problem(answer, 503)
    assert answer.headers["Retry-After"] == "1"
    again = place(services, who, "before", items)
    assert (again.status_code, but_status(again.json())) == (200, but_status(before.json()))
    assert len(services.orders.get("/api/orders/", headers=who.headers).json()["items"]) == 1
    broken.start("products")
    eventually(
        "the order to be placed",
        lambda: place(services, who, "while", items).status_code,
        lambda status: status in (200, 201),
        within=30,
    )


@pytest.mark.failure
def test_orders_under_a_restart_of_the_products_service_are_placed_once_or_refused(
    broken: Stack, services: Services, person: Make, product: int
) -> None:
    who = person()
    items = [{"product_id": product, "quantity": 1}]

    def order(number: int) -> int:
        if number == 20:
            broken.kill("products")
        if number == 60:
            broken.start("products")
        return place(services, who, str(number % 50), items).status_code

    statuses = at_once(100, 4, order)
    assert set(statuses) <= {200, 201, 503}
    placed = services.orders.get("/api/orders/?limit=200", headers=who.headers).json()["items"]
    assert len(placed) == statuses.count(201) <= 50
