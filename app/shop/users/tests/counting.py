"""A cheap password hasher that counts its calls."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.hashers import MD5PasswordHasher


class CountingHasher(MD5PasswordHasher):
    """MD5 with a counter."""

    hashed: ClassVar[int] = 0

    def encode(self, *args: Any, **kwargs: Any) -> str:
        """Hash, and count the call."""
        type(self).hashed += 1
        return super().encode(*args, **kwargs)
