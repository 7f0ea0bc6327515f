"""The WSGI application for gunicorn."""

from __future__ import annotations

import os
from typing import Any

import django
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.utils.http import parse_header_parameters

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")


class Request(WSGIRequest):
    """A request whose query and forms are UTF-8, for any charset in its Content-Type.

    Django decodes the query by that charset at once, before any middleware. A query that this
    charset cannot decode, or with too many parameters, would fail outside of all error handling.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        try:
            self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        except ValueError:  # a parameter in an unknown encoding (RFC 2231): no type at all
            self.content_type, self.content_params = "", {}


class Handler(WSGIHandler):
    """Django's handler, with such requests."""

    request_class = Request


django.setup(set_prefix=False)
application = Handler()

from shop.serving import warmup  # noqa: E402 - the application comes first

# Once, before gunicorn forks: the workers share the result.
warmup.load_everything()
