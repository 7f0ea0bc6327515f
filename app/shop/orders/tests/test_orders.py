"""Orders are on the shard of their user."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, connections
from django.http import HttpResponse
from django.test import RequestFactory
from scaleout.problems.middleware import ProblemMiddleware
from scaleout.sharding import shard_map
from scaleout.sharding.errors import BucketMoved, ShardKeyRequired
from scaleout.sharding.ids import bucket_of, compose

from shop.orders.models import Line, Order, OrderItem

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"]),
    pytest.mark.usefixtures("shards"),
]
USERS = [compose(1 << 20, bucket) for bucket in (0, 1, 2, 500)]
LINES = [Line(product_id=7, quantity=2, unit_price=1950), Line(product_id=8, quantity=1, unit_price=100)]


@pytest.mark.parametrize("user_id", USERS)
def test_an_order_and_its_items_are_on_the_shard_of_the_user(user_id: int) -> None:
    order, new = Order.objects.place(user_id, LINES, "EUR", "key")
    assert new
    assert (order.status, order.total, order.archived) == ("placed", 4000, False)
    shard = shard_map.current().alias_for(user_id)
    assert Order.objects.using(shard).count() == 1
    assert OrderItem.objects.using(shard).count() == 2
    assert {bucket_of(one.id) for one in (order, *order.items.all())} == {bucket_of(user_id)}
    assert Order.objects.get(pk=order.id) == Order.objects.get_by_user_id(user_id) == order
    assert list(Order.objects.for_user(user_id).values_list("total", flat=True)) == [4000]


def test_the_same_key_again_is_the_same_order_for_this_user_only() -> None:
    order, _ = Order.objects.place(USERS[0], LINES, "EUR", "key")
    assert Order.objects.place(USERS[0], LINES[:1], "EUR", "key") == (order, False)
    assert Order.objects.place(USERS[1], LINES, "EUR", "key")[1]
    assert order.items.count() == 2


def test_twenty_placings_with_one_key_at_once_make_one_order() -> None:
    def attempt(_number: int) -> tuple[int, bool]:
        try:
            order, new = Order.objects.place(USERS[0], LINES, "EUR", "key")
            return order.id, new
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(attempt, range(20)))
    assert len({order_id for order_id, _ in answers}) == 1
    assert sum(new for _, new in answers) == 1
    assert OrderItem.objects.filter(order_id=answers[0][0]).count() == 2


def test_an_order_with_rejected_items_is_not_stored() -> None:
    with pytest.raises(IntegrityError, match="order_item_quantity_positive"):
        Order.objects.place(USERS[0], [Line(7, 0, 100)], "EUR", "key")
    assert not Order.objects.for_user(USERS[0]).exists()


def test_the_orders_of_all_users_need_scatter() -> None:
    for user_id in USERS:
        Order.objects.place(user_id, LINES, "EUR", "key")
    with pytest.raises(ShardKeyRequired, match="user_id or its id"):
        Order.objects.filter(status="placed").count()
    page = Order.objects.filter(status="placed").scatter(deadline=10.0)
    assert sorted(order.user_id for order in page) == sorted(USERS)
    assert not page.partial


def test_an_order_whose_bucket_is_moving_gets_503_with_retry_after() -> None:
    with connections["shard0"].cursor() as cursor:
        cursor.execute("UPDATE sharding_bucket SET state = 'blocked' WHERE bucket = %s", [bucket_of(USERS[0])])
    with pytest.raises(BucketMoved) as raised:
        Order.objects.place(USERS[0], LINES, "EUR", "key")
    middleware = ProblemMiddleware(lambda _request: HttpResponse())
    answer = middleware.process_exception(RequestFactory().post("/api/orders/"), raised.value)
    assert answer is not None
    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
