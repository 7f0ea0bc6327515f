"""The tags and filters of the shop's templates."""

from django import template
from django.conf import settings
from django.templatetags.static import static
from django.utils.html import format_html

from shop.products.images import object_names
from shop.products.models import Product
from shop.products.money import format_price
from shop.storefront.illustrations import illustration

register = template.Library()


@register.simple_tag
def price(product: Product) -> str:
    return format_price(product.price_amount, product.currency)


@register.simple_tag
def picture(product: Product) -> str:
    """Return the URL of the product's image, or of its category's illustration."""
    return object_names.url(product.image_url) or category_picture(product.category.slug)


@register.simple_tag
def picture_sizes(product: Product, sizes: str) -> str:
    """Return `srcset` and `sizes` for the variants of the image; an empty text without variants."""
    found = object_names.srcset(product.image_url, product.image_width)
    return format_html(' srcset="{}" sizes="{}"', found, sizes) if found else ""


@register.simple_tag
def category_picture(slug: str) -> str:
    return static(illustration(slug))


@register.simple_tag
def served_by() -> str:
    """Return this replica's name if EXPOSE_TOPOLOGY is on, else an empty text."""
    return str(settings.REPLICA_NAME) if settings.EXPOSE_TOPOLOGY else ""
