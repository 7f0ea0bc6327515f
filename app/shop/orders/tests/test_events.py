"""The events of an order, and the event consumers of orders."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django_redis import get_redis_connection
from scaleout.events.event import Event
from scaleout.events.inbox import KEPT
from scaleout.events.models import Outbox, databases
from scaleout.events.outbox import publish
from scaleout.events.relay import relay, tidy
from scaleout.events.uuid7 import uuid7
from scaleout.sharding import shard_map
from scaleout.sharding.ids import bucket_of, compose
from scaleout.sharding.moving import steps

from shop.orders.models import Inbox, Line, Order, ProductName, UserDeletedError
from shop.orders.tasks import handle_stock_event, once_for_user
from shop.products.models import Category, Product
from shop.users import accounts
from shop.users.models import User

ALIASES = ("shard0", "shard1", "shard2")
pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "replica1", "replica2", *ALIASES]),
    pytest.mark.usefixtures("shards"),
]
ADA, EVE = compose(1 << 20, 7), compose(1 << 20, 400)

type Deliver = Callable[[], list[str]]


@pytest.fixture
def product() -> Product:
    category = Category.objects.create(slug="tents", name="Tents")
    return Product.objects.create(sku="TENT", name="Tent", category=category, price_amount=100, stock=10)


def place(product_id: int, quantity: int = 1, user_id: int = ADA, key: str = "key") -> Order:
    order, _ = Order.objects.place(user_id, [Line(product_id, quantity, 100)], "EUR", key)
    return order


def status(order: Order) -> str:
    return str(Order.objects.get(pk=order.pk).status)


def stock(product: Product) -> tuple[int, int]:
    fresh = Product.objects.using("default").get(pk=product.pk)
    return fresh.stock, fresh.sold


def left() -> int:
    return sum(Outbox.objects.using(alias).count() for alias in databases())


# ── order_placed ──────────────────────────────────────────────────────────────────────────────────
def test_an_order_takes_stock_is_counted_as_sold_and_confirmed(product: Product, deliver: Deliver) -> None:
    order = place(product.pk, 3)
    assert (order.status, stock(product)) == ("placed", (10, 0))
    assert sorted(deliver()) == [
        "events.answer",
        "events.answer",
        "orders.tasks.handle_stock_event",
        "products.tasks.handle_order_event",
    ]
    assert (status(order), stock(product), left()) == ("confirmed", (7, 3), 0)


def test_an_order_above_the_stock_is_rejected_and_takes_nothing(product: Product, deliver: Deliver) -> None:
    other = Product.objects.create(sku="MAT", name="Mat", category=product.category, price_amount=1, stock=1)
    lines = [Line(product.pk, 1, 100), Line(other.pk, 2, 1)]
    order, _ = Order.objects.place(ADA, lines, "EUR", "key")
    gone = place(other.pk + 1, key="gone")
    deliver()
    assert (status(order), status(gone)) == ("rejected", "rejected")
    assert (stock(product), stock(other), left()) == ((10, 0), (1, 0), 0)


def test_of_a_hundred_buyers_of_ten_pieces_ten_get_one(product: Product, deliver: Deliver) -> None:
    users = [compose(1 << 20, bucket) for bucket in range(0, 1000, 10)]
    work = iter(users)
    placed: list[Order] = []

    def buy() -> None:
        try:
            for user in work:
                placed.append(place(product.pk, user_id=user))
                deliver()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=buy) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    deliver()
    statuses = [status(order) for order in placed]
    assert (len(placed), statuses.count("confirmed"), statuses.count("rejected")) == (100, 10, 90)
    assert (stock(product), left()) == ((0, 10), 0)


def test_the_same_key_again_takes_no_more_stock(product: Product, deliver: Deliver) -> None:
    for _ in range(3):
        place(product.pk, 4)
        deliver()
    assert stock(product) == (6, 4)


def test_a_stock_event_leaves_a_cancelled_order_cancelled(product: Product, deliver: Deliver) -> None:
    order = place(product.pk)
    Order.objects.filter(pk=order.pk).update(status=Order.Status.CANCELLED)
    deliver()
    assert status(order) == "cancelled"


# ── a bucket that moves ───────────────────────────────────────────────────────────────────────────
def test_an_event_that_comes_again_after_its_bucket_has_moved_has_no_second_effect(
    product: Product, deliver: Deliver
) -> None:
    order = place(product.pk)
    source, bucket = shard_map.current().alias_for(ADA), bucket_of(ADA)
    Outbox.objects.using(source).all().delete()  # as when it was received: the bucket would not move before
    target = next(number for number in (0, 1, 2) if f"shard{number}" != source)
    # Handled now, and delivered again later.
    with transaction.atomic():
        publish("order_rejected", aggregate=f"order:{order.pk}", order_id=order.pk, user_id=ADA, short=[])
    row = Outbox.objects.using("default").get()
    event = Event(row.event_id, row.name, row.aggregate, row.data, row.created_at, row.consumer, "default", "celery")
    handle_stock_event.apply(kwargs={"event": event.message()})
    assert status(order) == "rejected"

    call_command("reshard", "move", "--buckets", str(bucket), "--to", str(target))
    shard_map.current().expire()
    assert shard_map.current().alias_for(ADA) == f"shard{target}"
    assert Inbox.objects.for_key(ADA).count() == 1  # it has come along
    Order.objects.filter(pk=order.pk).update(status=Order.Status.PLACED)
    handle_stock_event.apply(kwargs={"event": event.message()})
    assert status(order) == "placed"


def test_a_bucket_moves_after_a_lost_event_was_sent_again_and_received(
    product: Product, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, bucket = shard_map.current().alias_for(ADA), bucket_of(ADA)
    order = place(product.pk)
    get_redis_connection("default").flushall()  # the broker loses what it has
    target = next(number for number in (0, 1, 2) if f"shard{number}" != source)
    monkeypatch.setattr(steps, "DELIVERY", 0.5)
    with pytest.raises(CommandError, match=f"1 on their way, 0 parked .of the buckets {bucket}"):
        call_command("reshard", "move", "--buckets", str(bucket), "--to", str(target))
    with connections[source].cursor() as cursor:
        cursor.execute("UPDATE events_outbox SET due_at = clock_timestamp(), known = 1")  # and the queue was seen empty
    assert relay() == 1
    deliver()
    call_command("reshard", "resume")
    shard_map.current().expire()
    assert shard_map.current().alias_for(ADA) == f"shard{target}"
    assert (status(order), stock(product), left()) == ("confirmed", (9, 1), 0)


def test_old_entries_of_the_inbox_on_the_shards_are_deleted(product: Product) -> None:
    now = datetime.now(UTC)
    old, young = now - KEPT - timedelta(hours=1), now - KEPT + timedelta(hours=1)
    for user_id, received_at in ((ADA, old), (ADA, young), (EVE, old)):
        entry = Inbox.objects.create(user_id=user_id, consumer="consumer", event_id=uuid7())
        Inbox.objects.filter(pk=entry.pk).update(received_at=received_at)
    assert tidy() == 2
    assert [Inbox.objects.for_key(user_id).count() for user_id in (ADA, EVE)] == [1, 0]


def test_the_number_sold_may_exceed_32_bits(product: Product, deliver: Deliver) -> None:
    Product.objects.filter(pk=product.pk).update(sold=2**31 - 1)
    order = place(product.pk)
    deliver()
    assert (status(order), stock(product)) == ("confirmed", (9, 2**31))


# ── what others tell ──────────────────────────────────────────────────────────────────────────────
def test_an_order_that_is_being_placed_while_its_user_is_deleted_is_archived_too(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    placing, go_on, handled = threading.Event(), threading.Event(), threading.Event()

    def slow(*args: object, **kwargs: object) -> None:
        placing.set()
        assert go_on.wait(30)

    monkeypatch.setattr("shop.orders.models.publish", slow)
    now = datetime.now(UTC)
    event = Event(
        uuid7(), "user_deleted", f"user:{ADA}", {"user_id": ADA}, now, "orders.tasks.handle_user_event", "default", ""
    )

    def archive(_event: Event) -> None:
        Order.objects.for_user(ADA).update(archived=True)

    def delete() -> None:
        once_for_user(event, archive)
        handled.set()
        connections.close_all()

    def order() -> None:
        place(product.pk)
        connections.close_all()

    threads = [threading.Thread(target=order), threading.Thread(target=delete)]
    threads[0].start()
    assert placing.wait(30)
    threads[1].start()
    assert not handled.wait(0.5), "the deletion did not wait for the order"
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert handled.is_set()
    assert [one.archived for one in Order.objects.for_user(ADA)] == [True]
    with pytest.raises(UserDeletedError):
        place(product.pk, key="later")


def test_the_orders_of_a_deleted_user_are_archived_and_no_others(product: Product, deliver: Deliver) -> None:
    ada, eve = (accounts.register(f"{name}@example.org", name, "password") for name in ("ada", "eve"))
    mine = [place(product.pk, user_id=ada.id, key=str(number)) for number in range(3)]
    other = place(product.pk, user_id=eve.id)
    deliver()
    assert accounts.delete(ada.id)
    assert not accounts.delete(ada.id)
    assert not User.objects.filter(pk=ada.id).exists()
    assert deliver() == ["orders.tasks.handle_user_event", "events.answer"]
    assert [Order.objects.get(pk=one.pk).archived for one in (*mine, other)] == [True, True, True, False]
    assert left() == 0
    with pytest.raises(UserDeletedError):
        place(product.pk, user_id=ada.id, key="late")
    assert Order.objects.for_user(ada.id).count() == 3


def test_a_changed_name_is_shown_and_a_stale_read_does_not_replace_it(product: Product, deliver: Deliver) -> None:
    from shop.orders import products  # noqa: PLC0415 - beside the package of this name

    stale = {product.pk: products.Price(100, "EUR", "Tent")}
    with transaction.atomic():
        publish("product_changed", aggregate=f"product:{product.pk}", product_id=product.pk, name="Big tent")
    deliver()
    products.remember(stale)
    assert products.names([product.pk]) == {product.pk: "Big tent"}
    products.remember({7_000: products.Price(1, "EUR", "Mat")})
    assert ProductName.objects.using("default").get(pk=7_000).name == "Mat"
