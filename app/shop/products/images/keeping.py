"""Objects, and what the database knows of them.

An object is in the database before it is in the store: so whatever is killed in between, nothing is
in the store that nobody knows of. Nothing points to it before it is whole. What no product shows
for a day is removed.
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

from shop.products.images import names, pictures, store
from shop.products.models import Product, StoredImage

UNUSED = timedelta(days=1)  # that an object is kept: pages that show it may be open, or in a cache
SECONDS = 5.0  # for one call to the store, where no request waits
LONGEST = 9.0  # for one that removes: more than the store's own time-outs, so that none goes on once it is given up
MOST = 100  # images that one round removes, or makes variants of
ROUND = 12.0  # seconds of a round: tasks are ended after 20

log = logging.getLogger(__name__)


def keep(picture: pictures.Picture, seconds: float = SECONDS) -> str:
    """Store a picture and return its name. Raises store.Unavailable."""
    name, until = names.of_content(picture.data), time.monotonic() + seconds
    # Where it is being removed at this moment this waits until it is gone, and then it is stored
    # again.
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
            raise store.Unavailable("the image is being removed") from error
        raise
    store.put(name, picture.data, until - time.monotonic())
    return name


def make_variants(name: str) -> None:
    """Store the variants of an image and let the products that show it say so. Done twice, it
    changes nothing.

    Raises store.Unavailable; FileNotFoundError where the image itself is lost.
    """
    with use_primary():
        if not Product.objects.filter(image_url=name, image_width=0).exists():
            return
    with Image.open(BytesIO(store.get(name, pictures.MOST_BYTES, SECONDS)), formats=("WEBP",)) as image:
        for width in names.widths(image.width):
            store.put(names.variant(name, width), pictures.smaller(image, width), SECONDS)
        Product.objects.filter(image_url=name, image_width=0).update(image_width=image.width)


def finish_variants() -> None:
    """Make the variants whose task was lost. Raises the last error, after it has tried the
    others.
    """
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
        except (store.Unavailable, FileNotFoundError) as error:
            log.warning("no variants of %s: %s", name, error)
            failure = error
    if failure:
        raise failure


def sweep() -> None:
    """Remove what no product has shown for a day, and uploads that nobody took over. Raises
    store.Unavailable.
    """
    until, now = time.monotonic() + ROUND, timezone.now()
    shown = Exists(_shown().filter(image_url=OuterRef("name")))
    StoredImage.objects.filter(shown, unused_since__isnull=False).update(unused_since=None)
    StoredImage.objects.filter(~shown, unused_since__isnull=True).update(unused_since=now)
    for _ in range(MOST):
        if time.monotonic() > until or not _remove_one(~shown & Q(unused_since__lt=now - UNUSED)):
            break
    for name in store.older(names.INCOMING, now - UNUSED, 1000, SECONDS):
        if time.monotonic() > until:
            break
        store.delete(name, SECONDS)


def _remove_one(unused: Q) -> bool:
    """Remove an image with its variants; return whether there was one."""
    with transaction.atomic():
        # The store may be slow: longer than a session may be idle in a transaction otherwise, which
        # would end the lock.
        _allow("idle_in_transaction_session_timeout", 5 * LONGEST)
        # Locked, so that nobody who stores the same again finds it half gone.
        image = StoredImage.objects.select_for_update(skip_locked=True, of=("self",)).filter(unused).first()
        if image is None:
            return False
        for width in names.WIDTHS:
            store.delete(names.variant(image.name, width), LONGEST)
        store.delete(image.name, LONGEST)
        image.delete()
    return True


def _allow(timeout: str, seconds: float) -> None:
    """Set a time-out of PostgreSQL's for the rest of the transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config(%s, %s, true)", [timeout, f"{max(1, round(1000 * seconds))}ms"])


def _shown() -> QuerySet[Product]:
    # In these words, so that PostgreSQL sees that the index product_stored_image has all of them.
    return Product.objects.filter(image_url__startswith=names.PREFIX)
