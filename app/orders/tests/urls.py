"""The addresses of the service, and of the products service that it asks."""

from django.urls import path
from products.api import api as products

from orders.api import api

handler400 = "problem.views.bad_request"
handler404 = "problem.views.not_found"
handler500 = "problem.views.server_error"
urlpatterns = [path("api/orders/", api.urls), path("api/products/", products.urls)]
