"""A product's image: staff upload it here, or their browser puts it into the object store."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import transaction
from django.http import HttpRequest
from django.http.request import split_domain_port, validate_host
from ninja import File, Router, Schema, Status
from ninja.files import UploadedFile
from pydantic import ConfigDict, Field
from scaleout.events.sending import send as send_task
from scaleout.gateway import deadline
from scaleout.identity.bearer import StaffBearer
from scaleout.observability import trace
from scaleout.problems import Problem
from scaleout.problems.api import problems
from scaleout.replication import begin, use_primary

from shop.products import answers, params, tasks
from shop.products.images import lifecycle, object_names, object_store, pictures
from shop.products.locking import locked_product
from shop.products.models import Product
from shop.products.schemas import ProductOut

TOTAL = 1.5  # seconds for the store and the database, if the caller sends no deadline
RESERVE = 0.2  # seconds kept for the answer before the caller's deadline
PUT_SECONDS = 300  # seconds in which a browser must begin its upload
_AWAY = "The image store is unavailable. The product is unchanged. Try again in a few seconds."

# Not the store's threads: an unavailable queue must not look like an unavailable store.
_announcer = ThreadPoolExecutor(1, thread_name_prefix="announcer")

router = Router(auth=StaffBearer())
object_store.make_ready()


class Announced(Schema):
    """The file that a browser will upload."""

    model_config = ConfigDict(extra="forbid")

    content_type: Literal["image/jpeg", "image/png", "image/webp"]
    size: int = Field(strict=True, ge=1, le=pictures.MOST_BYTES, description="In bytes, exactly.")


class Upload(Schema):
    """The request that the browser sends: these headers, and the announced bytes as its body."""

    method: Literal["PUT"] = "PUT"
    url: str
    headers: dict[str, str]
    token: str = Field(description="Confirm the upload by POST …/image-upload/<token>.")
    expires_in: int = Field(description="Seconds.")


@router.post("{product_id}/image", response={200: ProductOut, **problems(401, 403, 404, 413, 415, 422)})
def send(request: HttpRequest, product_id: str, image: Annotated[UploadedFile, File()]) -> dict[str, Any]:
    """Set a product's image from the field `image`. For staff. Its variants follow in seconds."""
    until = _until()
    key = _existing(product_id)
    if (image.size or 0) > pictures.MOST_BYTES:
        raise Problem(413, f"The image has more than {pictures.MOST_BYTES} bytes. Send a smaller file.")
    return _take(key, image.read(), until)


@router.post("{product_id}/image-upload", response={201: Upload, **problems(401, 403, 404)})
def prepare(request: HttpRequest, product_id: str, body: Announced) -> Status[Upload]:
    """Return a URL to which a browser may upload an image of up to 8 MiB, past the services.

    For staff.
    """
    token = object_names.fresh_token()
    base = settings.MEDIA_UPLOAD_URL or _own_bucket(request)
    storage: Any = default_storage
    url = storage.presigned_put(
        f"{base}/{object_names.incoming(_existing(product_id), token)}",
        content_type=body.content_type,
        length=body.size,
        seconds=PUT_SECONDS,
    )
    return Status(
        201, Upload(url=url, headers={"Content-Type": body.content_type}, token=token, expires_in=PUT_SECONDS)
    )


def _own_bucket(request: HttpRequest) -> str:
    """Return the bucket's URL on this site. Raises Problem (400) for a host that is not allowed.

    Without names in ALLOWED_HOSTS only this machine and private addresses are allowed.
    """
    name, _ = split_domain_port(request.get_host())
    named = [host for host in settings.SITE_HOSTS if host != "*"]
    if not (validate_host(name, named) if named else _is_near(name)):
        raise Problem(400, "Uploads are not allowed for this host. Add it to ALLOWED_HOSTS, or set MEDIA_UPLOAD_URL.")
    # The load balancer passes the host in lower case, and the signature covers it.
    return f"{request.scheme}://{request.get_host().lower()}/{settings.AWS_STORAGE_BUCKET_NAME}"


def _is_near(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_private
    except ValueError:
        return False


@router.post("{product_id}/image-upload/{token}", response={200: ProductOut, **problems(401, 403, 404, 413, 415, 422)})
def confirm(request: HttpRequest, product_id: str, token: str) -> dict[str, Any]:
    """Set a product's image from a browser's upload. For staff."""
    until = _until()
    key = _existing(product_id)
    if len(token) != 2 * object_names.TOKEN_BYTES or not token.isalnum() or not token.isascii():
        raise Problem(404, "This upload does not exist. Check the token.")
    incoming = object_names.incoming(key, token)
    with _store_errors():
        try:
            data = object_store.get(incoming, pictures.MOST_BYTES, _left(until))
        except FileNotFoundError as error:
            raise Problem(404, "No file waits under this token. Prepare a new upload.") from error
    taken = _take(key, data, until)
    object_store.in_background(lambda: default_storage.delete(incoming))  # if this fails, the sweep removes it
    return taken


def _take(key: int, data: bytes, until: float) -> dict[str, Any]:
    """Store the image and set it on the product. Raises Problem."""
    try:
        picture = pictures.normalise(data)
    except pictures.BadImageError as error:
        raise Problem(error.status, str(error)) from error
    except pictures.Busy as error:
        raise Problem(503, "Another image is being processed. Try again in 1 s.", {"Retry-After": "1"}) from error
    if not _left(until):
        raise Problem(503, "The deadline passed before the image was stored. Try again in 1 s.", {"Retry-After": "1"})
    with _store_errors():
        name = lifecycle.save(picture, _left(until))
    with transaction.atomic():
        product = locked_product(str(key))
        if product.image_url != name:
            product.image_url, product.image_width = name, 0
            product.save(update_fields=["image_url", "image_width", "updated_at"])
            transaction.on_commit(lambda: _announce(name))
    return answers.as_json(product)


def _announce(name: str) -> None:
    """Send the task that makes the variants. If the queue does not take it in time, beat does."""
    # The thread gets only the trace headers. In this request's context, which has written, it
    # would ask the database for its position.
    _announcer.submit(_send, trace.headers(), name)


def _send(headers: dict[str, str], name: str) -> None:
    begin()  # outside a request: without a write, no database is asked for its position
    send_task(tasks.make_variants.name, headers=headers, name=name)


def _existing(product_id: str) -> int:
    """Return the product's key. Raises Problem (404)."""
    key = params.identifier(product_id)
    with use_primary():
        if key is None or not Product.objects.filter(pk=key).exists():
            raise Problem(404, "This product does not exist.")
    return key


def _until() -> float:
    return time.monotonic() + deadline.left(TOTAL) - RESERVE


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except object_store.Unavailable as error:
        raise Problem(503, _AWAY, {"Retry-After": "2"}) from error
