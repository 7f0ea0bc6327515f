"""Orders and their items, in the bucket of their user; and the names of products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from scaleout.events.models import InboxEntry
from scaleout.events.outbox import publish
from scaleout.sharding.base import ShardedModel
from scaleout.sharding.by_user import ByUser
from scaleout.sharding.transactions import fenced, shard_atomic

KEY_MAX = 200


USER_EVENTS = "orders.tasks.handle_user_event"


class UserDeletedError(Exception):
    """The user of the new order was deleted."""


@dataclass(frozen=True)
class Line:
    """One line of a new order. `unit_price` in minor units."""

    product_id: int
    quantity: int
    unit_price: int


class OrderManager(ByUser["Order"]):
    """Orders of a user: `Order.objects.for_user(user_id)`."""

    def place(self, user_id: int, lines: Sequence[Line], currency: str, idempotency_key: str) -> tuple[Order, bool]:
        """Return the order that this user placed with this key, and whether it is new.

        One transaction writes the order, its items and the event, at most once for a key. Raises
        UserDeletedError: a token is valid for a while after its user was deleted.
        """

        def once() -> tuple[Order, bool]:
            with shard_atomic(user_id, alone=True) as shard:
                order, new = self.get_or_create(
                    user_id=user_id,
                    idempotency_key=idempotency_key,
                    defaults={
                        "total": sum(line.quantity * line.unit_price for line in lines),
                        "currency": currency,
                    },
                )
                if new and Inbox.objects.filter(user_id=user_id, consumer=USER_EVENTS).exists():
                    # A later deletion waits for this transaction (`alone`), and then archives
                    # this order too.
                    raise UserDeletedError
                if new:
                    OrderItem.objects.bulk_create(
                        OrderItem(
                            order=order,
                            product_id=line.product_id,
                            quantity=line.quantity,
                            unit_price=line.unit_price,
                        )
                        for line in lines
                    )
                    publish(
                        "order_placed",
                        aggregate=f"order:{order.id}",
                        using=shard,
                        order_id=order.id,
                        user_id=user_id,
                        items=[{"product_id": line.product_id, "quantity": line.quantity} for line in lines],
                    )
            return order, new

        return fenced(once)


class Order(ShardedModel):
    """An order. Its id is in the bucket of its user, so either id finds the shard."""

    class Status(models.TextChoices):
        """The state of an order."""

        PLACED = "placed"
        CONFIRMED = "confirmed"
        REJECTED = "rejected"
        CANCELLED = "cancelled"

    shard_key = "user_id"

    # Not a foreign key: another service owns users.
    user_id = models.BigIntegerField()
    status = models.TextField(choices=Status.choices, default=Status.PLACED)
    total = models.BigIntegerField(help_text="In minor units: cents for EUR, yen for JPY.")
    currency = models.CharField(max_length=3, default="EUR", help_text="ISO 4217 code.")
    archived = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True, db_default=Now())
    idempotency_key = models.CharField(max_length=KEY_MAX)

    objects: ClassVar[OrderManager] = OrderManager()

    class Meta:
        constraints = (
            # All orders of a user are on one shard, so the shard's own index is enough.
            models.UniqueConstraint(name="order_idempotency", fields=["user_id", "idempotency_key"]),
            models.CheckConstraint(
                name="order_status", condition=Q(status__in=["placed", "confirmed", "rejected", "cancelled"])
            ),
            models.CheckConstraint(name="order_total_not_negative", condition=Q(total__gte=0)),
            models.CheckConstraint(name="order_currency_format", condition=Q(currency__regex=r"^[A-Z]{3}$")),
        )
        indexes = (models.Index(name="order_by_user", fields=["user_id", "id"]),)

    def __str__(self) -> str:
        """Return the id."""
        return f"order {self.id}"


class OrderItem(ShardedModel):
    """One line of an order."""

    shard_key = "order_id"

    order = models.ForeignKey(Order, models.CASCADE, related_name="items")
    product_id = models.BigIntegerField()
    quantity = models.IntegerField()
    unit_price = models.BigIntegerField(help_text="In minor units, as it was when the order was placed.")

    class Meta:
        constraints = (
            models.CheckConstraint(name="order_item_quantity_positive", condition=Q(quantity__gt=0)),
            models.CheckConstraint(name="order_item_price_not_negative", condition=Q(unit_price__gte=0)),
        )

    def __str__(self) -> str:
        """Return the quantity and the product."""
        return f"{self.quantity} of product {self.product_id}"


class Inbox(ShardedModel, InboxEntry):
    """The events that were handled for a user. Rows move with the user's bucket, so an event that
    is delivered again after a move is still recognised.
    """

    shard_key = "user_id"

    user_id = models.BigIntegerField()

    class Meta:
        constraints = (models.UniqueConstraint(name="orders_inbox_once", fields=["user_id", "consumer", "event_id"]),)


class ProductName(models.Model):
    """A product's name, from the products service's last event. Not sharded: it has no user."""

    product_id = models.BigIntegerField(primary_key=True)
    name = models.TextField()

    def __str__(self) -> str:
        """Return the name."""
        return self.name
