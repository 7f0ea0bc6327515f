"""Prices from the products service, and the product names that orders stores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from requests.exceptions import InvalidJSONError

from shop.orders.models import ProductName
from shop.services import calls

SECONDS = 1.0  # for all products of an order


class UnknownProduct(Exception):  # noqa: N818 - names the product's state
    """A product does not exist."""


@dataclass(frozen=True)
class Price:
    """A product's price in minor units, and its name."""

    amount: int
    currency: str
    name: str


def prices(product_ids: Iterable[int]) -> dict[int, Price]:
    """Return the price of each product, by one call.

    Raises UnknownProduct, and RequestException if the service does not answer in time.
    """
    wanted = list(product_ids)
    ids = ",".join(map(str, wanted))
    answer = calls.session().get("http://products/api/products/", params={"ids": ids}, timeout=SECONDS)
    answer.raise_for_status()
    try:
        found = {item["id"]: _price(item) for item in answer.json()["items"]}
    except (KeyError, TypeError) as error:
        raise InvalidJSONError(f"products: status {answer.status_code} without prices") from error
    for product_id in wanted:
        if product_id not in found:
            raise UnknownProduct(f"Product {product_id} does not exist. Remove it from the order.")
    return {product_id: found[product_id] for product_id in wanted}


def remember(prices: Mapping[int, Price]) -> None:
    """Store the names of products that are new here.

    Events update a stored name. The name just read may be a stale cached one, so it replaces none.
    """
    new = prices.keys() - names(prices).keys()
    ProductName.objects.using("default").bulk_create(
        [ProductName(product_id=one, name=prices[one].name) for one in sorted(new)], ignore_conflicts=True
    )


def names(product_ids: Iterable[int]) -> dict[int, str]:
    """Return the stored names of these products."""
    known = ProductName.objects.using("default").filter(product_id__in=set(product_ids))
    return dict(known.values_list("product_id", "name"))


def _price(item: Any) -> Price:
    price = Price(item["price"]["amount"], item["price"]["currency"], item["name"])
    if type(price.amount) is not int or price.amount < 0 or not isinstance(price.currency, str):
        raise InvalidJSONError("products: invalid price")
    if not isinstance(price.name, str):
        raise InvalidJSONError("products: invalid name")
    return price
