"""The paths of the service, independent of SERVICE."""

from django.urls import include, path

from shop.products.api import api

handler400 = "scaleout.problems.views.bad_request"
handler404 = "scaleout.problems.views.not_found"
handler500 = "scaleout.problems.views.server_error"
urlpatterns = [
    path("api/products/", api.urls),
    path("", include("shop.storefront.urls")),
]
