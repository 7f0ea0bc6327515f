"""The paths of `web`."""

from __future__ import annotations

from django.urls import include, path, re_path
from gateway.views import forward

from config import api_docs

handler400 = "problem.views.bad_request"
handler403 = "problem.views.forbidden"
handler404 = "problem.views.not_found"
handler500 = "problem.views.server_error"


urlpatterns = [
    path("api/docs", api_docs.page, name="api-docs"),
    path("api/openapi.json", api_docs.document, name="api-document"),
    re_path(r"^api(?:/|$)", forward, name="gateway"),
    path("", include("stateless.urls")),
    path("", include("storefront.urls")),
]
