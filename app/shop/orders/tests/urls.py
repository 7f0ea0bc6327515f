"""The paths of the service, and of the products service that it calls."""

from django.urls import path

from shop.orders.api import api
from shop.products.api import api as products

handler400 = "scaleout.problems.views.bad_request"
handler404 = "scaleout.problems.views.not_found"
handler500 = "scaleout.problems.views.server_error"
urlpatterns = [path("api/orders/", api.urls), path("api/products/", products.urls)]
