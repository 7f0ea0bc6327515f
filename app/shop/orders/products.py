"""What the products service says of products, and what orders remembers of that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from requests.exceptions import InvalidJSONError

from shop.orders.models import ProductName
from shop.services import calls

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
    """Return the price of each product, all by one call. Raises UnknownProduct, and
    RequestException if the products service gives no prices in time.
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
            raise UnknownProduct(f"There is no product {product_id}.")
    return {product_id: found[product_id] for product_id in wanted}


def remember(prices: Mapping[int, Price]) -> None:
    """Keep the names of products that are ordered for the first time. A name that is known is kept
    up to date by events, so what was just read, perhaps from a cache, does not replace it.
    """
    new = prices.keys() - names(prices).keys()
    ProductName.objects.using("default").bulk_create(
        [ProductName(product_id=one, name=prices[one].name) for one in sorted(new)], ignore_conflicts=True
    )


def names(product_ids: Iterable[int]) -> dict[int, str]:
    """Return the names of those products that are known here."""
    known = ProductName.objects.using("default").filter(product_id__in=set(product_ids))
    return dict(known.values_list("product_id", "name"))


def _price(item: Any) -> Price:
    price = Price(item["price"]["amount"], item["price"]["currency"], item["name"])
    if type(price.amount) is not int or price.amount < 0 or not isinstance(price.currency, str):
        raise InvalidJSONError("products: a price that is none")
    if not isinstance(price.name, str):
        raise InvalidJSONError("products: a name that is none")
    return price
