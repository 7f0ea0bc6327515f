"""What the shop's templates need beyond Django's own tags."""

from django import template
from django.conf import settings
from django.templatetags.static import static
from products.models import Product
from products.money import format_price

from storefront.illustrations import illustration

register = template.Library()


@register.simple_tag
def price(product: Product) -> str:
    return format_price(product.price_amount, product.currency)


@register.simple_tag
def picture(product: Product) -> str:
    """The URL of the product's own image, or of its category's illustration."""
    return product.image_url or category_picture(product.category.slug)


@register.simple_tag
def category_picture(slug: str) -> str:
    return static(illustration(slug))


@register.simple_tag
def served_by() -> str:
    """This replica's name, where the settings say that visitors may know it; else nothing."""
    return str(settings.REPLICA_NAME) if settings.EXPOSE_TOPOLOGY else ""
