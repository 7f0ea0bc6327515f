"""What gunicorn runs."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()

from config import warmup  # noqa: E402 - the application comes first

# Once, before gunicorn forks: the workers share the result.
warmup.load_everything()
