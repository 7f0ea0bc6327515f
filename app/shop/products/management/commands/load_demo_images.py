"""manage.py load_demo_images: draw images for the demo's featured products, once."""

import time
from typing import Any

from django.core.management.base import BaseCommand

from shop.products.imports.loader import DATABASE
from shop.products.models import Product

# The SKUs with a drawing, listed here so that a start with nothing to do imports no Pillow.
SKUS = (
    "TNT-LARK2", "SLP-WREN0", "PCK-ELM30", "KIT-SYSTEM", "BEA-HOUSE", "BEA-TASTE", "BRW-DRIPC", "BRW-KETTLEE",
    "GRD-HILL", "WRT-A5DOT", "WRT-BLOTTER", "LGT-ARC",
)  # fmt: skip


class Command(BaseCommand):
    help = "Draws and stores the missing images of the demo's products. An unavailable store is only reported."

    def handle(self, *args: Any, **options: Any) -> None:
        bare = Product.objects.using(DATABASE).filter(sku__in=SKUS, image_url="")
        missing = dict(bare.values_list("sku", "pk"))
        if not missing:
            self.stdout.write("demo images exist, nothing to draw")
            return
        from shop.products.images import drawings, lifecycle, object_store, pictures  # noqa: PLC0415 - slow, and rarely needed

        started = time.monotonic()
        try:
            for sku, key in missing.items():
                drawn = drawings.draw(sku)
                name = lifecycle.save(pictures.Picture(pictures.encode(drawn), drawn.width))
                if Product.objects.filter(pk=key, image_url="").update(image_url=name, image_width=0):
                    lifecycle.make_variants(name)
        except (object_store.Unavailable, FileNotFoundError) as error:
            self.stderr.write(f"demo images incomplete: image store unavailable ({error}); the next start retries")
        self.stdout.write(f"drew {len(missing)} images in {time.monotonic() - started:.1f} s")
