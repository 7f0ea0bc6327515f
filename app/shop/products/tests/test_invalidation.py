"""Each way of changing products invalidates exactly the pages that show them, after the commit."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.core.cache import caches
from django.db import transaction
from django.db.models import Count, F
from django.test.utils import isolate_apps
from scaleout.caching import Change
from scaleout.caching.bound import tags_of
from scaleout.caching.decorator import CachedFunction
from scaleout.problems import Problem

from shop.products import answers
from shop.products.models import Category, Product
from shop.products.tests.conftest import ImportFile, MakeProduct, category_at
from shop.storefront import pages

pytestmark = pytest.mark.django_db(transaction=True)

TENTS, STOVES = "outdoor/tents", "outdoor/stoves"


class Shop:
    """Two tents, one of them featured, and a stove; and all the pages that show them."""

    def __init__(self, make: MakeProduct) -> None:
        self.tent = make(TENTS, sku="tent", featured=True)
        self.other = make(TENTS, sku="other")
        self.stove = make(STOVES, sku="stove")
        for number in range(6):  # so that the tents' pages do not show all of each other
            make("coffee", sku=f"coffee-{number}")
        self.beans = Product.objects.get(sku="coffee-0")
        self.pages: dict[str, tuple[CachedFunction[..., Any], *tuple[Any, ...]]] = {
            "front": (pages.front,),
            "tent": (pages.product, self.tent.pk),
            "other": (pages.product, self.other.pk),
            "stove": (pages.product, self.stove.pk),
            "beans": (pages.product, self.beans.pk),
            "tents": (pages.category, "outdoor-tents"),
            "stoves": (pages.category, "outdoor-stoves"),
            "outdoor": (pages.category, "outdoor"),
            "coffee": (pages.category, "coffee"),
            "api": (answers.listing,),
            "api tents": (answers.listing, "outdoor-tents"),
            "api featured": (answers.listing, "", True),
            "api stove": (answers.detail, self.stove.pk),
            "api tree": (answers.categories,),
        }
        self.show_all()

    def show_all(self) -> None:
        """Fill the cache with every page."""
        for function, *arguments in self.pages.values():
            function(*arguments)
        assert self.wrong() == set()

    def wrong(self) -> set[str]:
        """Return the pages that are no longer cached, here and in another process."""
        here = {name for name, (function, *arguments) in self.pages.items() if function.peek(*arguments) is None}
        caches["local"].clear()
        there = {name for name, (function, *arguments) in self.pages.items() if function.peek(*arguments) is None}
        assert here == there
        return there


@isolate_apps("shop.products")
def proxy() -> type[Product]:
    """Return a proxy model of products."""

    class Sale(Product):
        class Meta:
            proxy = True
            app_label = "products"

    return Sale


@isolate_apps("shop.products")
def child() -> type[Product]:
    """Return a child model of products."""

    class Kit(Product):
        class Meta:
            app_label = "products"

    return Kit


@pytest.fixture
def shop(transactional_db: None, make_product: MakeProduct) -> Shop:
    return Shop(make_product)


SHOWS_STOVE = {"stove", "stoves", "outdoor", "api", "api stove"}


@pytest.mark.parametrize(
    "change",
    [
        lambda shop: Product.objects.filter(sku="stove").update(price_amount=1),
        lambda shop: Product.objects.filter(pk=shop.stove.pk, stock__gte=1).update(stock=F("stock") - 1),
        lambda shop: Product.objects.filter(category__slug="outdoor-stoves").update(name="Stove"),
        lambda shop: Product.objects.filter(category__children=None, sku="stove").distinct().update(price_amount=1),
        lambda shop: Product(pk=shop.stove.pk, price_amount=2).save(update_fields=["price_amount"]),
        lambda shop: Product.objects.bulk_update(
            [Product(pk=shop.stove.pk, price_amount=3)], ["price_amount"]
        ),
    ],
    ids=["update", "expression", "through another table", "distinct", "save of a field", "bulk_update"],
)  # fmt: skip
def test_a_changed_price_invalidates_exactly_the_pages_that_show_it(shop: Shop, change: Callable[[Shop], Any]) -> None:
    change(shop)
    assert shop.wrong() == SHOWS_STOVE


def test_an_import_that_changes_a_price_does_the_same(shop: Shop, import_file: ImportFile) -> None:
    import_file("a.csv", "sku,name,category,price\nstove,Stove,outdoor/stoves,77\n")
    assert shop.wrong() == SHOWS_STOVE


def test_a_product_is_also_a_neighbour_on_the_page_of_another(shop: Shop) -> None:
    Product.objects.filter(sku="other").update(price_amount=1)
    assert shop.wrong() == {"tent", "other", "tents", "outdoor", "api", "api tents"}


def test_a_whole_save_counts_as_a_change_of_everything_of_the_product(shop: Shop) -> None:
    shop.stove.price_amount = 5
    shop.stove.save()
    assert shop.wrong() == SHOWS_STOVE | {"api tree"}


@pytest.mark.parametrize(
    "create",
    [
        lambda shop, file: Product.objects.create(
            sku="new", name="New", category=category_at(STOVES), price_amount=1
        ),
        lambda shop, file: Product.objects.bulk_create(
            [Product(sku="new", name="New", category=category_at(STOVES), price_amount=1)]
        ),
        lambda shop, file: file("a.csv", "sku,name,category,price\nnew,New,outdoor/stoves,77\n"),
    ],
    ids=["create", "bulk_create", "import"],
)  # fmt: skip
def test_a_new_product_invalidates_the_lists_that_it_is_on(
    shop: Shop, import_file: ImportFile, create: Callable[[Shop, ImportFile], Any]
) -> None:
    create(shop, import_file)
    # The stove's page shows its neighbours.
    assert shop.wrong() == {"stove", "stoves", "outdoor", "api", "api tree"}


@pytest.mark.parametrize(
    "delete",
    [lambda shop: shop.stove.delete(), lambda shop: Product.objects.filter(sku="stove").delete()],
    ids=["of one", "of a queryset"],
)
def test_a_deleted_product_invalidates_the_pages_that_showed_it(shop: Shop, delete: Callable[[Shop], Any]) -> None:
    delete(shop)
    assert shop.wrong() == SHOWS_STOVE | {"api tree"}


@pytest.mark.parametrize("way", ["update", "import", "add"])
def test_a_product_that_changes_its_category_invalidates_both_lists(
    shop: Shop, import_file: ImportFile, way: str
) -> None:
    if way == "update":
        Product.objects.filter(sku="stove").update(category=category_at(TENTS))
    elif way == "add":
        category_at(TENTS).products.add(shop.stove)
    else:
        import_file("a.csv", "sku,name,category,price\nstove,Stove,outdoor/tents,77\n")
    assert shop.wrong() == SHOWS_STOVE | {"tent", "other", "tents", "api tents", "api tree"}


@pytest.mark.parametrize("way", ["update", "import"])
def test_a_product_that_becomes_featured_invalidates_the_front_page(
    shop: Shop, import_file: ImportFile, way: str
) -> None:
    if way == "update":
        Product.objects.filter(sku="stove").update(featured=True)
    else:
        import_file("a.csv", "sku,name,category,price,featured\nstove,Thing 3,outdoor/stoves,1299,true\n")
    assert shop.wrong() == SHOWS_STOVE | {"front", "api featured", "api tree"}


@pytest.mark.parametrize(
    "change", [{"name": "Tea"}, {"slug": "tea"}, {"position": 1}], ids=["name", "slug", "position"]
)
def test_a_changed_category_invalidates_every_page_since_products_show_it(shop: Shop, change: dict[str, Any]) -> None:
    Category.objects.filter(slug="coffee").update(**change)
    assert shop.wrong() == set(shop.pages)


def test_a_category_with_new_children_invalidates_every_page(shop: Shop) -> None:
    Category.objects.get(slug="coffee").children.add(category_at(STOVES))
    assert shop.wrong() == set(shop.pages)


def test_a_category_updated_through_an_annotation_invalidates_every_page(shop: Shop) -> None:
    empty = Category.objects.annotate(number=Count("products")).filter(number=0)
    assert empty.update(position=7) == 1
    assert Category.objects.get(slug="outdoor").position == 7
    assert shop.wrong() == set(shop.pages)


def test_a_category_that_is_renamed_is_seen_at_once_wherever_it_stands(shop: Shop) -> None:
    tents = Category.objects.get(slug="outdoor-tents")
    tents.name, tents.slug = "Shelters", "outdoor-shelters"
    tents.save()
    listed = (answers.listing(), answers.listing("", True), answers.listing("outdoor-shelters"))
    shown = [json.loads(answers.detail(shop.tent.pk)), *(json.loads(one)["items"][0] for one in listed)]
    assert [one["category"] for one in shown] == [{"slug": "outdoor-shelters", "name": "Shelters"}] * 4
    with pytest.raises(Problem, match="category does not exist"):
        answers.listing("outdoor-tents")
    for page in (pages.front(), pages.product(shop.tent.pk), pages.category("outdoor-shelters")):
        assert "Shelters" in page
        assert "outdoor-tents" not in page


def test_an_update_by_an_expression_invalidates_every_list(shop: Shop) -> None:
    Product.objects.filter(sku="stove").update(category_id=F("category_id"))
    assert shop.wrong() == set(shop.pages)


def test_a_rolled_back_change_invalidates_nothing(shop: Shop) -> None:
    with transaction.atomic():
        Product.objects.filter(sku="stove").update(price_amount=1)
        shop.tent.delete()
        transaction.set_rollback(True)
    assert shop.wrong() == set()


def test_before_the_commit_other_readers_see_the_old_state(shop: Shop) -> None:
    with transaction.atomic():
        Product.objects.filter(sku="stove").update(price_amount=1)
        assert shop.wrong() == set()
    assert shop.wrong() == SHOWS_STOVE


def test_an_update_of_no_row_invalidates_nothing(shop: Shop) -> None:
    assert Product.objects.filter(sku="nothing").update(price_amount=1) == 0
    assert shop.wrong() == set()


def test_a_deferred_column_is_read_on_access(shop: Shop) -> None:
    assert "thing" in Product.objects.get(pk=shop.stove.pk).search


def test_a_change_through_a_proxy_model_invalidates_too(shop: Shop) -> None:
    sale = proxy().objects.get(pk=shop.tent.pk)
    sale.stock += 1
    sale.save(update_fields=["stock"])
    first = shop.wrong()
    assert "tent" in first
    shop.show_all()
    proxy()._default_manager.filter(pk=shop.tent.pk).update(stock=F("stock") + 1)
    assert shop.wrong() == first


def test_a_change_of_a_child_model_invalidates_its_product() -> None:
    change = Change(Product, [7], {"stock": [1]})
    assert tags_of(change)
    assert tags_of(replace(change, model=child())) == tags_of(change)
