"""The shape of a product in the API."""

from __future__ import annotations

from ninja import Schema
from pydantic import Field


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
