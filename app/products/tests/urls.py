"""The addresses that these tests use: those of the contract, whatever the project's own are."""

from django.urls import include, path

from products.api import api

handler400 = "problem.views.bad_request"
handler404 = "problem.views.not_found"
handler500 = "problem.views.server_error"
urlpatterns = [
    path("api/products/", api.urls),
    path("", include("storefront.urls")),
]
