"""What products tells others of a product that was changed, whoever changed it."""

from typing import Any

CHANGED = "product_changed"


def changed(key: int, name: str, amount: int, currency: str) -> tuple[str, dict[str, Any]]:
    """The aggregate and the data of the event."""
    return f"product:{key}", {"product_id": key, "name": name, "price": {"amount": amount, "currency": currency}}
