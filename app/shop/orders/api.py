"""`/api/orders/`: place an order, and read orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest
from ninja import Header, Query, Schema, Status
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from requests import RequestException
from scaleout.gateway import deadline
from scaleout.identity import bearer
from scaleout.problems import Problem
from scaleout.problems.api import Api, problems
from scaleout.sharding.ids import LARGEST

from shop.orders import products
from shop.orders.models import KEY_MAX, Line, Order, UserDeletedError
from shop.services import callers

PAGE, PAGE_MAX = 50, 200
LINES_MAX, QUANTITY_MAX = 50, 10_000
TOTAL_MAX = 2**53 - 1  # what every JSON reader can hold exactly
PRODUCT_ID_MAX = 10**18 - 1
# Services that may read the orders of any user: they have authorised their own caller.
READERS = callers("orders")
AFTER = {"Retry-After": "1"}

api = Api("orders", "Orders: placed once for each key, visible to their user.", auth=bearer.Bearer())


class ItemIn(Schema):
    model_config = ConfigDict(extra="forbid")

    product_id: int = Field(strict=True, ge=1, le=PRODUCT_ID_MAX)
    quantity: int = Field(strict=True, ge=1, le=QUANTITY_MAX)


def _each_once(items: list[ItemIn]) -> list[ItemIn]:
    if len({item.product_id for item in items}) < len(items):
        raise ValueError("must have each product in one item only")
    return items


class NewOrder(Schema):
    model_config = ConfigDict(extra="forbid")

    items: Annotated[list[ItemIn], Field(min_length=1, max_length=LINES_MAX), AfterValidator(_each_once)]


class ItemOut(Schema):
    product_id: int
    quantity: int
    unit_price: int = Field(description="In minor units, when the order was placed.")


class ProductOut(Schema):
    id: int
    name: str


class OrderOut(Schema):
    id: int
    user_id: int
    status: str
    items: list[ItemOut]
    products: list[ProductOut] = Field(
        description="The products' current names, also while the products service is unavailable."
    )
    total: int = Field(description="In minor units.")
    currency: str
    archived: bool
    created_at: datetime


class OrderPage(Schema):
    items: list[OrderOut]
    next: str | None


Key = Annotated[
    str, StringConstraints(min_length=1, max_length=KEY_MAX, pattern=r"^[!-~]+$"), Field(examples=["basket-1"])
]


@api.post("", response={201: OrderOut, 200: OrderOut, **problems(401, 403, 422)})
def place(
    request: HttpRequest, body: NewOrder, idempotency_key: Annotated[Key, Header(alias="Idempotency-Key")]
) -> Status[dict[str, Any]]:
    """Place an order: 201. The same key again: the same order, 200; with other items: 422.

    An existing order needs no other service, so a caller that has lost the answer always gets it.
    """
    user_id = bearer.user(request)
    order, new = Order.objects.for_user(user_id).filter(idempotency_key=idempotency_key).first(), False
    if order is None:
        lines, currency = _priced(body.items)
        if not deadline.left(1):  # the caller already has a 504, so no order may follow
            raise Problem(503, "The deadline passed before the order was placed. Try again with the same key.", AFTER)
        try:
            order, new = Order.objects.place(user_id, lines, currency, idempotency_key)
        except UserDeletedError as error:
            raise PermissionDenied("The user was deleted.") from error
    (shown,) = _shown([order])
    if not new and _wanted(body) != {item["product_id"]: item["quantity"] for item in shown["items"]}:
        raise Problem(422, "This Idempotency-Key belongs to an order with other items. Use a new key.")
    return Status(201 if new else 200, shown)


@api.get("", response={200: OrderPage, **problems(401, 403)})
def orders(
    request: HttpRequest,
    cursor: Annotated[int | None, Query(ge=0, le=LARGEST)] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE,
    user_id: Annotated[int | None, Query(ge=0, le=LARGEST)] = None,
) -> dict[str, Any]:
    """List the caller's orders, the latest first; with `user_id` another user's, for staff."""
    found = _with_items(Order.objects.for_user(_whose(request, user_id))).order_by("-id")
    if cursor is not None:
        found = found.filter(id__lt=cursor)
    rows = list(found[: limit + 1])
    page = rows[:limit]
    return {"items": _shown(page), "next": str(page[-1].id) if len(rows) > limit else None}


@api.get("{int:order_id}", response={200: OrderOut, **problems(401, 404)})
def order(request: HttpRequest, order_id: int) -> dict[str, Any]:
    """Return the caller's order; any for staff. 404: also if it is another user's."""
    found = _with_items(Order.objects.filter(pk=order_id)).first() if order_id <= LARGEST else None
    if found is None or not bearer.caller(request).may_see(found.user_id):
        raise Http404
    return _shown([found])[0]


def _whose(request: HttpRequest, user_id: int | None) -> int:
    who = bearer.caller(request)
    if user_id is None:
        return bearer.user(request)
    if who.may_see(user_id) or who.service in READERS:
        return user_id
    raise PermissionDenied("Only staff can read the orders of another user.")


def _priced(items: Sequence[ItemIn]) -> tuple[list[Line], str]:
    """Return the lines with current prices, and their currency. Raises Problem."""
    try:
        prices = products.prices(item.product_id for item in items)
    except products.UnknownProduct as error:
        raise Problem(400, str(error)) from error
    except RequestException as error:
        detail = "The products service is unavailable. Try again in 1 s."
        raise Problem(503, detail, AFTER) from error
    currencies = {price.currency for price in prices.values()}
    if len(currencies) > 1:
        raise Problem(400, f"An order must have one currency, not {' and '.join(sorted(currencies))}. Split the order.")
    if sum(item.quantity * prices[item.product_id].amount for item in items) > TOTAL_MAX:
        raise Problem(400, "The total of the order is too large. Split the order.")
    products.remember(prices)
    lines = [Line(item.product_id, item.quantity, prices[item.product_id].amount) for item in items]
    return lines, currencies.pop()


def _wanted(body: NewOrder) -> dict[int, int]:
    return {item.product_id: item.quantity for item in body.items}


def _with_items(found: QuerySet[Order]) -> QuerySet[Order]:
    return found.prefetch_related("items")


def _shown(orders: Sequence[Order]) -> list[dict[str, Any]]:
    names = products.names(item.product_id for order in orders for item in order.items.all())
    return [_one(order, names) for order in orders]


def _one(order: Order, names: Mapping[int, str]) -> dict[str, Any]:
    items = sorted(order.items.all(), key=lambda item: item.id)
    return {
        "id": order.id,
        "user_id": order.user_id,
        "status": order.status,
        "items": [
            {"product_id": item.product_id, "quantity": item.quantity, "unit_price": item.unit_price} for item in items
        ],
        "products": [
            {"id": item.product_id, "name": names[item.product_id]} for item in items if item.product_id in names
        ],
        "total": order.total,
        "currency": order.currency,
        "archived": order.archived,
        "created_at": order.created_at,
    }
