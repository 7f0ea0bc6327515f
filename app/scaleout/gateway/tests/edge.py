"""The application with all its middlewares, for gunicorn; its services come in the environment."""

from __future__ import annotations

import json
import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import re_path

from scaleout.gateway import forward

# On a busy machine no request may pass uncounted.
settings.CACHES[settings.GATEWAY["CACHE"]]["OPTIONS"] |= {"SOCKET_TIMEOUT": 5.0, "SOCKET_CONNECT_TIMEOUT": 5.0}
settings.ROOT_URLCONF = "scaleout.gateway.tests.edge"
settings.GATEWAY = settings.GATEWAY | {
    "SERVICES": json.loads(os.environ["GATEWAY_TEST_SERVICES"]),
    "RATE": int(os.environ["GATEWAY_TEST_RATE"]),
    "CALLER": "scaleout.gateway.tests.edge.caller",
}
urlpatterns = [re_path(r"^api(?:/|$)", forward, name="gateway")]
handler400, handler404 = "scaleout.problems.views.bad_request", "scaleout.problems.views.not_found"
application = get_wsgi_application()


def caller(_request: object) -> str:
    """Return the same caller for every request."""
    return os.environ["GATEWAY_TEST_CALLER"]
