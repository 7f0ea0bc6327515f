"""Logins, their refresh tokens, and their end.

A refresh token names a login and a generation; it is signed, so the database holds nothing that
could be used as one. Each use raises the generation. A token that was used before is a copy in
other hands, unless it is the last one and was used less than 30 s ago: then the answer was lost, or
two tabs refreshed at once, and both get the same successor. Any other use ends the login, for the
thief and for the owner.

The database knows which logins have ended. `scaleout.identity.revocation` tells the services: after
the commit, and again by `users.tasks.tend_logins`, in case this process is killed in between.
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

REPEAT = timedelta(seconds=30)  # for so long the answer to a refresh can be had again
UNUSED = timedelta(seconds=tokens.REFRESH_SECONDS)
MOST = 20  # logins of one user; one more ends the one that was not used for longest


class LoggedOut(Exception):  # noqa: N818 - said of the login
    """The login has ended, or was never begun: log in again."""


def begin(user: User) -> Login:
    """Begin a login of a user whose password was just looked at. Raises LoggedOut if it has been
    changed since.
    """

    def once() -> Login | None:
        with shard_atomic(user.id):
            # Locked: a change of the password ends all logins, and must see this one.
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
    """Use a refresh token; return whose it is, and the login with the next generation. Raises
    LoggedOut.
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
    """End one login. It may have ended before."""
    fenced(lambda: Login.objects.filter(pk=login_id, revoked_at=None).update(revoked_at=Now()))
    revocation.publish([str(login_id)])


def end_all(user_id: int) -> None:
    """End each login of a user."""

    def once() -> Sequence[str]:
        with shard_atomic(user_id):
            return revoke_all(user_id)

    revocation.publish(fenced(once))


def revoke_all(user_id: int) -> list[str]:
    """Mark each login of a user as ended, in the caller's transaction; return what to publish after
    it.
    """
    ended = [str(one.pk) for one in Login.objects.select_for_update().filter(user_id=user_id, revoked_at=None)]
    Login.objects.filter(user_id=user_id, revoked_at=None).update(revoked_at=Now())
    return ended


def change_password(user: User, password: str) -> User:
    """Give a user, as read, another password and end all logins; return the user as it is then.

    Raises LoggedOut if the password has been changed since it was read, or the user was deleted.
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
