"""The catalogue: a tree of categories and the products in them."""

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.contrib.postgres.search import SearchVector, SearchVectorField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now, Upper
from scaleout.caching import CachingQuerySet

SKU_MAX = 128
NAME_MAX = 200
SLUG_MAX = 150
URL_MAX = 500


class Category(models.Model):
    """A node of the tree. Slugs are unique in the tree: ``outdoor/tents`` is ``outdoor-tents``."""

    parent = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="children")
    slug = models.SlugField(max_length=SLUG_MAX, unique=True)
    name = models.CharField(max_length=NAME_MAX)
    position = models.IntegerField(default=100, help_text="Order among siblings; then by name.")

    objects = models.Manager.from_queryset(CachingQuerySet)()

    class Meta:
        base_manager_name = "objects"  # so that `category.children.add(…)` invalidates too
        constraints = (
            models.CheckConstraint(name="category_slug_format", condition=Q(slug__regex=r"^[a-z0-9]+(-[a-z0-9]+)*$")),
            models.CheckConstraint(name="category_name_not_empty", condition=~Q(name="")),
            models.CheckConstraint(
                name="category_not_its_own_parent", condition=Q(parent__isnull=True) | ~Q(parent=F("id"))
            ),
        )

    def __str__(self) -> str:
        return self.slug


class ProductManager(models.Manager["Product"]):
    """Defer the search vector: it is as large as the text, and Python never reads it."""

    def get_queryset(self) -> models.QuerySet["Product"]:
        return CachingQuerySet(self.model, using=self._db).defer("search")


class Product(models.Model):
    sku = models.CharField(max_length=SKU_MAX)
    name = models.CharField(max_length=NAME_MAX)
    description = models.TextField(blank=True, default="")
    category = models.ForeignKey(Category, models.PROTECT, related_name="products", db_index=False)
    price_amount = models.BigIntegerField(help_text="In minor units: cents for EUR, yen for JPY.")
    currency = models.CharField(max_length=3, default="EUR", help_text="ISO 4217 code.")
    stock = models.IntegerField(default=0)
    sold = models.BigIntegerField(default=0, help_text="Only grows.")
    featured = models.BooleanField(default=False)
    # A URL, or an object's name (products.images.object_names).
    image_url = models.CharField(max_length=URL_MAX, blank=True, default="")
    image_width = models.PositiveSmallIntegerField(default=0, db_default=0, help_text="0: no variants (yet).")
    created_at = models.DateTimeField(auto_now_add=True, db_default=Now())
    updated_at = models.DateTimeField(auto_now=True, db_default=Now())
    search = models.GeneratedField(
        expression=SearchVector("name", "description", config="english"),
        output_field=SearchVectorField(),
        db_persist=True,
    )

    objects = ProductManager()
    # With all columns: Django reads deferred columns through it, and changes rows of related
    # models.
    complete = models.Manager.from_queryset(CachingQuerySet)()

    class Meta:
        base_manager_name = "complete"
        constraints = (
            # unique=True would add a second index, for LIKE, which no query uses.
            models.UniqueConstraint(name="product_sku", fields=["sku"]),
            models.CheckConstraint(name="product_sku_not_empty", condition=~Q(sku="")),
            models.CheckConstraint(name="product_name_not_empty", condition=~Q(name="")),
            models.CheckConstraint(name="product_price_not_negative", condition=Q(price_amount__gte=0)),
            models.CheckConstraint(name="product_currency_format", condition=Q(currency__regex=r"^[A-Z]{3}$")),
            models.CheckConstraint(name="product_stock_not_negative", condition=Q(stock__gte=0)),
            models.CheckConstraint(name="product_sold_not_negative", condition=Q(sold__gte=0)),
        )
        indexes = (
            # A page of one category: the next 24 ids after the cursor, read in order from the
            # index.
            models.Index(name="product_by_category", fields=["category", "id"]),
            models.Index(name="product_featured", fields=["id"], condition=Q(featured=True)),
            models.Index(
                name="product_stored_image", fields=["image_url"], condition=Q(image_url__startswith="products/")
            ),
            # A search also reads the pending list, so it is short. Without a list, loading
            # 68,820 products took 24 s instead of 5 s.
            GinIndex(name="product_search", fields=["search"], gin_pending_list_limit=512),
            GinIndex(
                OpClass(Upper("name"), name="gin_trgm_ops"),
                name="product_name_trigrams",
                gin_pending_list_limit=512,
            ),
        )

    def __str__(self) -> str:
        return self.sku


class StoredImage(models.Model):
    """An object of the store with its variants. The row exists before the object and after it."""

    name = models.CharField(max_length=100, primary_key=True)
    unused_since = models.DateTimeField(null=True, help_text="Since when no product was seen to show it.")

    class Meta:
        indexes = (models.Index(name="image_unused", fields=["unused_since"], condition=Q(unused_since__isnull=False)),)

    def __str__(self) -> str:
        return self.name
