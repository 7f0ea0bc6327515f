"""Calls to the object store, each with a deadline: to look up its name, to connect, to send, all of
it.

This module takes a moment to import, since boto does: only those who write to the store need it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import datetime
from typing import Any

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

TYPE = "image/webp"
_FAILURES = (BotoCoreError, Boto3Error, ClientError)
# A call that is given up goes on in its thread, until the store's own time-outs end it.
_threads = ThreadPoolExecutor(4, thread_name_prefix="store")


class Unavailable(Exception):  # noqa: N818 - said of the store
    """The store did not answer in time, or not as it should."""


def make_ready() -> None:
    """Do what the first call would have to wait for."""
    getattr(default_storage, "bucket", None)


def put(name: str, data: bytes, seconds: float) -> None:
    """Store an object. Raises Unavailable; it may be there all the same, later."""
    content = ContentFile(data, name)
    content.content_type = TYPE  # type: ignore[attr-defined]  # where django-storages looks
    within(seconds, default_storage.save, name, content)


def get(name: str, most: int, seconds: float) -> bytes:
    """Return an object, or of one that is longer `most` bytes and one more. Raises
    FileNotFoundError, Unavailable.
    """

    def read() -> bytes:
        with default_storage.open(name) as file:
            if file.size > most:
                return bytes(most + 1)
            return bytes(io.BytesIO(file.read()).getvalue())

    return within(seconds, read)


def delete(name: str, seconds: float) -> None:
    """Remove an object; one that is not there is none the less removed. Raises Unavailable."""
    within(seconds, default_storage.delete, name)


def older(prefix: str, than: datetime, most: int, seconds: float) -> list[str]:
    """Return names of objects that were stored before `than`. Raises Unavailable."""
    storage: Any = default_storage
    return within(seconds, storage.older, prefix, than, most)


def within[T](seconds: float, call: Callable[..., T], *arguments: Any) -> T:
    """Return what `call` returns, in time. Raises Unavailable, FileNotFoundError."""
    future = _threads.submit(copy_context().run, call, *arguments)
    try:
        return future.result(max(seconds, 0.0))
    except TimeoutError as error:
        future.cancel()
        raise Unavailable(f"no answer after {seconds:.1f} s") from error
    except _FAILURES as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from error


def in_background(call: Callable[[], None]) -> None:
    """Let a thread do it: nobody waits for it, and it tells nobody how it went."""
    _threads.submit(copy_context().run, call)
