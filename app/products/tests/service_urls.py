"""The addresses of the service; those of web's pages and reads are in urls.py."""

from django.urls import path

from products.api import api

handler400 = "problem.views.bad_request"
handler404 = "problem.views.not_found"
handler500 = "problem.views.server_error"
urlpatterns = [path("api/products/", api.urls)]
