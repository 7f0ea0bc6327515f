import pytest
from django.db import IntegrityError, transaction

from shop.products.models import Category, Product
from shop.products.tests.conftest import MakeProduct, category_at

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sku", ""),
        ("name", ""),
        ("price_amount", -1),
        ("stock", -1),
        ("sold", -1),
        ("currency", "eur"),
        ("currency", "EU"),
    ],
)
def test_the_database_rejects_an_invalid_product(make_product: MakeProduct, field: str, value: object) -> None:
    product = make_product()
    with pytest.raises(IntegrityError), transaction.atomic():
        Product.objects.filter(pk=product.pk).update(**{field: value})


def test_a_sku_is_unique(make_product: MakeProduct) -> None:
    make_product(sku="A")
    with pytest.raises(IntegrityError), transaction.atomic():
        make_product(sku="A")


@pytest.mark.parametrize("slug", ["", "Tents", "a--b", "-a", "a/b", "a b"])
def test_the_database_rejects_an_invalid_slug(slug: str) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Category.objects.create(slug=slug, name="Name")


def test_a_category_is_not_its_own_parent() -> None:
    category = category_at("outdoor")
    with pytest.raises(IntegrityError), transaction.atomic():
        Category.objects.filter(pk=category.pk).update(parent=category)


def test_a_category_with_products_is_not_deleted(make_product: MakeProduct) -> None:
    product = make_product()
    with pytest.raises(IntegrityError), transaction.atomic():
        Category.objects.filter(pk=product.category_id).delete()
