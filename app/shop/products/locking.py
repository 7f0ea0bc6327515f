"""A product that is about to be changed."""

from scaleout.problems import Problem

from shop.products import catalog, params
from shop.products.models import Product


def locked_product(product_id: str) -> Product:
    """The product with this id in a path, locked until the transaction ends. Raises Problem
    (404).
    """
    key = params.identifier(product_id)
    found = catalog.products().select_for_update(of=("self",)).filter(pk=key).first() if key is not None else None
    if found is None:
        raise Problem(404, "there is no such product")
    return found
