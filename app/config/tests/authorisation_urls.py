"""The addresses of all three services in one process."""

from django.urls import path
from shop.orders.api import api as orders
from shop.products.api import api as products
from shop.users.api import api as users

handler400 = "scaleout.problems.views.bad_request"
handler403 = "scaleout.problems.views.forbidden"
handler404 = "scaleout.problems.views.not_found"
handler500 = "scaleout.problems.views.server_error"
urlpatterns = [
    path("api/orders/", orders.urls),
    path("api/products/", products.urls),
    path("api/users/", users.urls),
]
