"""The demo's staff user, and a token for it: what `make staff` runs in a container of users."""

from __future__ import annotations

import secrets
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from scaleout.identity import tokens

from shop.users import accounts
from shop.users.models import User

EMAIL = "staff@shop.example"


class Command(BaseCommand):
    """Make the staff user if it is missing, and print a fresh token and nothing else."""

    help = "Print a token of the demo's staff user, who is made at first. Nobody knows the password: it is random."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Print the token."""
        user = _find_or_make()
        if not user.is_staff:
            # Whoever registered the address first knows its password: they must not become staff by
            # this.
            raise CommandError(f"{EMAIL} is registered already, and is not staff: delete that user first")
        self.stdout.write(tokens.for_user(user.id, is_staff=True))


def _find_or_make() -> User:
    if (user := accounts.find(EMAIL)) is not None:
        return user
    try:
        return accounts.register(EMAIL, "Staff", secrets.token_urlsafe(32), is_staff=True)
    except accounts.EmailTaken as error:
        if (user := accounts.find(EMAIL)) is not None:  # two at once
            return user
        raise CommandError(f"{EMAIL} is just being registered: try again in 30 s") from error
