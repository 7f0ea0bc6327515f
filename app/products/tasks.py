"""What products does when others tell what has happened."""

from __future__ import annotations

from events.event import Event
from events.inbox import consumer
from events.outbox import publish

from products.models import Product


@consumer()
def handle_order_event(event: Event) -> None:
    """An order is placed: take all that it wants from the stock, or nothing, and say which."""
    wanted = {item["product_id"]: item["quantity"] for item in event.data["items"]}
    # Locked in the order of their ids, as by every writer that takes several: so none waits in a circle.
    rows = Product.objects.using("default").filter(pk__in=wanted).order_by("pk")
    found = list(rows.select_for_update(of=("self",), no_key=True))
    short = sorted(wanted.keys() - {one.pk for one in found if one.stock >= wanted[one.pk]})
    if not short:
        for one in found:
            one.stock -= wanted[one.pk]
            one.sold += wanted[one.pk]
        # By the manager, which also says what is cached of these products is wrong.
        Product.objects.using("default").bulk_update(found, ["stock", "sold"])
    publish(
        "order_rejected" if short else "order_confirmed",
        aggregate=event.aggregate,
        order_id=event.data["order_id"],
        user_id=event.data["user_id"],
        short=short,
    )
