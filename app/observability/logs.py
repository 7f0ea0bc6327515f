"""One JSON object a line on standard output."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from typing import Any

from observability import request_id

_SERVICE = os.environ.get("SERVICE", "app")


class JsonFormatter(logging.Formatter):
    """Format a record with the id of the request that it belongs to; `extra={"fields": {...}}` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": _SERVICE,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if identifier := request_id.current.get():
            line["request_id"] = identifier
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def tells_more(record: logging.LogRecord) -> bool:
    """Return whether the record has a traceback: Django also logs each 4xx and 5xx, which the access log has."""
    return bool(record.exc_info)


_ROUTINE = ("config.pulse[", "events.measure[", "events.relay[")


def is_no_pulse(record: logging.LogRecord) -> bool:
    """Return whether the record is about a real task: what each worker does every few seconds is not worth a line."""
    message = record.getMessage()
    return not any(task in message for task in _ROUTINE)


def configuration(level: str) -> dict[str, Any]:
    """Return the logging configuration: everything at `level` and above, as JSON, on standard output."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonFormatter}},
        "filters": {"tells_more": {"()": lambda: tells_more}, "is_no_pulse": {"()": lambda: is_no_pulse}},
        "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "json"}},
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": level, "propagate": True},
            "django.request": {"filters": ["tells_more"]},
            "celery.worker.strategy": {"filters": ["is_no_pulse"]},
            "celery.app.trace": {"filters": ["is_no_pulse"]},
            # A connection that could not be made is an error of the query that wanted it.
            "psycopg.pool": {"level": "ERROR"},
        },
    }
