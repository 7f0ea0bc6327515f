"""The addresses that these tests use: those of the contract, whatever the project's own are."""

from django.urls import include, path

urlpatterns = [
    path("api/products/", include("products.urls")),
    path("", include("storefront.urls")),
]
