"""The paths of the shop's pages, to include at the root."""

from django.urls import path

from shop.storefront import views

app_name = "storefront"
urlpatterns = [
    path("", views.front, name="front"),
    path("products/<str:product_id>/", views.product, name="product"),
    path("categories/<str:slug>/", views.category, name="category"),
    path("search/", views.search, name="search"),
]
