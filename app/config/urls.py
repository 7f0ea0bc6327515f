"""The paths of `web`."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import include, path, re_path
from problem import Problem

handler400 = "problem.views.bad_request"
handler403 = "problem.views.forbidden"
handler404 = "problem.views.not_found"
handler500 = "problem.views.server_error"


def unknown_service(request: HttpRequest, service: str) -> HttpResponse:
    """Answer 404 for what stands below /api/ and is no service."""
    raise Problem(404, f"There is no service with the name {service!r}.")


urlpatterns = [
    path("api/products/", include("products.urls")),
    re_path(r"^api/(?P<service>[^/]*)(?:/.*)?$", unknown_service, name="unknown-service"),
    path("", include("stateless.urls")),
    path("", include("storefront.urls")),
]
