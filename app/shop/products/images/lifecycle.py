"""The life of a stored image: stored, given variants, removed when unused.

The database records an object before the store has it, so a crash leaves no unrecorded object. A
product points to an object only once it is complete. The sweep removes an object that no product
has shown for a day.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from io import BytesIO

from django.db import OperationalError, connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from PIL import Image
from psycopg.errors import LockNotAvailable
from scaleout.replication import use_primary

from shop.products.images import object_names, object_store, pictures
from shop.products.models import Product, StoredImage

UNUSED = timedelta(days=1)  # before an unused object is removed: a cached page may still show it
SECONDS = 5.0  # for one call to the store outside a request
LONGEST = 9.0  # for one deletion: more than the store's own time-outs, so none continues after it
MOST = 100  # images in one round
ROUND = 12.0  # seconds of a round; Celery kills a task after 20

log = logging.getLogger(__name__)


def save(picture: pictures.Picture, seconds: float = SECONDS) -> str:
    """Store a picture and return its name. Raises object_store.Unavailable."""
    name, until = object_names.of_content(picture.data), time.monotonic() + seconds
    # If the sweep is removing this image, the INSERT waits for it, and the image is stored again.
    try:
        with transaction.atomic():
            _allow("lock_timeout", seconds)
            StoredImage.objects.bulk_create(
                [StoredImage(name=name, unused_since=timezone.now())],
                update_conflicts=True,
                unique_fields=["name"],
                update_fields=["unused_since"],
            )
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise object_store.Unavailable("lock timeout: the sweep is removing this image") from error
        raise
    object_store.put(name, picture.data, until - time.monotonic())
    return name


def make_variants(name: str) -> None:
    """Store the variants of an image and set the products' `image_width`. Idempotent.

    Raises object_store.Unavailable; FileNotFoundError if the store has lost the image.
    """
    with use_primary():
        if not Product.objects.filter(image_url=name, image_width=0).exists():
            return
    with Image.open(BytesIO(object_store.get(name, pictures.MOST_BYTES, SECONDS)), formats=("WEBP",)) as image:
        for width in object_names.widths(image.width):
            object_store.put(object_names.variant(name, width), pictures.smaller(image, width), SECONDS)
        Product.objects.filter(image_url=name, image_width=0).update(image_width=image.width)


def finish_variants() -> None:
    """Make the variants whose task was lost. Raises the last error, after trying all images."""
    until = time.monotonic() + ROUND
    with use_primary():
        found = _shown().filter(image_width=0).values_list("image_url", flat=True).distinct()
        missing = list(found.order_by("image_url")[:MOST])
    failure: Exception | None = None
    for name in missing:
        if time.monotonic() > until:
            break
        try:
            make_variants(name)
        except (object_store.Unavailable, FileNotFoundError) as error:
            log.warning("image variants failed: %s: %s", name, error)
            failure = error
    if failure:
        raise failure


def sweep() -> None:
    """Remove images that no product has shown for a day, and unconfirmed uploads.

    Raises object_store.Unavailable.
    """
    until, now = time.monotonic() + ROUND, timezone.now()
    shown = Exists(_shown().filter(image_url=OuterRef("name")))
    StoredImage.objects.filter(shown, unused_since__isnull=False).update(unused_since=None)
    StoredImage.objects.filter(~shown, unused_since__isnull=True).update(unused_since=now)
    for _ in range(MOST):
        if time.monotonic() > until or not _remove_one(~shown & Q(unused_since__lt=now - UNUSED)):
            break
    for name in object_store.older(object_names.INCOMING, now - UNUSED, 1000, SECONDS):
        if time.monotonic() > until:
            break
        object_store.delete(name, SECONDS)


def _remove_one(unused: Q) -> bool:
    """Remove one unused image with its variants; return whether one was found."""
    with transaction.atomic():
        # A slow store may take longer than the usual time-out of an idle transaction, and that
        # time-out would release the lock.
        _allow("idle_in_transaction_session_timeout", 5 * LONGEST)
        # The lock makes `keep` of the same image wait until the removal is complete.
        image = StoredImage.objects.select_for_update(skip_locked=True, of=("self",)).filter(unused).first()
        if image is None:
            return False
        for width in object_names.WIDTHS:
            object_store.delete(object_names.variant(image.name, width), LONGEST)
        object_store.delete(image.name, LONGEST)
        image.delete()
    return True


def _allow(timeout: str, seconds: float) -> None:
    """Set a PostgreSQL time-out for the rest of the transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config(%s, %s, true)", [timeout, f"{max(1, round(1000 * seconds))}ms"])


def _shown() -> QuerySet[Product]:
    # The same condition as the index product_stored_image, so that PostgreSQL uses it.
    return Product.objects.filter(image_url__startswith=object_names.PREFIX)
