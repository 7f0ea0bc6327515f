"""Products of earlier releases in today's form of text. Run it when all replicas have this
release.
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

from shop.products import telling
from shop.products.locking import locked_product
from shop.products.models import Product

TEXTS = ("sku", "name", "description")


class _IsOdd(Func):
    template = "(%(expressions)s IS NOT NFC NORMALIZED)"
    output_field = BooleanField()


class Command(BaseCommand):
    """Change what is not in NFC, row by row: it may be stopped and run again, and beside anything
    else.
    """

    help = "Bring the texts of products into NFC, as everything that comes in is since this release."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Print how many products were changed, and those whose SKU another product has in NFC
        already.
        """
        changed = 0
        with use_primary():
            odd = reduce(or_, (Q(_IsOdd(name)) for name in TEXTS))
            for key in list(Product.objects.filter(odd).order_by("pk").values_list("pk", flat=True)):
                try:
                    _normalise(key)
                    changed += 1
                except IntegrityError:
                    self.stderr.write(f"product {key}: another one has its SKU in NFC, so one of the two must go")
        self.stdout.write(f"{changed} products changed")


def _normalise(key: int) -> None:
    with transaction.atomic():
        product = locked_product(str(key))
        for name in TEXTS:
            setattr(product, name, nfc(getattr(product, name)))
        product.save(update_fields=[*TEXTS, "updated_at"])
        aggregate, data = telling.changed(product.pk, product.name, product.price_amount, product.currency)
        publish(telling.CHANGED, aggregate=aggregate, **data)
