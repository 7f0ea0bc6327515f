"""The paths of `web`."""

from __future__ import annotations

from django.conf import settings
from django.urls import include, path, re_path
from gateway.views import forward

handler400 = "problem.views.bad_request"
handler403 = "problem.views.forbidden"
handler404 = "problem.views.not_found"
handler500 = "problem.views.server_error"


urlpatterns = [
    # As long as the products are no service of their own.
    *([] if "products" in settings.GATEWAY_SERVICES else [path("api/products/", include("products.urls"))]),
    re_path(r"^api(?:/|$)", forward, name="gateway"),
    path("", include("stateless.urls")),
    path("", include("storefront.urls")),
]
