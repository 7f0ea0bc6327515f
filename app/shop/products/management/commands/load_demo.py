"""manage.py load_demo: the demo catalogue, once."""

import json
import sys
from pathlib import Path
from typing import Any, TextIO

from django.core.management.base import BaseCommand
from django.db import transaction

from shop.products.imports.loader import DATABASE
from shop.products.imports.source import Source
from shop.products.management.commands.import_catalog import run
from shop.products.models import Category, Product

DATA = Path(__file__).resolve().parents[2] / "data"


class Command(BaseCommand):
    help = (
        "Loads the demo catalogue in one transaction, if none of its products exists. Otherwise it leaves all"
        " products as they are: they may have been sold, changed or deleted since."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        stderr: TextIO = options.get("stderr") or sys.stderr
        catalog = DATA / "catalog.jsonl"
        skus = [json.loads(line)["sku"] for line in catalog.read_text("utf-8").splitlines()]
        if Product.objects.using(DATABASE).filter(sku__in=skus).exists():
            self.stdout.write("demo catalogue exists, nothing to load")
            return
        with transaction.atomic(using=DATABASE), Source(str(catalog)) as source:
            create_categories()
            run(source, stderr, self.stdout)


def create_categories() -> None:
    """Create the demo's categories with their names and positions. The file lists parents first."""
    ids: dict[str, int] = {}
    for line in (DATA / "categories.jsonl").read_text("utf-8").splitlines():
        category = json.loads(line)
        path: str = category["path"]
        slug = path.replace("/", "-")
        row, _ = Category.objects.using(DATABASE).get_or_create(
            slug=slug,
            defaults={
                "parent_id": ids.get(path.rpartition("/")[0]),
                "name": category["name"],
                "position": category["position"],
            },
        )
        ids[path] = row.pk
