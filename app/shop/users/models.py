"""Users, spread over the shards, and the directory that keeps their addresses unique over all of
them.
"""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.hashers import check_password
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from scaleout.sharding.base import ShardedModel
from scaleout.sharding.textbook import ByUser
from scaleout.text import secret

EMAIL_MAX = 254
NAME_MAX = 200


def password_forms(password: str) -> list[str]:
    """Return what a password may be hashed as: its one form, and as it was given, which earlier
    releases hashed.
    """
    return list(dict.fromkeys([secret(password), password]))


class UserManager(ByUser["User"]):
    """Finds a user by id. By address: `shop.users.accounts.find`."""


class LoginManager(ByUser["Login"]):
    """Finds a login by id, and those of a user."""


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
        """`pending`: to be registered with an id that has no row yet, or has it by now. `changing`:
        a user with a row wants this address in place of another. `active`: the user has it.
        """

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


class Login(ShardedModel):
    """A login of a user. Its refresh tokens name it and a `generation`. `shop.users.logins` makes
    and changes it.
    """

    shard_key = "user_id"

    user_id = models.BigIntegerField()
    generation = models.PositiveIntegerField(default=1, db_default=1, help_text="Of the newest refresh token.")
    created_at = models.DateTimeField(auto_now_add=True, db_default=Now())
    refreshed_at = models.DateTimeField(default=timezone.now, db_default=Now())
    revoked_at = models.DateTimeField(null=True, default=None)

    objects: ClassVar[LoginManager] = LoginManager()

    class Meta:
        indexes = (
            models.Index(name="login_by_user", fields=["user_id"]),
            models.Index(name="login_by_use", fields=["refreshed_at"]),
            models.Index(name="login_revoked", fields=["revoked_at"], condition=Q(revoked_at__isnull=False)),
        )

    def __str__(self) -> str:
        """Return the id, which is the `sid` of its tokens."""
        return f"login {self.id}"
