"""What the API is asked most."""

from collections.abc import Iterator

from caching import warmer
from caching.warming import Call

from products import answers


@warmer("products-api")
def most_asked() -> Iterator[Call]:
    yield (answers.listing,)
    yield (answers.categories,)
    yield answers.listing, "", True
