"""Users, spread over the shards, and the directory that keeps their addresses unique over all of them."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.hashers import check_password
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from scaleout.sharding.base import ShardedModel
from scaleout.sharding.textbook import ByUser
from scaleout.text import secret

EMAIL_MAX = 254
NAME_MAX = 200


def password_forms(password: str) -> list[str]:
    """Return what a password may be hashed as: its one form, and as it was given, which earlier releases hashed."""
    return list(dict.fromkeys([secret(password), password]))


class UserManager(ByUser["User"]):
    """Finds a user by id. By address: `shop.users.accounts.find`."""


class User(ShardedModel):
    """A user. All that belongs to a user lives in the bucket of the user's id.

    Made by `shop.users.accounts.register` only, which keeps the address unique.
    """

    shard_key = "id"

    # Unique by EmailDirectory: an index here would know the addresses of one shard only.
    email = models.EmailField(max_length=EMAIL_MAX)
    email_version = models.PositiveIntegerField(default=0, db_default=0, editable=False)  # see accounts.py
    name = models.CharField(max_length=NAME_MAX)
    password = models.CharField(max_length=128, help_text="A hash.")
    is_staff = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True, db_default=Now())

    objects: ClassVar[UserManager] = UserManager()

    def __str__(self) -> str:
        """Return the id: addresses are nobody's business in a log."""
        return f"user {self.id}"

    def check_password(self, password: str) -> bool:
        """Return whether this is the user's password."""
        return any(check_password(form, self.password) for form in password_forms(password))


class EmailDirectory(models.Model):
    """Whose an address is, in the context's own database: unique over all shards."""

    class State(models.TextChoices):
        """`pending`: to be registered with an id that has no row yet, or has it by now. `changing`: a user with a row
        wants this address in place of another. `active`: the user has it."""

        PENDING = "pending"
        CHANGING = "changing"
        ACTIVE = "active"

    email = models.CharField(max_length=EMAIL_MAX, primary_key=True, help_text="Normalised.")
    user_id = models.BigIntegerField()
    state = models.TextField(choices=State.choices, default=State.PENDING)
    created_at = models.DateTimeField(db_default=Now(), help_text="When it was reserved.")

    class Meta:
        constraints = (
            models.CheckConstraint(
                name="email_directory_state", condition=Q(state__in=["pending", "changing", "active"])
            ),
        )
        indexes = (
            models.Index(name="email_directory_by_user", fields=["user_id"]),
            models.Index(name="email_directory_unsettled", fields=["created_at"], condition=~Q(state="active")),
        )

    def __str__(self) -> str:
        """Return the user's id and the state."""
        return f"user {self.user_id}: {self.state}"
