"""What the orders service knows of a user."""

from __future__ import annotations

import logging
from typing import Any

from shop.services import calls

SECONDS = 0.4  # for all of it: a page without orders is better than one that waits
LATEST = 20

log = logging.getLogger(__name__)


def latest(user_id: int) -> list[dict[str, Any]] | None:
    """Return the latest orders of a user; None if the orders service does not give them in time."""
    try:
        answer = calls.get("orders", f"/api/orders/?user_id={user_id}&limit={LATEST}", seconds=SECONDS)
        if answer.status != 200 or not isinstance(answer.body, dict) or not isinstance(answer.body.get("items"), list):
            raise calls.Unavailable(f"orders: status {answer.status}")
    except calls.Unavailable as error:
        log.warning("a user is shown without orders: %s", error)
        return None
    items: list[dict[str, Any]] = answer.body["items"]
    return items
