"""manage.py normalise_catalogue: bring texts of earlier releases into NFC.

Run it when all replicas have this release.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from django.core.management.base import BaseCommand
from django.db import IntegrityError, transaction
from django.db.models import BooleanField, Func, Q
from scaleout.events.outbox import publish
from scaleout.replication import use_primary
from scaleout.text import nfc

from shop.products import events
from shop.products.locking import locked_product
from shop.products.models import Product

TEXTS = ("sku", "name", "description")


class _IsOdd(Func):
    template = "(%(expressions)s IS NOT NFC NORMALIZED)"
    output_field = BooleanField()


class Command(BaseCommand):
    """Normalise row by row. It may be stopped, run again, and run beside other work."""

    help = "Normalises the texts of products to NFC, as this release does for all input."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Print the number of changed products, and each product whose normalised SKU is taken."""
        changed = 0
        with use_primary():
            odd = reduce(or_, (Q(_IsOdd(name)) for name in TEXTS))
            for key in list(Product.objects.filter(odd).order_by("pk").values_list("pk", flat=True)):
                try:
                    _normalise(key)
                    changed += 1
                except IntegrityError:
                    self.stderr.write(f"product {key}: another product has its SKU in NFC: change one of the two")
        self.stdout.write(f"{changed} products changed")


def _normalise(key: int) -> None:
    with transaction.atomic():
        product = locked_product(str(key))
        for name in TEXTS:
            setattr(product, name, nfc(getattr(product, name)))
        product.save(update_fields=[*TEXTS, "updated_at"])
        aggregate, data = events.changed(product.pk, product.name, product.price_amount, product.currency)
        publish(events.CHANGED, aggregate=aggregate, **data)
