import json
from collections import Counter
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from shop.products.management.commands.load_demo import DATA
from shop.products.models import Category, Product

pytestmark = pytest.mark.django_db


def load_demo() -> str:
    out = StringIO()
    call_command("load_demo", stdout=out, stderr=StringIO())
    return out.getvalue()


def test_the_demo_catalogue_is_loaded_whole() -> None:
    assert "rejected 0" in load_demo()
    records = [json.loads(line) for line in (DATA / "catalog.jsonl").read_text("utf-8").splitlines()]
    assert Product.objects.count() == len(records) >= 200
    assert Category.objects.count() == 12
    assert Category.objects.get(slug="outdoor-tents").name == "Tents and shelter"
    assert Product.objects.filter(featured=True).count() == 12


def test_every_demo_product_has_a_text_of_its_own() -> None:
    load_demo()
    texts = Counter(Product.objects.values_list("description", flat=True))
    assert max(texts.values()) == 1
    assert min(map(len, texts)) > 40


def test_loading_again_runs_one_query_and_changes_nothing() -> None:
    load_demo()
    Product.objects.filter(sku="TNT-LARK1").update(stock=1, price_amount=5)
    Product.objects.filter(sku="TNT-LARK2").delete()
    before = list(Product.objects.order_by("pk").values_list())
    with CaptureQueriesContext(connection) as captured:
        assert "nothing to load" in load_demo()
    assert len(captured) == 1
    assert list(Product.objects.order_by("pk").values_list()) == before
