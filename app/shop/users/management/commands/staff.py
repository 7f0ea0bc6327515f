"""manage.py staff: print a token of the demo's staff user. `make staff` runs it."""

from __future__ import annotations

import secrets
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from scaleout.identity import tokens

from shop.users import accounts
from shop.users.models import User

EMAIL = "staff@shop.example"


class Command(BaseCommand):
    """Create the staff user if it is missing; print a fresh token and nothing else."""

    help = "Prints a token of the demo's staff user; creates the user at first, with a random password."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Print the token."""
        user = _find_or_make()
        if not user.is_staff:
            # Another person registered the address and knows its password: no staff rights for it.
            raise CommandError(f"{EMAIL} is registered and is not staff: delete that user first")
        self.stdout.write(tokens.for_user(user.id, is_staff=True))


def _find_or_make() -> User:
    if (user := accounts.find(EMAIL)) is not None:
        return user
    try:
        return accounts.register(EMAIL, "Staff", secrets.token_urlsafe(32), is_staff=True)
    except accounts.EmailTaken as error:
        if (user := accounts.find(EMAIL)) is not None:  # another process has just created it
            return user
        raise CommandError(f"{EMAIL} is reserved by another request: try again in 30 s") from error
