"""The warm-up of a new worker process, before it serves requests."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

from django.apps import apps
from django.conf import settings
from django.template.loader import get_template
from scaleout.caching.warming import warm

SECONDS = 5.0  # to fill the cache; the first process of all replicas fills it for the others

log = logging.getLogger(__name__)


def load_everything() -> None:
    """Import the views and compile the templates. Django would do so in the first requests."""
    import_module(settings.ROOT_URLCONF)
    if settings.DEBUG:  # a page shows the mistake in its template
        return
    for application in apps.get_app_configs():
        folder = Path(application.path) / "templates"
        for file in sorted(folder.rglob("*.html")):
            get_template(str(file.relative_to(folder)))


def warm_up(application: Callable[..., Iterable[bytes]]) -> None:
    """Request the busiest pages (`settings.WARM_UP_PATHS`) once, which opens the connections.

    A page that fails is only logged: a replica must start while a database is down. The pages'
    own time-outs bound the duration.
    """
    if settings.DEBUG:  # with DEBUG the first request after an edit must not wait
        return
    if "products" in settings.DATABASE_APPS.get("default", ()):  # only the shop's values have warmers
        warm(seconds=SECONDS)
    for path in settings.WARM_UP_PATHS:
        answered: list[str] = []

        def start(status: str, _headers: Any, _error: Any = None, answered: list[str] = answered) -> None:
            answered.append(status)

        environ: dict[str, Any] = {
            "PATH_INFO": path,
            "HTTP_HOST": settings.ALLOWED_HOSTS[0].lstrip(".*") or "localhost",
            "HTTP_X_REQUEST_ID": "warm-up",
            "wsgi.input": io.BytesIO(),
        }
        setup_testing_defaults(environ)
        answer = application(environ, start)
        for _part in answer:
            pass
        if (close := getattr(answer, "close", None)) is not None:
            close()  # returns the connections to the pool
        if not answered or not answered[0].startswith("200"):
            log.warning("warm-up failed: %s answered %s", path, answered)
