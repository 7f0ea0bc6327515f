"""The shop's pages. An uncached page runs few queries, independent of the catalogue's size."""

from urllib.parse import urlencode

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.http import require_safe
from scaleout.cdn import weak_etag
from scaleout.gateway import gateway

from shop.products import catalog, params
from shop.products.tree import CategoryTree
from shop.storefront import pages


def _answer(page: str) -> HttpResponse:
    foot = render_to_string("storefront/foot.html")
    # The ETag ignores the footer: another replica's name is not another page.
    return HttpResponse(page + foot, headers={"ETag": weak_etag(page, foot.replace(settings.REPLICA_NAME, ""))})


@require_safe
def front(request: HttpRequest) -> HttpResponse:
    return _answer(pages.front())


@require_safe
def product(request: HttpRequest, product_id: str) -> HttpResponse:
    key = params.identifier(product_id)
    page = pages.product(key) if key is not None and catalog.may_exist(key) else ""
    if not page:
        raise Http404
    return _answer(page)


@require_safe
def category(request: HttpRequest, slug: str) -> HttpResponse:
    if params.slug(slug) is None:
        raise Http404
    try:
        after = params.cursor(request.GET.get("cursor", ""))
    except params.BadParameterError as error:
        raise Http404 from error
    return _answer(pages.category(slug, after))


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    context: dict[str, object] = {"roots": CategoryTree().roots}
    wait = gateway().refuses(request)  # a search is uncached, so it shares the API's rate limit
    if wait is not None:
        refusal = render(request, "storefront/search.html", context | {"too_many": True}, status=429)
        refusal["Retry-After"] = str(wait)
        return refusal
    try:
        query = params.search_text(request.GET.get("q", ""))
        after = params.cursor(request.GET.get("cursor", ""))
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
