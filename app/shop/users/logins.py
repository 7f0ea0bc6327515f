"""Logins, their refresh tokens, and their end.

A refresh token names a login and a generation. It is signed, so the database stores no token. Each
use raises the generation.

The reuse of a token ends the login: the token was stolen. The exception is the previous token
within 30 s of its use: the answer was lost, or two tabs refreshed at once. Both get the same
successor.

The database records which logins have ended. `scaleout.identity.revocation` notifies the services
after the commit. `users.tasks.tend_logins` notifies again, in case this process was killed before.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.contrib.auth.hashers import make_password
from django.db.models.functions import Now
from scaleout.identity import revocation, tokens
from scaleout.sharding.transactions import fenced, shard_atomic
from scaleout.text import secret

from shop.users.models import Login, User

REPEAT = timedelta(seconds=30)  # a lost answer to a refresh can be repeated for this time
UNUSED = timedelta(seconds=tokens.REFRESH_SECONDS)
MOST = 20  # logins of one user; another one ends the least recently used


class LoggedOut(Exception):  # noqa: N818 - names the login's state
    """The login has ended, or does not exist."""


def begin(user: User) -> Login:
    """Begin a login of a user whose password was checked.

    Raises LoggedOut if the password has been changed since.
    """

    def once() -> Login | None:
        with shard_atomic(user.id):
            # The lock makes a concurrent change of the password end this login too.
            if User.objects.select_for_update().filter(pk=user.id, password=user.password).first() is None:
                return None
            login = Login(user_id=user.id)
            login.save()
            older = Login.objects.filter(user_id=user.id).exclude(pk=login.pk).order_by("-refreshed_at", "-id")
            if extra := [one.pk for one in older[MOST - 1 :]]:
                Login.objects.filter(user_id=user.id, pk__in=extra).delete()
            return login

    if (login := fenced(once)) is None:
        raise LoggedOut
    return login


def refresh(login_id: int, generation: int) -> tuple[User, Login]:
    """Use a refresh token; return its user, and the login with the next generation.

    Raises LoggedOut.
    """

    def once() -> tuple[User | None, Login | None]:
        with shard_atomic(login_id):
            mine = Login.objects.filter(pk=login_id)
            login = mine.select_for_update().filter(revoked_at=None).first()
            if login is None:
                return None, None
            user = User.objects.filter(pk=login.user_id).first()
            if user is not None and generation == login.generation:
                login.generation += 1
                mine.update(generation=login.generation, refreshed_at=Now())
            elif not (
                user is not None
                and generation == login.generation - 1
                and mine.filter(refreshed_at__gte=Now() - REPEAT).exists()
            ):
                mine.update(revoked_at=Now())
                return None, login
            return user, login

    user, login = fenced(once)
    if user is None or login is None:
        if login is not None:
            revocation.publish([str(login.id)])
        raise LoggedOut
    return user, login


def end(login_id: int) -> None:
    """End one login. Idempotent."""
    fenced(lambda: Login.objects.filter(pk=login_id, revoked_at=None).update(revoked_at=Now()))
    revocation.publish([str(login_id)])


def end_all(user_id: int) -> None:
    """End all logins of a user."""

    def once() -> Sequence[str]:
        with shard_atomic(user_id):
            return revoke_all(user_id)

    revocation.publish(fenced(once))


def revoke_all(user_id: int) -> list[str]:
    """Mark all logins of a user as ended, in the caller's transaction.

    Return their ids, which the caller publishes after the commit.
    """
    ended = [str(one.pk) for one in Login.objects.select_for_update().filter(user_id=user_id, revoked_at=None)]
    Login.objects.filter(user_id=user_id, revoked_at=None).update(revoked_at=Now())
    return ended


def change_password(user: User, password: str) -> User:
    """Change a user's password and end all logins; return the changed user.

    Raises LoggedOut if another request has changed the password or deleted the user.
    """
    changed = make_password(secret(password))

    def once() -> list[str] | None:
        with shard_atomic(user.id):
            if not User.objects.filter(pk=user.id, password=user.password).update(password=changed):
                return None
            return revoke_all(user.id)

    if (ended := fenced(once)) is None:
        raise LoggedOut
    revocation.publish(ended)
    user.password = changed
    return user
