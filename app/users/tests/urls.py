"""The addresses of the service, whatever SERVICE the tests run as."""

from django.urls import path

from users.api import api

handler400 = "problem.views.bad_request"
handler404 = "problem.views.not_found"
handler500 = "problem.views.server_error"
urlpatterns = [path("api/users/", api.urls)]
