"""What anybody reads of the catalogue, as JSON."""

from django.http import HttpRequest, HttpResponse
from problem import Problem

from products import answers, params


def answer(body: str) -> HttpResponse:
    return HttpResponse(body, content_type="application/json")


def product_list(request: HttpRequest) -> HttpResponse:
    """A page of products; a category includes its descendants, and one that does not exist is a 404."""
    try:
        query = params.search_text(request.GET)
        after = params.cursor(request.GET)
        limit = params.limit(request.GET)
        featured = params.featured(request.GET)
    except params.BadParameterError as error:
        raise Problem(400, str(error)) from error
    slug = request.GET.get("category", "")
    if query:
        return answer(answers.search(slug, featured, query, after, limit))
    return answer(answers.listing(slug, featured, after, limit))


def product_detail(request: HttpRequest, product_id: str) -> HttpResponse:
    key = params.identifier(product_id)
    if key is None:
        raise Problem(404, "there is no such product")
    return answer(answers.detail(key))


def category_list(request: HttpRequest) -> HttpResponse:
    """The whole tree; ``products`` of a category counts those of its descendants too."""
    return answer(answers.categories())
