"""Users on their shards, and the directory that keeps addresses unique over all shards."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.hashers import check_password
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from scaleout.sharding.base import ShardedModel
from scaleout.sharding.by_user import ByUser
from scaleout.text import secret

EMAIL_MAX = 254
NAME_MAX = 200


def password_forms(password: str) -> list[str]:
    """Return the forms of a password to check: normalised, and as given (earlier releases)."""
    return list(dict.fromkeys([secret(password), password]))


class UserManager(ByUser["User"]):
    """Find a user by id. `shop.users.accounts.find` finds one by address."""


class LoginManager(ByUser["Login"]):
    """Find a login by id, or the logins of a user."""


class User(ShardedModel):
    """A user. All rows of a user are in the bucket of the user's id.

    Only `shop.users.accounts.register` creates users: it keeps the address unique.
    """

    shard_key = "id"

    # EmailDirectory keeps it unique: an index here would cover one shard only.
    email = models.EmailField(max_length=EMAIL_MAX)
    email_version = models.PositiveIntegerField(default=0, db_default=0, editable=False)  # see accounts.py
    name = models.CharField(max_length=NAME_MAX)
    password = models.CharField(max_length=128, help_text="A hash.")
    is_staff = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True, db_default=Now())

    objects: ClassVar[UserManager] = UserManager()

    def __str__(self) -> str:
        """Return the id: a log must not show addresses."""
        return f"user {self.id}"

    def check_password(self, password: str) -> bool:
        """Return whether this is the user's password."""
        return any(check_password(form, self.password) for form in password_forms(password))


class EmailDirectory(models.Model):
    """The user of each address: in one database, so unique over all shards."""

    class State(models.TextChoices):
        """The state of an entry.

        `pending`: reserved by a registration. `changing`: reserved by a user who has another
        address. `active`: the user's address.
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
    """A login of a user. Its refresh tokens name it and a `generation`. See `shop.users.logins`."""

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
