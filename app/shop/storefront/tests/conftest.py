import pytest
from pytest_django import Settings

from shop.products.tests.conftest import make_product

__all__ = ["make_product"]


@pytest.fixture(autouse=True)
def _urls(settings: Settings) -> None:
    settings.ROOT_URLCONF = "shop.products.tests.urls"
