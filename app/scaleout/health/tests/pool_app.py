"""A WSGI application whose requests last until the test lets them end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from scaleout.health import progress

progress.STUCK = 0.5
RELEASE = Path(os.environ["POOL_TEST_RELEASE"])


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer `/health/` with whether the pool is stuck; `/hang` when the file RELEASE is there; all
    else at once.
    """
    while environ["PATH_INFO"] == "/hang" and not RELEASE.exists():
        time.sleep(0.02)  # between two looks at the file
    body = b"stuck" if environ["PATH_INFO"] == "/health/" and progress.pool.stuck() else b"ok"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
