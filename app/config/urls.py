"""The paths of `web`."""

from __future__ import annotations

from django.urls import include, path, re_path
from scaleout.gateway import forward
from shop.services import api_docs

handler400 = "scaleout.problems.views.bad_request"
handler403 = "scaleout.problems.views.forbidden"
handler404 = "scaleout.problems.views.not_found"
handler500 = "scaleout.problems.views.server_error"


urlpatterns = [
    path("api/docs", api_docs.page, name="api-docs"),
    path("api/openapi.json", api_docs.document, name="api-document"),
    re_path(r"^api(?:/|$)", forward, name="gateway"),
    path("", include("shop.shared_state.urls")),
    path("", include("shop.storefront.urls")),
]
