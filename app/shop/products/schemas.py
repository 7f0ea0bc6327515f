"""The shape of a product in the API, and the query of the list."""

from __future__ import annotations

from ninja import Schema
from pydantic import Field

from shop.products import catalog, params


class CategoryOut(Schema):
    slug: str
    name: str


class PriceOut(Schema):
    amount: int = Field(description="In minor units.")
    currency: str


class ProductOut(Schema):
    id: int
    sku: str
    name: str
    description: str
    category: CategoryOut
    price: PriceOut
    stock: int
    sold: int
    featured: bool
    image_url: str


class Filters(Schema):
    """The query parameters of the product list. `shop.products.params` checks their values."""

    category: str = Field("", description="A slug; includes the categories below.")
    featured: str = Field("", description="true or false.")
    q: str = Field("", max_length=params.QUERY_MAX, description="Words, or part of a name.")
    cursor: str = Field("", description="The `next` of the previous page.")
    ids: str = Field("", description=f"Up to {params.IDS_MAX} ids, separated by commas, without other parameters.")
    limit: str = Field("", description=f"A whole number from 1; a page has at most {catalog.PAGE_SIZE_MAX} items.")
