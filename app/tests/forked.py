"""Processes that start with the libraries loaded. Loading them takes about a second of a core."""

from __future__ import annotations

import importlib
import multiprocessing
import os
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from typing import Any

import django

_context = multiprocessing.get_context("forkserver")
# No module that reads settings: each process reads them from its own environment.
_context.set_forkserver_preload([
    "pytest", "psycopg", "psycopg_pool", "redis", "django_redis.client", "celery.app.amqp", "kombu.transport.redis",
    "structlog", "django.db.models", "django.test.client", "django.contrib.postgres.fields", "pydantic.main",
    "pydantic.types", "requests", "prometheus_client", "boto3",
])  # fmt: skip

Pipe = _context.Pipe


def start(module: str, *arguments: Any, **environment: str) -> ForkServerProcess:
    """Start `main` of a module with these arguments in a new process, after Django's set-up.

    Return the process. `environment` is added to the environment of this process.
    """
    process = _context.Process(target=_begin, args=({**os.environ, **environment}, module, arguments), daemon=True)
    process.start()
    return process


def _begin(environment: Mapping[str, str], module: str, arguments: tuple[Any, ...]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    django.setup()
    importlib.import_module(module).main(*arguments)
