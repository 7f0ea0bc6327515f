"""The event consumers of orders."""

from __future__ import annotations

from scaleout.events.event import Event
from scaleout.events.inbox import Effect, consumer
from scaleout.sharding.transactions import fenced, shard_atomic

from shop.orders.models import Inbox, Order, ProductName


def once_for_user(event: Event, effect: Effect) -> bool:
    """Run the effect once, on the current shard of the event's user."""
    user_id = event.data["user_id"]

    def attempt() -> bool:
        # `alone`: a second delivery and a new order of this user wait for this transaction.
        with shard_atomic(user_id, alone=True):
            _, new = Inbox.objects.get_or_create(user_id=user_id, consumer=event.consumer, event_id=event.id)
            if new:
                effect(event)
        return new

    return fenced(attempt)


@consumer(once_for_user, name="orders.tasks.handle_user_event", needs={"user_id": int})
def handle_user_event(event: Event) -> None:
    """Archive the orders of a deleted user."""
    Order.objects.for_user(event.data["user_id"]).filter(archived=False).update(archived=True)


@consumer(once_for_user, name="orders.tasks.handle_stock_event", needs={"order_id": int, "user_id": int})
def handle_stock_event(event: Event) -> None:
    """Confirm or reject a placed order. A cancelled order stays cancelled."""
    status = {"order_confirmed": Order.Status.CONFIRMED, "order_rejected": Order.Status.REJECTED}[event.name]
    Order.objects.filter(pk=event.data["order_id"], status=Order.Status.PLACED).update(status=status)


@consumer(name="orders.tasks.handle_product_event", needs={"product_id": int, "name": str})
def handle_product_event(event: Event) -> None:
    """Store a product's new name."""
    ProductName.objects.using("default").update_or_create(
        product_id=event.data["product_id"], defaults={"name": event.data["name"]}
    )
