"""Making, changing and deleting users, with an address that only one user has over all shards.

The directory is in one database and the user's row in another, so no transaction covers both. Each
step is safe to stop after, for whoever comes next finds out from the row what the step was for:

| entry | the user's row | means | what `settle` does |
|----------|---------------------------|--------------------------------------------------|----------------------------|
| pending | is there | registered, but nobody has said so yet | activates it | | pending | is
missing, 30 s later | whoever registered has gone | the next may take it | | pending | is missing,
an hour later | the same, and nobody wanted it | frees it | | changing | has this address | changed,
but nobody has said so yet | activates it, frees old | | changing | has another, 30 s later | the
request that changed it has gone | frees it, after a fence | | active | is missing | deleted, but
nobody has said so yet | frees it | | active | has another | changed, and the new entry is not
active yet | activates that, frees this |

A pending entry is taken over *with its id*: if the first one only slept and goes on, both insert
the same primary key, and the shard lets one of them. A changing entry is freed after a fence: the
row's `email_version` is raised, so a change that only slept finds another version and writes
nothing. So there is never a user whose address the directory does not know. Two changes of one user
may overtake each other: an activation removes only what is active and was reserved earlier.
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

PATIENCE = timedelta(seconds=30)  # how long whoever reserved an address has for it
ABANDONED = timedelta(hours=1)  # no request sleeps for so long and then goes on: its id can be forgotten

State = EmailDirectory.State


class EmailTaken(Exception):  # noqa: N818 - said of the address
    """Another user has the address."""


class EmailReserved(EmailTaken):
    """Somebody is just registering the address, or changing to it. If they do not go through with
    it, it is free in 30 s.
    """


def normalise(email: str) -> str:
    """Return the form in which an address is unique. Raises ValidationError if it is none."""
    return address(email, EMAIL_MAX)


def _as_before(email: str) -> str:
    """Return the form in which earlier releases kept an address: the domain with its letters."""
    return unicodedata.normalize("NFKC", email).strip().lower()


def _with_letters(email: str) -> str:
    """Return a normalised address as earlier releases kept it if it was given with the domain's
    letters.
    """
    local, _, domain = email.rpartition("@")
    return f"{local}@{idna.decode(domain)}"


def register(email: str, name: str, password: str, *, is_staff: bool = False) -> User:
    """Make a user. Raises ValidationError for a bad address, EmailTaken (or EmailReserved) if it
    has a user.
    """
    email = normalise(email)
    _refuse_other_spelling(email)
    user = User(email=email, name=name, password=make_password(secret(password)), is_staff=is_staff)
    fresh = User.objects.new_id()
    entry = _reserve(email, fresh, State.PENDING)
    user.id = entry.user_id
    try:
        user.save(force_insert=True)
    except IntegrityError:  # whoever had reserved it before has woken up and was first
        _activate(entry)
        raise EmailTaken from None
    except BucketMoved:
        if entry.user_id == fresh:
            _unchanged(entry).delete()  # nothing was written: whoever comes next need not wait
        raise
    if not _activate(entry):  # this took an hour
        user.delete()
        raise EmailTaken
    return user


def find(email: str) -> User | None:
    """Return the user who has the address. One who has it as an earlier release kept it is found by
    what was given.
    """
    spellings = [_as_before(email)]
    with suppress(ValidationError):
        spellings += [normalise(email), _with_letters(normalise(email))]
    entries = {entry.email: entry for entry in _entries().filter(email__in=spellings)}
    entry = next((entries[one] for one in spellings if one in entries), None)
    return User.objects.filter(pk=entry.user_id, email=entry.email).first() if entry else None


def rename(user_id: int, name: str) -> None:
    """Give a user another name. Raises User.DoesNotExist."""
    if not User.objects.filter(pk=user_id).update(name=name):
        raise User.DoesNotExist


def change_email(user_id: int, email: str) -> None:
    """Give a user another address; the old one is free afterwards. Raises as `register`, and
    User.DoesNotExist.
    """
    email = normalise(email)
    if (left := _entries().filter(email=email).first()) is not None:
        settle(left)  # now, since its fence would undo what is read next
    user = User.objects.get(pk=user_id)  # before the address is reserved: so later addresses are reserved later
    if user.email == email:
        return
    _refuse_other_spelling(email, but=user_id)
    try:
        entry = _reserve(email, user_id, State.CHANGING)
    except EmailReserved:
        User.objects.get(pk=user_id)  # raises DoesNotExist: the user has been deleted, and the entry with the user
        raise
    try:
        changed = _unchanged_row(user).update(email=email, email_version=F("email_version") + 1)
    except BucketMoved:
        _unchanged(entry).delete()  # nothing was written: the user can try again at once
        raise
    if not changed:
        mine, _ = _unchanged(entry).delete()
        User.objects.get(pk=user_id)  # raises DoesNotExist
        if not mine:  # it took longer than 30 s, and the address has been freed
            raise EmailTaken
        raise EmailReserved("the address is being changed by another request as well")
    if not _activate(entry):  # only a deletion frees an address that the row has
        raise User.DoesNotExist


def delete(user_id: int) -> bool:
    """Delete a user, tell of it, and free the address; return whether there was one."""
    # First of all no entry is pending any more: one that is can be taken over with its id, and the
    # id of somebody who was deleted must never be another one's.
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
    """Finish what was begun with an entry, as the table above says; return whether it still
    stands.
    """
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
    """Return the user's row if its address has not been changed since it was read, not even there
    and back.
    """
    return User.objects.filter(pk=user.pk, email=user.email, email_version=user.email_version)


def _fence(row: User) -> bool:
    """Let no change of the address succeed that has read the row before; return whether none
    has.
    """
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
    """Return the entry if it still is what it was when it was read."""
    same = {"email": entry.email, "user_id": entry.user_id, "state": entry.state, "created_at": entry.created_at}
    return _entries().filter(**same)


def _overdue(entries: QuerySet[EmailDirectory], age: timedelta = PATIENCE) -> QuerySet[EmailDirectory]:
    return entries.filter(created_at__lt=Now() - age)


def _reserve(email: str, user_id: int, state: EmailDirectory.State) -> EmailDirectory:
    """Return an entry for the address that nobody else touches for 30 s. One that is taken over has
    another id.
    """
    for _ in range(2):
        entry, new = _entries().get_or_create(email=email, defaults={"user_id": user_id, "state": state})
        if new:
            return _read_again(entry)
        if settle(entry):
            break
    else:
        raise EmailTaken
    if entry.state == State.CHANGING and entry.user_id == user_id:
        raise EmailReserved("the user is changing to it already, or has just failed to")
    if entry.state != State.PENDING:
        raise EmailTaken
    return _take_over(entry, state)


def _take_over(entry: EmailDirectory, state: EmailDirectory.State) -> EmailDirectory:
    if state == State.CHANGING:
        # The id is the changer's, and the entry's cannot be used for it: whoever sleeps on it could
        # still wake up.
        raise EmailReserved
    if not _overdue(_unchanged(entry)).update(created_at=Now()):
        raise EmailReserved if _unchanged(entry).exists() else EmailTaken
    return _read_again(entry)


def _read_again(entry: EmailDirectory) -> EmailDirectory:
    """Return the entry with the database's time. Raises EmailReserved if somebody has deleted it
    meanwhile.
    """
    found = _entries().filter(email=entry.email, user_id=entry.user_id).first()
    if found is None:
        raise EmailReserved
    return found


def _activate(entry: EmailDirectory) -> bool:
    """Say that the user has the address, and none of before; return whether it was still the user's
    to have.
    """
    with transaction.atomic(using="default"):
        mine = _entries().filter(user_id=entry.user_id)
        if not mine.filter(email=entry.email).update(state=State.ACTIVE):
            return False
        mine.filter(state=State.ACTIVE, created_at__lt=entry.created_at).delete()
        return True
