"""The product endpoints: read-only JSON."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from problem import Problem

from products import catalog, params
from products.models import Product
from products.tree import CategoryTree

type View = Callable[..., HttpResponse]


def read_only(view: View) -> View:
    """GET and HEAD only; anything else is a 405 problem that says so."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            raise Problem(405, f"{request.method} is not possible here", {"Allow": "GET, HEAD"})
        return view(request, *args, **kwargs)

    return wrapper


def as_json(product: Product) -> dict[str, Any]:
    return {
        "id": product.pk,
        "sku": product.sku,
        "name": product.name,
        "description": product.description,
        "category": {"slug": product.category.slug, "name": product.category.name},
        "price": {"amount": product.price_amount, "currency": product.currency},
        "stock": product.stock,
        "sold": product.sold,
        "featured": product.featured,
        "image_url": product.image_url,
    }


@read_only
def product_list(request: HttpRequest) -> HttpResponse:
    """A page of products; a category includes its descendants, and one that does not exist is a 404."""
    try:
        query = params.search_text(request.GET)
        after = params.cursor(request.GET)
        limit = params.limit(request.GET)
        featured = params.featured(request.GET)
    except params.BadParameterError as error:
        raise Problem(400, str(error)) from error
    category = None
    if slug := request.GET.get("category", ""):
        category = CategoryTree().by_slug.get(slug)
        if category is None:
            raise Problem(404, "there is no such category")
    page = catalog.find(category=category, featured=featured, query=query, after=after, limit=limit)
    return JsonResponse({"items": [as_json(product) for product in page.items], "next": page.next})


@read_only
def product_detail(request: HttpRequest, product_id: str) -> HttpResponse:
    key = params.identifier(product_id)
    product = catalog.products().filter(pk=key).first() if key is not None else None
    if product is None:
        raise Problem(404, "there is no such product")
    return JsonResponse(as_json(product))


@read_only
def category_list(request: HttpRequest) -> HttpResponse:
    """The whole tree; ``products`` of a category counts those of its descendants too."""
    tree = CategoryTree(count_products=True)
    return JsonResponse({"items": [root.as_json() for root in tree.roots], "next": None})
