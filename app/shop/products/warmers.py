"""The API's most requested answers, computed at a start."""

from collections.abc import Iterator

from scaleout.caching import warmer
from scaleout.caching.warming import Call

from shop.products import answers


@warmer("products-api")
def most_asked() -> Iterator[Call]:
    yield (answers.listing,)
    yield (answers.categories,)
    yield answers.listing, "", True
