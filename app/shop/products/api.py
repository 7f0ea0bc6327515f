"""`/api/products/` as the service serves it: what anybody reads, and what staff change."""

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

from shop.products import answers, catalog, image_api, params, telling, views
from shop.products.imports.rows import DESCRIPTION_MAX, PRICE_MAX, STOCK_MAX
from shop.products.locking import locked_product
from shop.products.models import NAME_MAX, SKU_MAX, SLUG_MAX, Category, Product
from shop.products.money import DECIMALS
from shop.products.schemas import ProductOut

api = Api("products", "The catalogue: read by anybody, changed by staff.")
api.add_router("", image_api.router)
staff = StaffBearer()


def _known_currency(code: str) -> str:
    if code not in DECIMALS:
        raise ValueError("must be an ISO 4217 code such as EUR")
    return code


# As the import has it: one line without control characters.
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
    """A body in which every field is known."""

    model_config = ConfigDict(extra="forbid")


class PriceIn(Input):
    amount: int = Field(strict=True, ge=0, le=PRICE_MAX, description="In minor units.")
    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$"), AfterValidator(_known_currency)] = Field(
        "EUR", description="Where a change leaves it out, it stays as it is."
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
    """What is left out stays as it is."""

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
    products: int = Field(description="In this category and those below.")
    children: list[Node]


class Tree(Schema):
    items: list[Node]
    next: None = None


class Filters(Schema):
    """Read as text by `shop.products.params`, where an empty one counts as not given. Described
    here.
    """

    category: str = Field("", description="A slug; includes the categories below.")
    featured: str = Field("", description="true or false.")
    q: str = Field("", max_length=params.QUERY_MAX, description="Words, or a part of a name.")
    cursor: str = Field("", description="The `next` of the page before.")
    ids: str = Field("", description=f"Up to {params.IDS_MAX} ids, with commas between them; then nothing else counts.")
    limit: str = Field("", description=f"A whole number from 1; at most {catalog.PAGE_SIZE_MAX} are given.")


# What the three reads are asked is checked by the views.
@api.get("", response={200: ProductPage, **problems(404)})
def products(request: HttpRequest, filters: Query[Filters]) -> HttpResponse:
    """A page of products. 404: there is no such category."""
    return views.product_list(request)


@api.get("categories", response=Tree)
def categories(request: HttpRequest) -> HttpResponse:
    """The whole tree."""
    return views.category_list(request)


@api.get("{product_id}", response={200: ProductOut, **problems(404)})
def product(request: HttpRequest, product_id: str) -> HttpResponse:
    """One product."""
    return views.product_detail(request, product_id)


@api.post("", auth=staff, response={201: ProductOut, **problems(401, 403, 409)})
def make(request: HttpRequest, body: NewProduct) -> Status[dict[str, Any]]:
    """Add a product, for staff. 409: the SKU is another product's."""
    return Status(201, _save(Product(), body))


@api.patch("{product_id}", auth=staff, response={200: ProductOut, **problems(401, 403, 404, 409, 412, 428)})
def change(request: HttpRequest, product_id: str, body: Change) -> dict[str, Any]:
    """Change a product, for staff. 409: the SKU is another product's. 412: it is not as `If-Match`
    says.
    """
    with transaction.atomic():
        # Locked, so that of two changes at once none undoes the other's fields.
        product = locked_product(product_id)
        require_match(request, answers.etag(product))
        return _save(product, body)


@api.delete("{product_id}", auth=staff, response={204: None, **problems(401, 403, 404, 412, 428)})
def delete(request: HttpRequest, product_id: str) -> Status[None]:
    """Take a product out of the catalogue, for staff. Orders keep what they say of it."""
    with transaction.atomic():
        product = locked_product(product_id)
        require_match(request, answers.etag(product))
        product.delete()
    return Status(204, None)


def _save(product: Product, body: NewProduct | Change) -> dict[str, Any]:
    """Take over what the body says, and return the product as it is now. Raises Problem."""
    given = body.model_dump(exclude_unset=isinstance(body, Change), exclude_none=True)
    changed = [name for name in given if name not in ("price", "category")]  # the others are columns of these names
    for name in changed:
        setattr(product, name, given[name])
    if "price" in given:
        product.price_amount = given["price"]["amount"]
        product.currency = given["price"].get("currency", product.currency)  # a change of the amount alone
        changed += ["price_amount", "currency"]
    if "category" in given:
        with use_primary():
            category = Category.objects.filter(slug=given["category"]).first()
        if category is None:
            raise Problem(400, "body.category: there is no such category")
        product.category = category
        changed.append("category")
    try:
        with transaction.atomic():
            if product.pk is None:
                product.save()
            elif changed:
                product.save(update_fields=[*changed, "updated_at"])
                _tell(product)
    except IntegrityError as error:
        if "product_sku" not in str(error):
            raise
        raise Problem(409, "Another product has this SKU.") from error
    return answers.as_json(product)


def _tell(product: Product) -> None:
    aggregate, data = telling.changed(product.pk, product.name, product.price_amount, product.currency)
    publish(telling.CHANGED, aggregate=aggregate, **data)
