import pytest
from products.tests.conftest import make_product

__all__ = ["make_product"]


@pytest.fixture(autouse=True)
def _surroundings(settings: pytest.FixtureRequest) -> None:
    settings.ROOT_URLCONF = "products.tests.urls"  # type: ignore[attr-defined]
    # Plain names of static files: a test needs no collectstatic before it.
    settings.STORAGES = {  # type: ignore[attr-defined]
        **settings.STORAGES,  # type: ignore[attr-defined]
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
