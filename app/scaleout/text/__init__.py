"""Text normalised once, on the way in, so that texts that read the same are equal."""

from __future__ import annotations

from scaleout.text.addresses import address
from scaleout.text.forms import identifier, line, nfc, secret, sought

__all__ = ["address", "identifier", "line", "nfc", "secret", "sought"]
