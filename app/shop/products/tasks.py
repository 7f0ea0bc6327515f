"""What products does when others tell what has happened, and what the worker does for the products'
images.

Each may be delivered twice, and killed anywhere.

The store is imported when it is needed: beat and the other workers know these tasks too, and never
run them.
"""

from celery import shared_task
from scaleout.events.event import Event
from scaleout.events.inbox import consumer
from scaleout.events.outbox import publish

from shop.products.models import Product


@consumer(name="products.tasks.handle_order_event", needs={"order_id": int, "user_id": int, "items": list})
def handle_order_event(event: Event) -> None:
    """An order is placed: take all that it wants from the stock, or nothing, and say which."""
    wanted = {item["product_id"]: item["quantity"] for item in event.data["items"]}
    # Locked in the order of their ids, as by every writer that takes several: so none waits in a
    # circle.
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


@shared_task(name="products.tasks.make_variants")
def make_variants(name: str) -> None:
    """Make the variants of a new image. What fails is made by `finish_variants`."""
    from shop.products.images import keeping  # noqa: PLC0415 - see above

    keeping.make_variants(name)


@shared_task(name="products.tasks.finish_variants")
def finish_variants() -> None:
    """Make variants that are missing."""
    from shop.products.images import keeping  # noqa: PLC0415 - see above

    keeping.finish_variants()


@shared_task(name="products.tasks.sweep_images")
def sweep_images() -> None:
    """Remove objects that nobody needs."""
    from shop.products.images import keeping  # noqa: PLC0415 - see above

    keeping.sweep()
