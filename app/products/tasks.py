"""What the worker does for the products' images. Each may be delivered twice, and killed anywhere.

The store is imported when it is needed: beat and the other workers know these tasks too, and never run them.
"""

from celery import shared_task


@shared_task(name="products.tasks.make_variants")
def make_variants(name: str) -> None:
    """Make the variants of a new image. What fails is made by `finish_variants`."""
    from products.images import keeping  # noqa: PLC0415 - see above

    keeping.make_variants(name)


@shared_task(name="products.tasks.finish_variants")
def finish_variants() -> None:
    """Make variants that are missing."""
    from products.images import keeping  # noqa: PLC0415 - see above

    keeping.finish_variants()


@shared_task(name="products.tasks.sweep_images")
def sweep_images() -> None:
    """Remove objects that nobody needs."""
    from products.images import keeping  # noqa: PLC0415 - see above

    keeping.sweep()
