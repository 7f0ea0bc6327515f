"""Signatures of events: made by the sender, checked by the receiver.

`EVENTS["SIGN"]` names a function that returns the signature of bytes, or None if this process has
no key: then it sends no event, and the relay of a process with the key does. `EVENTS["VERIFY"]`
names a function that returns whether the service that owns the event's name made a signature.
Without these settings every client of the queue is trusted.

The signature covers the whole message with its consumer and outbox, so no part of it can be
exchanged. It goes in a header, which an older release ignores.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from django.utils.module_loading import import_string

from scaleout.events import metrics
from scaleout.events.conf import conf
from scaleout.events.event import Event

HEADER = "event_signature"

log = logging.getLogger(__name__)


def signed(event: Event) -> dict[str, str] | None:
    """Return the headers of the message of `event`; None if this process may not send it."""
    path = conf().sign
    if not path:
        return event.headers
    signature: str | None = import_string(path)(_bytes(event.message()))
    return None if signature is None else event.headers | {HEADER: signature}


def believed(message: Any, consumer: str, signature: object) -> bool:
    """Return whether the service that owns the event's name has made `message`, for `consumer`.

    Any other message is counted and dropped without an answer: with answers a forger could get good
    events parked. A good event without a signature, sent by the release before, stays in its
    outbox, whose relay resends it.
    """
    path = conf().verify
    if not path:
        return True
    name = str(message.get("name")) if isinstance(message, dict) else ""
    known = name in conf().consumers
    if known and message.get("consumer") == consumer and isinstance(signature, str):
        try:
            if import_string(path)(name, _bytes(message), signature):
                return True
        except (ValueError, TypeError, RecursionError):
            pass  # malformed JSON
    metrics.refused.labels(name if known else "unknown").inc()
    log.warning("event refused: %.40r for %s: not signed by its owner", name, consumer)
    return False


def _bytes(message: dict[str, Any]) -> bytes:
    return json.dumps(message, sort_keys=True, separators=(",", ":")).encode()
