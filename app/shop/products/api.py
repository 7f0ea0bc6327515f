"""`/api/products/` in the service: public reads, and changes by staff."""

from __future__ import annotations

from typing import Annotated, Any

from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from ninja import Query, Schema, Status
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints
from scaleout.events.outbox import publish
from scaleout.identity.bearer import StaffBearer
from scaleout.problems import Problem, require_match
from scaleout.problems.api import NO_NUL, Api, of_text, problems
from scaleout.replication import use_primary
from scaleout.text import identifier, line, nfc

from shop.products import answers, events, image_api, views
from shop.products.imports.rows import DESCRIPTION_MAX, PRICE_MAX, STOCK_MAX
from shop.products.locking import locked_product
from shop.products.models import NAME_MAX, SKU_MAX, SLUG_MAX, Category, Product
from shop.products.money import DECIMALS
from shop.products.schemas import Filters, ProductOut

api = Api("products", "The catalogue: public to read, changed by staff.")
api.add_router("", image_api.router)
staff = StaffBearer()


def _known_currency(code: str) -> str:
    if code not in DECIMALS:
        raise ValueError("must be an ISO 4217 code such as EUR")
    return code


# The same rule as in the import: one line without control characters.
_LINE = r"^[^\x00-\x1f\x7f]*$"
Sku = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=SKU_MAX, pattern=_LINE),
    BeforeValidator(of_text(identifier)),
    Field(examples=["TENT-1"]),
]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=NAME_MAX, pattern=_LINE),
    BeforeValidator(of_text(line)),
    Field(examples=["A tent"]),
]
Description = Annotated[
    str, StringConstraints(max_length=DESCRIPTION_MAX, pattern=NO_NUL), BeforeValidator(of_text(nfc))
]
Slug = Annotated[
    str,
    StringConstraints(max_length=SLUG_MAX, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$"),
    Field(examples=["outdoor-tents"]),
]
Stock = Annotated[int, Field(strict=True, ge=0, le=STOCK_MAX)]
Flag = Annotated[bool, Field(strict=True)]


class Input(Schema):
    """A body that rejects unknown fields."""

    model_config = ConfigDict(extra="forbid")


class PriceIn(Input):
    amount: int = Field(strict=True, ge=0, le=PRICE_MAX, description="In minor units.")
    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$"), AfterValidator(_known_currency)] = Field(
        "EUR", description="A change without it keeps the currency."
    )


class NewProduct(Input):
    sku: Sku
    name: Name
    category: Slug
    price: PriceIn
    description: Description = ""
    stock: Stock = 0
    featured: Flag = False


class Change(Input):
    """A change: a field that is not given keeps its value."""

    sku: Sku | None = None
    name: Name | None = None
    category: Slug | None = None
    price: PriceIn | None = None
    description: Description | None = None
    stock: Stock | None = None
    featured: Flag | None = None


class ProductPage(Schema):
    items: list[ProductOut]
    next: str | None


class Node(Schema):
    slug: str
    name: str
    products: int = Field(description="In this category and its descendants.")
    children: list[Node]


class Tree(Schema):
    items: list[Node]
    next: None = None


# The views check the values of the parameters.
@api.get("", response={200: ProductPage, **problems(404)})
def products(request: HttpRequest, filters: Query[Filters]) -> HttpResponse:
    """Return a page of products. 404: the category does not exist."""
    return views.product_list(request, filters)


@api.get("categories", response=Tree)
def categories(request: HttpRequest) -> HttpResponse:
    """Return the whole category tree."""
    return views.category_list(request)


@api.get("{product_id}", response={200: ProductOut, **problems(404)})
def product(request: HttpRequest, product_id: str) -> HttpResponse:
    """Return one product."""
    return views.product_detail(request, product_id)


@api.post("", auth=staff, response={201: ProductOut, **problems(401, 403, 409)})
def make(request: HttpRequest, body: NewProduct) -> Status[dict[str, Any]]:
    """Add a product. For staff. 409: another product has the SKU."""
    return Status(201, _save(Product(), body))


@api.patch("{product_id}", auth=staff, response={200: ProductOut, **problems(401, 403, 404, 409, 412, 428)})
def change(request: HttpRequest, product_id: str, body: Change) -> dict[str, Any]:
    """Change a product. For staff.

    409: another product has the SKU. 412: `If-Match` names another version.
    """
    with transaction.atomic():
        # The lock keeps two concurrent changes from undoing each other's fields.
        product = locked_product(product_id)
        require_match(request, answers.etag(product))
        return _save(product, body)


@api.delete("{product_id}", auth=staff, response={204: None, **problems(401, 403, 404, 412, 428)})
def delete(request: HttpRequest, product_id: str) -> Status[None]:
    """Delete a product. For staff. Orders keep its id and its price."""
    with transaction.atomic():
        product = locked_product(product_id)
        require_match(request, answers.etag(product))
        product.delete()
    return Status(204, None)


def _save(product: Product, body: NewProduct | Change) -> dict[str, Any]:
    """Save the fields that the body gives, and return the product. Raises Problem."""
    given = body.model_dump(exclude_unset=isinstance(body, Change), exclude_none=True)
    changed = [name for name in given if name not in ("price", "category")]  # other fields are columns
    for name in changed:
        setattr(product, name, given[name])
    if "price" in given:
        product.price_amount = given["price"]["amount"]
        product.currency = given["price"].get("currency", product.currency)  # a change may give the amount only
        changed += ["price_amount", "currency"]
    if "category" in given:
        with use_primary():
            category = Category.objects.filter(slug=given["category"]).first()
        if category is None:
            raise Problem(400, "body.category: This category does not exist. GET /api/products/categories lists all.")
        product.category = category
        changed.append("category")
    try:
        with transaction.atomic():
            if product.pk is None:
                product.save()
            elif changed:
                product.save(update_fields=[*changed, "updated_at"])
                _publish_change(product)
    except IntegrityError as error:
        if "product_sku" not in str(error):
            raise
        raise Problem(409, "Another product has this SKU. Choose another one.") from error
    return answers.as_json(product)


def _publish_change(product: Product) -> None:
    aggregate, data = events.changed(product.pk, product.name, product.price_amount, product.currency)
    publish(events.CHANGED, aggregate=aggregate, **data)
