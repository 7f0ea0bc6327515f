"""The signal for other caches: a CDN in front keeps answers that are made of these values."""

from __future__ import annotations

from django.dispatch import Signal

# Sent after the commit, with `tags`, in the process that made the change, and only there. A
# receiver must be quick.
invalidated = Signal()
