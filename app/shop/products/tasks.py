"""The event consumer of products, and the tasks for product images. All are idempotent.

Each task imports the object store itself: beat and the other workers load this module, and never
run these tasks.
"""

from celery import shared_task
from scaleout.events.event import Event
from scaleout.events.inbox import consumer
from scaleout.events.outbox import publish

from shop.products.models import Product


@consumer(name="products.tasks.handle_order_event", needs={"order_id": int, "user_id": int, "items": list})
def handle_order_event(event: Event) -> None:
    """Reduce the stock by all items of a placed order, or by none, and publish the result."""
    wanted = {item["product_id"]: item["quantity"] for item in event.data["items"]}
    # Every writer that locks several products locks them by id, so writers cannot deadlock.
    rows = Product.objects.using("default").filter(pk__in=wanted).order_by("pk")
    found = list(rows.select_for_update(of=("self",), no_key=True))
    short = sorted(wanted.keys() - {one.pk for one in found if one.stock >= wanted[one.pk]})
    if not short:
        for one in found:
            one.stock -= wanted[one.pk]
            one.sold += wanted[one.pk]
        # The manager's bulk_update also invalidates the cached products.
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
    """Make the variants of a new image. `finish_variants` retries a failure."""
    from shop.products.images import lifecycle  # noqa: PLC0415 - see above

    lifecycle.make_variants(name)


@shared_task(name="products.tasks.finish_variants")
def finish_variants() -> None:
    """Make the missing variants."""
    from shop.products.images import lifecycle  # noqa: PLC0415 - see above

    lifecycle.finish_variants()


@shared_task(name="products.tasks.sweep_images")
def sweep_images() -> None:
    """Remove unused objects."""
    from shop.products.images import lifecycle  # noqa: PLC0415 - see above

    lifecycle.sweep()
