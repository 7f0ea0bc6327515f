"""Addresses of earlier releases in today's form. Run it when all replicas have this release."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand

from shop.users import accounts
from shop.users.models import EmailDirectory, User

BATCH = 500


class Command(BaseCommand):
    """Change each user's address into its one form: it may be stopped and run again, and beside
    anything else.
    """

    help = "Bring the addresses of users into the form in which they are unique since this release."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Print how many were changed, and each user whose address is another one's, or is none
        today.
        """
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
            self.stderr.write(f"user {entry.user_id}: another user has this address in its other form")
        except ValidationError:
            self.stderr.write(f"user {entry.user_id}: the address is none by today's rules; it still logs in")
        except User.DoesNotExist:
            return False  # deleted since it was read
        else:
            return True
        return False
