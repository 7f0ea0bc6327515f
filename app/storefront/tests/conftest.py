import pytest
from products.tests.conftest import make_product
from pytest_django import Settings

__all__ = ["make_product"]


@pytest.fixture(autouse=True)
def _urls(settings: Settings) -> None:
    settings.ROOT_URLCONF = "products.tests.urls"
