"""What the shop's templates need beyond Django's own tags."""

from django import template
from django.conf import settings
from django.templatetags.static import static
from django.utils.html import format_html

from shop.products.images import names
from shop.products.models import Product
from shop.products.money import format_price
from shop.storefront.illustrations import illustration

register = template.Library()


@register.simple_tag
def price(product: Product) -> str:
    return format_price(product.price_amount, product.currency)


@register.simple_tag
def picture(product: Product) -> str:
    """The URL of the product's own image, or of its category's illustration."""
    return names.url(product.image_url) or category_picture(product.category.slug)


@register.simple_tag
def picture_sizes(product: Product, sizes: str) -> str:
    """The attributes that let a browser choose among the variants of the image; nothing where there
    are none.
    """
    found = names.srcset(product.image_url, product.image_width)
    return format_html(' srcset="{}" sizes="{}"', found, sizes) if found else ""


@register.simple_tag
def category_picture(slug: str) -> str:
    return static(illustration(slug))


@register.simple_tag
def served_by() -> str:
    """This replica's name, where the settings say that visitors may know it; else nothing."""
    return str(settings.REPLICA_NAME) if settings.EXPOSE_TOPOLOGY else ""
