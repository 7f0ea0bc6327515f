"""What the products service says of products, and what orders remembers of that."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from config import calls

from orders.models import ProductName

SECONDS = 1.0  # for all products of an order


class UnknownProduct(Exception):  # noqa: N818 - said of the product
    """There is no product with this id."""


@dataclass(frozen=True)
class Price:
    """In minor units. `name` is what the product is called."""

    amount: int
    currency: str
    name: str


def prices(product_ids: Iterable[int]) -> dict[int, Price]:
    """Return the price of each product. Raises UnknownProduct, and calls.Unavailable if they are not told in time."""
    until = time.monotonic() + SECONDS
    return {product_id: _price(product_id, until - time.monotonic()) for product_id in product_ids}


def remember(prices: Mapping[int, Price]) -> None:
    """Keep the names of products that are ordered for the first time. A name that is known is kept up to date by
    events, so what was just read, perhaps from a cache, does not replace it."""
    new = prices.keys() - names(prices).keys()
    ProductName.objects.using("default").bulk_create(
        [ProductName(product_id=one, name=prices[one].name) for one in sorted(new)], ignore_conflicts=True
    )


def names(product_ids: Iterable[int]) -> dict[int, str]:
    """Return the names of those products that are known here."""
    known = ProductName.objects.using("default").filter(product_id__in=set(product_ids))
    return dict(known.values_list("product_id", "name"))


def _price(product_id: int, seconds: float) -> Price:
    answer = calls.get("products", f"/api/products/{product_id}", seconds=seconds)
    if answer.status == 404:
        raise UnknownProduct(f"There is no product {product_id}.")
    try:
        price = Price(answer.body["price"]["amount"], answer.body["price"]["currency"], answer.body["name"])
    except (KeyError, TypeError):
        raise calls.Unavailable(f"products: status {answer.status} without a price") from None
    if type(price.amount) is not int or price.amount < 0 or not isinstance(price.currency, str):
        raise calls.Unavailable("products: a price that is none")
    if not isinstance(price.name, str):
        raise calls.Unavailable("products: a name that is none")
    return price
