"""Two views that show the two ends: one only waits, the other only computes."""

import time

from django.http import HttpRequest, HttpResponse
from django.urls import path

WAIT = 0.020  # seconds: a view that waits for a slow service or database
LOOPS = 30_000  # additions in Python, which holds the interpreter's lock throughout


def wait(_request: HttpRequest) -> HttpResponse:
    """Wait, as a view does for a database: no CPU time, but a thread is taken."""
    time.sleep(WAIT)
    return HttpResponse("waited")


def compute(_request: HttpRequest) -> HttpResponse:
    """Compute in pure Python, as a template or a serializer does."""
    total = 0
    for number in range(LOOPS):
        total += number
    return HttpResponse(str(total))


urlpatterns = [path("wait/", wait), path("compute/", compute)]
