"""What orders does when others tell what has happened."""

from __future__ import annotations

from scaleout.events.event import Event
from scaleout.events.inbox import Effect, consumer
from scaleout.sharding.transactions import fenced, shard_atomic

from shop.orders.models import Inbox, Order, ProductName


def once_for_user(event: Event, effect: Effect) -> bool:
    """Run the effect once, on the shard of the user whom the event is about, wherever that is by
    now.
    """
    user_id = event.data["user_id"]

    def attempt() -> bool:
        # Of two at once the second waits for the end of the first; and no order is placed in
        # between.
        with shard_atomic(user_id, alone=True):
            _, new = Inbox.objects.get_or_create(user_id=user_id, consumer=event.consumer, event_id=event.id)
            if new:
                effect(event)
        return new

    return fenced(attempt)


@consumer(once_for_user, name="orders.tasks.handle_user_event", needs={"user_id": int})
def handle_user_event(event: Event) -> None:
    """The user is gone: keep the orders, out of the way."""
    Order.objects.for_user(event.data["user_id"]).filter(archived=False).update(archived=True)


@consumer(once_for_user, name="orders.tasks.handle_stock_event", needs={"order_id": int, "user_id": int})
def handle_stock_event(event: Event) -> None:
    """The products are taken from the stock, or there are not enough. What was cancelled meanwhile
    stays so.
    """
    status = {"order_confirmed": Order.Status.CONFIRMED, "order_rejected": Order.Status.REJECTED}[event.name]
    Order.objects.filter(pk=event.data["order_id"], status=Order.Status.PLACED).update(status=status)


@consumer(name="orders.tasks.handle_product_event", needs={"product_id": int, "name": str})
def handle_product_event(event: Event) -> None:
    """Remember what a product is called now."""
    ProductName.objects.using("default").update_or_create(
        product_id=event.data["product_id"], defaults={"name": event.data["name"]}
    )
