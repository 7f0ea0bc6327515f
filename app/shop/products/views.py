"""What anybody reads of the catalogue, as JSON."""

from django.http import HttpRequest, HttpResponse
from scaleout.caching import shown
from scaleout.cdn import public
from scaleout.problems import Problem

from shop.products import answers, catalog, params

# A change purges what shows it from the edge. The seconds are for a browser, which nobody can tell,
# and for an edge that was not told; an hour for a site that is down.
kept = public(max_age=30, stale_while_revalidate=30, stale_if_error=3600, tags=shown)


def answer(body: str) -> HttpResponse:
    return HttpResponse(body, content_type="application/json")


@kept
def product_list(request: HttpRequest) -> HttpResponse:
    """A page of products; a category includes its descendants, and one that does not exist is a
    404. With `ids`, those of them that there are.
    """
    try:
        if ids := params.ids(request.GET):
            return answer(answers.several(ids))
        query = params.search_text(request.GET)
        after = params.cursor(request.GET)
        limit = params.limit(request.GET)
        featured = params.featured(request.GET)
    except params.BadParameterError as error:
        raise Problem(400, str(error)) from error
    slug = params.slug(request.GET.get("category", ""))
    if slug is None:
        raise Problem(404, "there is no such category")
    if query:
        return answer(answers.search(slug, featured, query, after, limit))
    return answer(answers.listing(slug, featured, after, limit))


@kept
def product_detail(request: HttpRequest, product_id: str) -> HttpResponse:
    key = params.identifier(product_id)
    body = answers.detail(key) if key is not None and catalog.may_exist(key) else ""
    if not body:
        raise Problem(404, "there is no such product")
    return answer(body)


@kept
def category_list(request: HttpRequest) -> HttpResponse:
    """The whole tree; ``products`` of a category counts those of its descendants too."""
    return answer(answers.categories())
