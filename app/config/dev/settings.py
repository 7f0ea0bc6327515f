"""Settings of every service in development: those of production, but nothing hides a change."""

from __future__ import annotations

from typing import Any

import structlog
from shop.services import PORTS

from config.dev import tree
from config.settings import *  # noqa: F403 - all but what is below
from config.settings import CACHING, LOGGING, MIDDLEWARE, SERVICE, STORAGES, TEMPLATES

# Tracebacks. Not in a worker, which would keep each query in memory.
DEBUG = SERVICE in PORTS

# Without Django's cached loader, which reads a template once.
_OPTIONS: dict[str, Any] = TEMPLATES[0]["OPTIONS"]  # type: ignore[assignment]  # of a dictionary of many kinds
_LOADERS = ["django.template.loaders.filesystem.Loader", "django.template.loaders.app_directories.Loader"]
TEMPLATES = [{**TEMPLATES[0], "APP_DIRS": False, "OPTIONS": {**_OPTIONS, "loaders": _LOADERS}}]
# The cache stays on, so that development shows what cannot be cached. A change of the code or of a
# template makes another release of it.
CACHING = CACHING | {"RELEASE": tree.pages()}
if SERVICE == "web":
    MIDDLEWARE = ["config.dev.fresh.FreshMiddleware", *MIDDLEWARE]

# From the applications' folders, by the names that the files have there.
STORAGES = {**STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True


def _readable() -> structlog.stdlib.ProcessorFormatter:
    """Return what makes a record text for a person. (`make trace` reads the JSON of production.)"""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0),
        ],
    )


LOGGING = {**LOGGING, "formatters": {"json": {"()": _readable}}}
