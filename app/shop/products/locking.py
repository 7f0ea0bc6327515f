"""The lock of a product for a change."""

from scaleout.problems import Problem

from shop.products import catalog, params
from shop.products.models import Product


def locked_product(product_id: str) -> Product:
    """Return the product with this id, locked until the transaction ends. Raises Problem (404)."""
    key = params.identifier(product_id)
    found = catalog.products().select_for_update(of=("self",)).filter(pk=key).first() if key is not None else None
    if found is None:
        raise Problem(404, "This product does not exist.")
    return found
