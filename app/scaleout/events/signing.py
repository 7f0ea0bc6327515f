"""Whose an event is: signed where it is sent, checked where it is received.

`EVENTS["SIGN"]` names a function that returns the signature of bytes, or None where this
process has no key: then it sends no event, and leaves that to the relay of one that has.
`EVENTS["VERIFY"]` names one that says whether a signature is of the service that owns the
event's name. Without these settings each client of the queue is believed.

The signature is of the message as it is sent, its consumer and its outbox included, so no part of
it can be exchanged. It goes in a header, which the release before does not know and leaves alone.
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
    """Return the headers with which `event` is sent; None if this process may not send it."""
    path = conf().sign
    if not path:
        return event.headers
    signature: str | None = import_string(path)(_bytes(event.message()))
    return None if signature is None else event.headers | {HEADER: signature}


def believed(message: Any, consumer: str, signature: object) -> bool:
    """Return whether `message` is an event for `consumer` of the service that owns its name.

    One that is not is counted and dropped without an answer: a forger could else let good events be
    parked. A good one that came without a signature, of the release before, stays in its outbox,
    whose relay sends it again.
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
            pass  # no JSON of ours
    metrics.refused.labels(name if known else "unknown").inc()
    log.warning("event refused: %.40r for %s: not signed by its owner", name, consumer)
    return False


def _bytes(message: dict[str, Any]) -> bytes:
    return json.dumps(message, sort_keys=True, separators=(",", ":")).encode()
