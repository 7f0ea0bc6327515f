"""To be included under ``api/products/``."""

from django.urls import path

from products import views

app_name = "products"
urlpatterns = [
    path("", views.product_list, name="list"),
    path("categories", views.category_list, name="categories"),
    path("<str:product_id>", views.product_detail, name="detail"),
]
