"""The id of the request that is being served: on every answer, log line and task."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

# The load balancers use the same rule.
_VALID = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")

current: ContextVar[str] = ContextVar("request_id", default="")


def accept(candidate: str) -> str:
    """Return the caller's id if it is a valid one, else a fresh one."""
    return candidate if _VALID.match(candidate) else uuid.uuid4().hex
