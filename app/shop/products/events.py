"""The event `product_changed`: its name and data, for the API, the import and commands."""

from typing import Any

CHANGED = "product_changed"


def changed(key: int, name: str, amount: int, currency: str) -> tuple[str, dict[str, Any]]:
    """Return the aggregate and the data of the event."""
    return f"product:{key}", {"product_id": key, "name": name, "price": {"amount": amount, "currency": currency}}
