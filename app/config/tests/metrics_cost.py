"""What metrics cost: the CPU time of the cached front page with them, and without.

    scripts/tools.sh scripts/with-servers.sh env PYTHONPATH=app:app/tests \
        python app/config/tests/metrics_cost.py

One process serves both in turns, each with a handler of its own. Prints the medians.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time

# As in a replica: each process counts in files.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp()
os.environ["DJANGO_SETTINGS_MODULE"] = "config.test_settings"

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.test import RequestFactory, override_settings
from django.test.runner import DiscoverRunner

WARM, REQUESTS = 500, 10_000
OURS = "scaleout.observability.metrics.MetricsMiddleware"


def handler(*, counts: bool) -> WSGIHandler:
    """Return a handler with the shop's middlewares, which counts or does not."""
    with override_settings(MIDDLEWARE=[one for one in settings.MIDDLEWARE if counts or one != OURS]):
        return WSGIHandler()


def microseconds(served: WSGIHandler) -> float:
    """Return the CPU time of one request, in this thread: other threads watch servers."""
    request = RequestFactory().get("/", headers={"accept": "text/html"})
    began = time.thread_time()
    assert served.get_response(request).status_code == 200
    return (time.thread_time() - began) * 1e6


def main() -> None:
    """Measure, and print the figures."""
    django.setup()
    DiscoverRunner(interactive=False, verbosity=0).setup_databases()  # with-servers.sh removes them
    handlers = handler(counts=False), handler(counts=True)
    took: tuple[list[float], list[float]] = ([], [])
    for number in range(WARM + REQUESTS):
        for kind in (0, 1) if number % 2 else (1, 0):  # each first as often as the other
            one = microseconds(handlers[kind])
            if number >= WARM:
                took[kind].append(one)
    without, counting = map(statistics.median, took)
    print(f"without metrics: {without:.1f} µs, with metrics: {counting:.1f} µs, ratio {counting / without:.3f}")


if __name__ == "__main__":
    main()
