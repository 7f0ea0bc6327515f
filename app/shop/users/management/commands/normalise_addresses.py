"""manage.py normalise_addresses: run it when all replicas have this release."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand

from shop.users import accounts
from shop.users.models import EmailDirectory, User

BATCH = 500


class Command(BaseCommand):
    """Normalise each user's address. Safe to stop, to repeat, and beside other work."""

    help = "Normalises the addresses of users to the form in which this release keeps them unique."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Print the number of changes, and each user whose address is taken or invalid."""
        changed, after = 0, ""
        entries = EmailDirectory.objects.using("default").filter(state=EmailDirectory.State.ACTIVE)
        while batch := list(entries.filter(email__gt=after).order_by("email")[:BATCH]):
            for entry in batch:
                changed += self._changes(entry)
            after = batch[-1].email
        self.stdout.write(f"{changed} addresses changed")

    def _changes(self, entry: EmailDirectory) -> bool:
        try:
            if accounts.normalise(entry.email) == entry.email:
                return False
            accounts.change_email(entry.user_id, entry.email)
        except accounts.EmailTaken:
            self.stderr.write(f"user {entry.user_id}: another user has this address in its normalised form")
        except ValidationError:
            self.stderr.write(f"user {entry.user_id}: the address is invalid by today's rules; the login still works")
        except User.DoesNotExist:
            return False  # deleted by another request
        else:
            return True
        return False
