"""Password hashes: argon2id, sized for a small replica."""

from __future__ import annotations

from django.contrib.auth.hashers import Argon2PasswordHasher


class Argon2(Argon2PasswordHasher):
    """argon2id with the parameters that OWASP recommends: 19 MiB, two passes, one lane.

    Django's own parameters take 100 MiB and 8 lanes for each hash: four logins at once would fill a
    container of 512 MB, and the kernel would kill it. Here they take 76 MiB.
    """

    time_cost = 2
    memory_cost = 19 * 1024  # KiB
    parallelism = 1
