"""The public reads of the catalogue, as JSON."""

from django.http import HttpRequest, HttpResponse
from scaleout.caching import shown
from scaleout.cdn import public
from scaleout.problems import Problem

from shop.products import answers, catalog, params
from shop.products.schemas import Filters

# A change purges the pages that show it from the edge. `max_age` is for browsers, which get no
# purge, and for an edge that missed one; `stale_if_error` for a site that is down.
kept = public(max_age=30, stale_while_revalidate=30, stale_if_error=3600, tags=shown)


def answer(body: str) -> HttpResponse:
    return HttpResponse(body, content_type="application/json")


@kept
def product_list(request: HttpRequest, filters: Filters) -> HttpResponse:
    """Return a page of products; with `ids`, those of them that exist.

    A category includes its descendants. Raises Problem (400, 404).
    """
    try:
        if ids := params.ids(filters.ids):
            return answer(answers.several(ids))
        query = params.search_text(filters.q)
        after = params.cursor(filters.cursor)
        limit = params.limit(filters.limit)
        featured = params.featured(filters.featured)
    except params.BadParameterError as error:
        raise Problem(400, str(error)) from error
    slug = params.slug(filters.category)
    if slug is None:
        raise Problem(404, "This category does not exist. GET /api/products/categories lists all.")
    if query:
        return answer(answers.search(slug, featured, query, after, limit))
    return answer(answers.listing(slug, featured, after, limit))


@kept
def product_detail(request: HttpRequest, product_id: str) -> HttpResponse:
    key = params.identifier(product_id)
    body = answers.detail(key) if key is not None and catalog.may_exist(key) else ""
    if not body:
        raise Problem(404, "This product does not exist.")
    return answer(body)


@kept
def category_list(request: HttpRequest) -> HttpResponse:
    """Return the whole tree; ``products`` of a category includes its descendants'."""
    return answer(answers.categories())
