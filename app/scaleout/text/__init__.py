"""Text in one form, made once, on the way in: what reads the same is the same."""

from __future__ import annotations

from scaleout.text.addresses import address
from scaleout.text.forms import identifier, line, nfc, secret, sought

__all__ = ["address", "identifier", "line", "nfc", "secret", "sought"]
