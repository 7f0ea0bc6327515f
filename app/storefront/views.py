"""The shop's pages. Each runs a small number of queries that does not grow with the catalogue."""

from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from products import catalog, params
from products.tree import CategoryTree

FEATURED = 12
RELATED = 4
LOW_STOCK = 5


@require_safe
def front(request: HttpRequest) -> HttpResponse:
    tree = CategoryTree()
    featured = catalog.find(featured=True, limit=FEATURED).items
    return render(request, "storefront/front.html", {"roots": tree.roots, "products": featured})


@require_safe
def product(request: HttpRequest, product_id: str) -> HttpResponse:
    key = params.identifier(product_id)
    shown = catalog.products().filter(pk=key).first() if key is not None else None
    if shown is None:
        raise Http404
    # From where the product came: a replica that lags may not have its category yet.
    tree = CategoryTree(using=shown._state.db)
    category = tree.by_id[shown.category_id]
    neighbours = catalog.find(category=category, limit=RELATED + 1).items
    context = {
        "roots": tree.roots,
        "product": shown,
        "path": category.path,
        "low_stock": LOW_STOCK,
        "related": [other for other in neighbours if other.pk != shown.pk][:RELATED],
    }
    return render(request, "storefront/product.html", context)


@require_safe
def category(request: HttpRequest, slug: str) -> HttpResponse:
    tree = CategoryTree()
    node = tree.by_slug.get(slug)
    if node is None:
        raise Http404
    try:
        after = params.cursor(request.GET)
    except params.BadParameterError as error:
        raise Http404 from error
    page = catalog.find(category=node, after=after)
    context = {
        "roots": tree.roots,
        "category": node,
        "path": node.path[:-1],
        "products": page.items,
        "first_page": request.path if after else "",
        "next_page": f"{request.path}?{urlencode({'cursor': page.next})}" if page.next else "",
    }
    return render(request, "storefront/category.html", context)


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    context: dict[str, object] = {"roots": CategoryTree().roots}
    try:
        query = params.search_text(request.GET)
        after = params.cursor(request.GET)
    except params.BadParameterError:
        return render(request, "storefront/search.html", context | {"refused": True}, status=400)
    if query:
        page = catalog.find(query=query, after=after)
        context |= {
            "query": query,
            "products": page.items,
            "first_page": f"{request.path}?{urlencode({'q': query})}" if after else "",
            "next_page": f"{request.path}?{urlencode({'q': query, 'cursor': page.next})}" if page.next else "",
        }
    return render(request, "storefront/search.html", context)
