"""Orders are placed, changed and cancelled while their buckets move."""

from __future__ import annotations

import threading
from io import StringIO

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connections
from pytest_django import Settings
from scaleout.sharding import shard_map, transactions
from scaleout.sharding.ids import bucket_of, compose
from scaleout.sharding.moving import steps

from shop.orders.models import Line, Order, OrderItem

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"]),
    pytest.mark.usefixtures("shards"),
]
LINES = [Line(7, 2, 1250), Line(9, 1, 400)]
ORDERS = 2  # of each user


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Long time-outs: mover and writers share one interpreter on a busy machine.

    The live tests check the real waiting times. No worker runs: test_move_events.py has moves that
    wait for events.
    """
    settings.EVENTS = settings.EVENTS | {"CONSUMERS": dict.fromkeys(settings.EVENTS["CONSUMERS"], ())}
    monkeypatch.setattr(transactions, "PATIENCE", 20.0)
    monkeypatch.setattr(steps, "BUDGET", 5.0)


@pytest.mark.usefixtures("_patient")
@pytest.mark.parametrize(("count", "people"), [(20, 200), pytest.param(100, 1000, marks=pytest.mark.long)])
def test_a_move_of_users_and_orders_fails_no_order_and_loses_none(count: int, people: int) -> None:
    user_model = apps.get_model("users", "User")
    buckets = shard_map.current().buckets_of(0)[:count]
    users = [compose(number + 1, buckets[number % count]) for number in range(people)]
    user_model.objects.bulk_create(user_model(id=user, email=f"{user}@example.org", name="u") for user in users)
    orders = [
        Order(user_id=user, idempotency_key=f"{number}", total=2900) for user in users for number in range(ORDERS)
    ]
    Order.objects.bulk_create(orders)
    OrderItem.objects.bulk_create(
        OrderItem(order=order, product_id=line.product_id, quantity=line.quantity, unit_price=line.unit_price)
        for order in orders
        for line in LINES
    )
    stop = threading.Event()
    wrong: list[str] = []
    placed: dict[int, int] = {}

    def shop(mine: list[int]) -> None:
        try:
            turn = 0
            while not stop.wait(0.01):  # or the mover, in the same interpreter, would never catch up
                user = mine[turn % len(mine)]
                order, new = Order.objects.place(user, LINES, "EUR", f"later-{turn}")
                again, twice = Order.objects.place(user, LINES, "EUR", f"later-{turn}")
                if not new or twice or order.id != again.id or order.items.count() != 2:
                    wrong.append(f"{order} was placed wrongly")
                placed[user] = placed.get(user, 0) + 1
                if turn % 3 == 0:
                    Order.objects.filter(pk=order.id).update(status="cancelled")
                elif turn % 3 == 1:
                    order.delete()
                    placed[user] -= 1
                if Order.objects.filter(user_id=user).count() != ORDERS + placed[user]:
                    wrong.append(f"user {user} has another number of orders")
                turn += 1
        except Exception as error:
            wrong.append(repr(error))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=shop, args=[users[one::4]]) for one in range(4)]
    for thread in threads:
        thread.start()
    out = StringIO()
    call_command("reshard", "move", "--buckets", ",".join(map(str, buckets)), "--to", "2", stdout=out)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    shard_map.current().expire()
    assert {shard_map.current().number(bucket_of(user)) for user in users} == {2}
    assert user_model.objects.using("shard2").count() == people
    total = people * ORDERS + sum(placed.values())
    assert Order.objects.using("shard2").count() == total
    assert OrderItem.objects.using("shard2").count() == 2 * total
    assert Order.objects.scatter_count(deadline=10) == (total, False)
    call_command("reshard", "clean", stdout=out)
    assert Order.objects.using("shard0").count() == 0
    assert Order.objects.using("shard2").count() == total
