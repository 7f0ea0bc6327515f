"""The paths of one of the services: `/api/<service>/…`, as the gateway passes them on."""

from __future__ import annotations

from importlib import import_module

from django.conf import settings
from django.urls import path

handler400 = "scaleout.problems.views.bad_request"
handler403 = "scaleout.problems.views.forbidden"
handler404 = "scaleout.problems.views.not_found"
handler500 = "scaleout.problems.views.server_error"

urlpatterns = [path(f"api/{settings.SERVICE}/", import_module(f"shop.{settings.SERVICE}.api").api.urls)]
