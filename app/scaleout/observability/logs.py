"""One JSON object a line on standard output, from the loggers of the standard library and of
structlog alike.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from scaleout.observability import trace
from scaleout.observability.conf import conf

_SERVICE = os.environ.get("SERVICE", "app")


def _line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Return the line: time, place, event, request, and all further fields."""
    record: logging.LogRecord = event.pop("_record")
    del event["_from_structlog"]
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
        "level": record.levelname,
        "service": _SERVICE,
        "logger": record.name,
        "message": event.pop("event"),
    }
    if span := trace.current():
        line |= {"request_id": span.request_id, "trace_id": span.trace_id, "span_id": span.span_id}
    line.update(event)
    return line


_encode = json.JSONEncoder(default=str).encode  # structlog's renderer makes an encoder for each line


def _render(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return _encode(event)


def formatter() -> logging.Formatter:
    """Return what makes a record a line of JSON."""
    return structlog.stdlib.ProcessorFormatter(processors=[_line, structlog.processors.format_exc_info, _render])


def tells_more(record: logging.LogRecord) -> bool:
    """Return whether the record has a traceback: the access log has each 4xx and 5xx already."""
    return bool(record.exc_info)


def routine() -> Collection[str]:
    """Return the names of the tasks that run every few seconds: their success is not logged."""
    return conf().routine_tasks


def is_no_routine(record: logging.LogRecord) -> bool:
    """Return whether the record is not about one of these tasks."""
    message = record.getMessage()
    return not any(f"{task}[" in message for task in routine())


def configuration(level: str) -> dict[str, Any]:
    """Return the logging configuration: `level` and above, as JSON, on standard output.

    It also sets up structlog, whose own loggers write through it.
    """
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": formatter}},
        "filters": {"tells_more": {"()": lambda: tells_more}, "is_no_routine": {"()": lambda: is_no_routine}},
        "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "json"}},
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {
            "django": {"handlers": [], "level": level, "propagate": True},
            "django.request": {"filters": ["tells_more"]},
            "celery.worker.strategy": {"filters": ["is_no_routine"]},
            # observability/tasks.py logs how each task ended; this logs why one failed.
            "celery.app.trace": {"level": "WARNING"},
            # A connection that failed is an error of the query that needed it.
            "psycopg.pool": {"level": "ERROR"},
        },
    }
