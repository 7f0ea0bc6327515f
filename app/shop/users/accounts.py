"""Create, change and delete users. An address belongs to at most one user over all shards.

The directory is in one database and the user's row in another, so no transaction covers both. A
process may die after any step: `settle` completes the step from the entry and the row.

| entry    | the user's row             | means                             | `settle`           |
|----------|----------------------------|-----------------------------------|--------------------|
| pending  | exists                     | registered, not yet activated     | activates it       |
| pending  | is missing after 30 s      | died, may be taken over           | keeps it           |
| pending  | is missing after an hour   | died, never taken over            | frees it           |
| changing | has this address           | changed, not yet activated        | activates it and   |
|          |                            |                                   | frees the old one  |
| changing | has another one after 30 s | the change died                   | fences, frees it   |
| active   | is missing                 | deleted, not yet freed            | frees it           |
| active   | has another one            | changed, new entry not yet active | activates that one |
|          |                            |                                   | and frees this one |

A pending entry is taken over *with its id*. If the first request was only slow, both requests
insert the same primary key, and the shard accepts one. A changing entry is freed after a fence: it
raises the row's `email_version`, so a slow change finds another version and writes nothing. So the
directory has an entry for each user's address. Two changes of one user may overtake each other: an
activation removes only active entries that were reserved earlier.
"""

from __future__ import annotations

import unicodedata
from contextlib import suppress
from datetime import timedelta

import idna
from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from scaleout.events.outbox import publish
from scaleout.identity import revocation
from scaleout.sharding.errors import BucketMoved
from scaleout.sharding.transactions import fenced, shard_atomic
from scaleout.text import address, secret

from shop.users import logins
from shop.users.models import EMAIL_MAX, EmailDirectory, User

PATIENCE = timedelta(seconds=30)  # after it another request may take over a reserved address
ABANDONED = timedelta(hours=1)  # no request is slower than this, so its id can be dropped

State = EmailDirectory.State


class EmailTaken(Exception):  # noqa: N818 - names the address's state
    """Another user has the address."""


class EmailReserved(EmailTaken):
    """Another request has reserved the address. If that fails, the address is free in 30 s."""


def normalise(email: str) -> str:
    """Return the unique form of an address. Raises ValidationError if it is not valid."""
    return address(email, EMAIL_MAX)


def _as_before(email: str) -> str:
    """Return the form in which earlier releases stored an address: with a Unicode domain."""
    return unicodedata.normalize("NFKC", email).strip().lower()


def _with_letters(email: str) -> str:
    """Return a normalised address with its domain in Unicode, as earlier releases stored it."""
    local, _, domain = email.rpartition("@")
    return f"{local}@{idna.decode(domain)}"


def register(email: str, name: str, password: str, *, is_staff: bool = False) -> User:
    """Create a user.

    Raises ValidationError for a bad address, EmailTaken (or EmailReserved) if a user has it.
    """
    email = normalise(email)
    _refuse_other_spelling(email)
    user = User(email=email, name=name, password=make_password(secret(password)), is_staff=is_staff)
    fresh = User.objects.new_id()
    entry = _reserve(email, fresh, State.PENDING)
    user.id = entry.user_id
    try:
        user.save(force_insert=True)
    except IntegrityError:  # the slow request from which this one took over was first
        _activate(entry)
        raise EmailTaken from None
    except BucketMoved:
        if entry.user_id == fresh:
            _unchanged(entry).delete()  # no row was written: the next request need not wait
        raise
    if not _activate(entry):  # after an hour the entry was freed
        user.delete()
        raise EmailTaken
    return user


def find(email: str) -> User | None:
    """Return the user with this address, also if an earlier release stored it in another form."""
    spellings = [_as_before(email)]
    with suppress(ValidationError):
        spellings += [normalise(email), _with_letters(normalise(email))]
    entries = {entry.email: entry for entry in _entries().filter(email__in=spellings)}
    entry = next((entries[one] for one in spellings if one in entries), None)
    return User.objects.filter(pk=entry.user_id, email=entry.email).first() if entry else None


def rename(user_id: int, name: str) -> None:
    """Change a user's name. Raises User.DoesNotExist."""
    if not User.objects.filter(pk=user_id).update(name=name):
        raise User.DoesNotExist


def change_email(user_id: int, email: str) -> None:
    """Change a user's address and free the old one. Raises as `register`, and User.DoesNotExist."""
    email = normalise(email)
    if (left := _entries().filter(email=email).first()) is not None:
        settle(left)  # first, since its fence changes the row that is read next
    user = User.objects.get(pk=user_id)  # before the reservation, so a later change reserves later
    if user.email == email:
        return
    _refuse_other_spelling(email, but=user_id)
    try:
        entry = _reserve(email, user_id, State.CHANGING)
    except EmailReserved:
        User.objects.get(pk=user_id)  # raises DoesNotExist if a deletion removed user and entry
        raise
    try:
        changed = _unchanged_row(user).update(email=email, email_version=F("email_version") + 1)
    except BucketMoved:
        _unchanged(entry).delete()  # no row was written: the user can retry at once
        raise
    if not changed:
        mine, _ = _unchanged(entry).delete()
        User.objects.get(pk=user_id)  # raises DoesNotExist
        if not mine:  # this took more than 30 s, and another request freed the address
            raise EmailTaken
        raise EmailReserved("another request is changing the address of this user")
    if not _activate(entry):  # only a deletion frees the row's address
        raise User.DoesNotExist


def delete(user_id: int) -> bool:
    """Delete a user, publish the event, free the address; return whether the user existed."""
    # First activate pending entries: a pending one could be taken over with its id, and the id of
    # a deleted user must never be reused.
    _entries().filter(user_id=user_id, state=State.PENDING).update(state=State.ACTIVE)
    there, ended = fenced(lambda: _delete_row(user_id))
    revocation.publish(ended)
    _entries().filter(user_id=user_id).delete()
    return there


def _delete_row(user_id: int) -> tuple[bool, list[str]]:
    with shard_atomic(user_id) as shard:
        count, _ = User.objects.filter(pk=user_id).delete()
        if count:
            publish("user_deleted", aggregate=f"user:{user_id}", using=shard, user_id=user_id)
        return count > 0, logins.revoke_all(user_id)


def settle(entry: EmailDirectory) -> bool:
    """Complete an entry as in the table above; return whether the entry remains."""
    row = User.objects.filter(pk=entry.user_id).first()
    if entry.state == State.PENDING:
        if row is not None:
            _activate(entry)
            return True
        freed, _ = _overdue(_unchanged(entry), ABANDONED).delete()
        return freed == 0
    if entry.state == State.ACTIVE:
        if row is None:
            _unchanged(entry).delete()
        elif row.email != entry.email and (newer := _entries().filter(user_id=row.pk, email=row.email).first()):
            _activate(newer)
        return _unchanged(entry).exists()
    if row is not None and row.email == entry.email:
        _activate(entry)
        return True
    if not _overdue(_unchanged(entry)).exists() or (row is not None and not _fence(row)):
        return True
    freed, _ = _overdue(_unchanged(entry)).delete()
    return freed == 0


def _unchanged_row(user: User) -> QuerySet[User]:
    """Return the user's row if its address was not changed since it was read, not even back."""
    return User.objects.filter(pk=user.pk, email=user.email, email_version=user.email_version)


def _fence(row: User) -> bool:
    """Make each change fail that has read this row; return False if one was faster."""
    return bool(_unchanged_row(row).update(email_version=F("email_version") + 1))


def _refuse_other_spelling(email: str, but: int = 0) -> None:
    """Raise EmailTaken if another user has the address in the form of an earlier release."""
    if (before := _with_letters(email)) != email:
        for entry in _entries().filter(email=before).exclude(user_id=but):
            if settle(entry):
                raise EmailTaken


def _entries() -> QuerySet[EmailDirectory]:
    return EmailDirectory.objects.using("default")


def _unchanged(entry: EmailDirectory) -> QuerySet[EmailDirectory]:
    """Return the entry if it is unchanged since it was read."""
    same = {"email": entry.email, "user_id": entry.user_id, "state": entry.state, "created_at": entry.created_at}
    return _entries().filter(**same)


def _overdue(entries: QuerySet[EmailDirectory], age: timedelta = PATIENCE) -> QuerySet[EmailDirectory]:
    return entries.filter(created_at__lt=Now() - age)


def _reserve(email: str, user_id: int, state: EmailDirectory.State) -> EmailDirectory:
    """Reserve the address for 30 s; return its entry, whose id differs if it was taken over."""
    for _ in range(2):
        entry, new = _entries().get_or_create(email=email, defaults={"user_id": user_id, "state": state})
        if new:
            return _read_again(entry)
        if settle(entry):
            break
    else:
        raise EmailTaken
    if entry.state == State.CHANGING and entry.user_id == user_id:
        raise EmailReserved("another request of this user has reserved the address")
    if entry.state != State.PENDING:
        raise EmailTaken
    return _take_over(entry, state)


def _take_over(entry: EmailDirectory, state: EmailDirectory.State) -> EmailDirectory:
    if state == State.CHANGING:
        # A change needs the changing user's id, and the slow request may still insert the entry's.
        raise EmailReserved
    if not _overdue(_unchanged(entry)).update(created_at=Now()):
        raise EmailReserved if _unchanged(entry).exists() else EmailTaken
    return _read_again(entry)


def _read_again(entry: EmailDirectory) -> EmailDirectory:
    """Return the entry with the database's time. Raises EmailReserved if it was deleted."""
    found = _entries().filter(email=entry.email, user_id=entry.user_id).first()
    if found is None:
        raise EmailReserved
    return found


def _activate(entry: EmailDirectory) -> bool:
    """Activate the user's address and free the earlier ones; return False if it was lost."""
    with transaction.atomic(using="default"):
        mine = _entries().filter(user_id=entry.user_id)
        if not mine.filter(email=entry.email).update(state=State.ACTIVE):
            return False
        mine.filter(state=State.ACTIVE, created_at__lt=entry.created_at).delete()
        return True
