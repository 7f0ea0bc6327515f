"""What the products service says of a product."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from config import calls

SECONDS = 1.0  # for all products of an order


class UnknownProduct(Exception):  # noqa: N818 - said of the product
    """There is no product with this id."""


@dataclass(frozen=True)
class Price:
    """In minor units."""

    amount: int
    currency: str


def prices(product_ids: Iterable[int]) -> dict[int, Price]:
    """Return the price of each product. Raises UnknownProduct, and calls.Unavailable if they are not told in time."""
    until = time.monotonic() + SECONDS
    return {product_id: _price(product_id, until - time.monotonic()) for product_id in product_ids}


def _price(product_id: int, seconds: float) -> Price:
    answer = calls.get("products", f"/api/products/{product_id}", seconds=seconds)
    if answer.status == 404:
        raise UnknownProduct(f"There is no product {product_id}.")
    try:
        price = Price(answer.body["price"]["amount"], answer.body["price"]["currency"])
    except (KeyError, TypeError):
        raise calls.Unavailable(f"products: status {answer.status} without a price") from None
    if type(price.amount) is not int or price.amount < 0 or not isinstance(price.currency, str):
        raise calls.Unavailable("products: a price that is none")
    return price
