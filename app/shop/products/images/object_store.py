"""Calls to the object store. A call's deadline covers its DNS lookup, connect and transfer.

Importing this module imports boto, which is slow: only code that writes to the store does so.
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
# A call past its deadline continues in its thread until the store's own time-outs end it.
_threads = ThreadPoolExecutor(4, thread_name_prefix="store")


class Unavailable(Exception):  # noqa: N818 - names the store's state
    """The store did not answer in time, or answered with an error."""


def make_ready() -> None:
    """Prepare the client, so that the first call does not wait for it."""
    getattr(default_storage, "bucket", None)


def put(name: str, data: bytes, seconds: float) -> None:
    """Store an object. Raises Unavailable; the store may still have it later."""
    content = ContentFile(data, name)
    content.content_type = TYPE  # type: ignore[attr-defined]  # django-storages reads it
    within(seconds, default_storage.save, name, content)


def get(name: str, most: int, seconds: float) -> bytes:
    """Return an object; for one of more than `most` bytes, `most` + 1 zero bytes.

    Raises FileNotFoundError, Unavailable.
    """

    def read() -> bytes:
        with default_storage.open(name) as file:
            if file.size > most:
                return bytes(most + 1)
            return bytes(io.BytesIO(file.read()).getvalue())

    return within(seconds, read)


def delete(name: str, seconds: float) -> None:
    """Remove an object; a missing one is no error. Raises Unavailable."""
    within(seconds, default_storage.delete, name)


def older(prefix: str, than: datetime, most: int, seconds: float) -> list[str]:
    """Return names of at most `most` objects stored before `than`. Raises Unavailable."""
    storage: Any = default_storage
    return within(seconds, storage.older, prefix, than, most)


def within[T](seconds: float, call: Callable[..., T], *arguments: Any) -> T:
    """Return the result of `call` within `seconds`. Raises Unavailable, FileNotFoundError."""
    future = _threads.submit(copy_context().run, call, *arguments)
    try:
        return future.result(max(seconds, 0.0))
    except TimeoutError as error:
        future.cancel()
        raise Unavailable(f"no answer after {seconds:.1f} s") from error
    except _FAILURES as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from error


def in_background(call: Callable[[], None]) -> None:
    """Run `call` in a thread. The caller gets neither its result nor its error."""
    _threads.submit(copy_context().run, call)
