"""One user per address: over all shards, under concurrency, and after a crash at any step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from unicodedata import normalize

import pytest
from django.contrib.auth.hashers import make_password
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import connections
from django.db.models import F, QuerySet
from scaleout.sharding.errors import BucketMoved
from scaleout.sharding.queryset import ShardedQuerySet

from shop.users import accounts
from shop.users.accounts import EmailReserved, EmailTaken, change_email, delete, find, register, rename
from shop.users.models import EmailDirectory, User
from shop.users.tasks import repair_directory

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"]),
    pytest.mark.usefixtures("shards"),
]
ADDRESS = "ada@example.org"
directory = EmailDirectory.objects.using("default")


class Crash(BaseException):
    """The process crashes here."""


def crash_at(patch: pytest.MonkeyPatch, name: str) -> None:
    """Let the process crash at the step `name`."""

    def end(*_args: object, **_kwargs: object) -> None:
        raise Crash

    patch.setattr(name, end)


def crashes(monkeypatch: pytest.MonkeyPatch, step: str, action: Callable[[], object]) -> None:
    with monkeypatch.context() as patch:
        crash_at(patch, step)
        with pytest.raises(Crash):
            action()


def later(age: timedelta = accounts.PATIENCE) -> None:
    """Make all reservations old."""
    directory.update(created_at=F("created_at") - age - timedelta(seconds=1))


def users() -> list[User]:
    """Return all users of all shards."""
    page = User.objects.scatter(deadline=10.0)
    assert not page.partial
    return page.items


def consistent() -> bool:
    """Return whether users and active entries of the directory correspond one to one."""
    return {(user.id, user.email, "active") for user in users()} == set(
        directory.values_list("user_id", "email", "state")
    )


def test_a_user_is_made_found_renamed_and_deleted() -> None:
    user = register("  Ada@Example.ORG ", "Ada", "secret")
    assert find("ADA@example.org") == user
    assert user.email == ADDRESS
    assert user.check_password("secret")
    assert not user.check_password("Secret")
    rename(user.id, "Ada Lovelace")
    user.refresh_from_db()
    assert user.name == "Ada Lovelace"
    assert consistent()
    assert delete(user.id)
    assert not delete(user.id)
    assert find(ADDRESS) is None
    assert consistent()
    with pytest.raises(User.DoesNotExist):
        rename(user.id, "Gone")


def test_a_bad_address_is_refused() -> None:
    with pytest.raises(ValidationError):
        register("not an address", "Ada", "secret")


def test_an_address_has_one_user_however_it_is_written() -> None:
    register(ADDRESS, "Ada", "secret")
    with pytest.raises(EmailTaken):
        register("ADA@EXAMPLE.ORG", "Eve", "secret")
    other = register("eve@example.org", "Eve", "secret")
    with pytest.raises(EmailTaken):
        change_email(other.id, ADDRESS)
    assert consistent()


def test_fifty_registrations_of_one_address_at_once_make_one_user() -> None:
    together = threading.Barrier(50)

    def attempt(number: int) -> bool:
        try:
            together.wait(30)
            register(ADDRESS, str(number), "secret")
        except EmailTaken:
            return False
        else:
            return True
        finally:
            connections.close_all()

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(attempt, range(50))) == 1
    assert len(users()) == 1
    assert consistent()


def test_fifty_concurrent_take_overs_of_an_address_make_one_user(monkeypatch: pytest.MonkeyPatch) -> None:
    crashes(monkeypatch, "shop.users.models.User.save", lambda: register(ADDRESS, "first", "secret"))
    later()
    test_fifty_registrations_of_one_address_at_once_make_one_user()


STEPS = {
    "before the reservation": "shop.users.accounts._reserve",
    "before the row": "shop.users.models.User.save",
    "before the activation": "shop.users.accounts._activate",
}


@pytest.mark.parametrize("step", STEPS)
def test_after_a_crash_in_a_registration_the_address_works_again(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    crashes(monkeypatch, STEPS[step], lambda: register(ADDRESS, "first", "secret"))
    if step == "before the row":
        with pytest.raises(EmailReserved):
            register(ADDRESS, "too early", "secret")
        later()
    if step == "before the activation":
        with pytest.raises(EmailTaken):
            register(ADDRESS, "second", "secret")
    else:
        register(ADDRESS, "second", "secret")
    assert len(users()) == 1
    assert consistent()


@pytest.mark.parametrize("step", STEPS)
def test_after_a_crash_in_a_registration_the_repair_leaves_no_orphan(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes(monkeypatch, STEPS[step], lambda: register(ADDRESS, "first", "secret"))
    later(accounts.ABANDONED)
    repair_directory()
    repair_directory()
    assert len(users()) == (step == "before the activation")
    assert consistent()


def test_a_slow_registration_whose_address_was_taken_over_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    save = User.save

    def sleep_and_save(user: User, **kwargs: bool) -> None:
        monkeypatch.undo()
        later()
        register(ADDRESS, "second", "secret")
        save(user, **kwargs)

    monkeypatch.setattr(User, "save", sleep_and_save)
    with pytest.raises(EmailTaken):
        register(ADDRESS, "first", "secret")
    assert [user.name for user in users()] == ["second"]
    assert consistent()


def test_a_slow_registration_that_finishes_first_keeps_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    crashes(monkeypatch, "shop.users.models.User.save", lambda: register(ADDRESS, "first", "secret"))
    later()
    save, sleeper = User.save, directory.get().user_id

    def save_second(user: User, **kwargs: bool) -> None:
        save(User(id=sleeper, email=ADDRESS, name="first"), force_insert=True)
        save(user, **kwargs)

    monkeypatch.setattr(User, "save", save_second)
    with pytest.raises(EmailTaken):
        register(ADDRESS, "second", "secret")
    assert [user.name for user in users()] == ["first"]
    assert consistent()


def test_a_bucket_that_is_moving_leaves_no_reservation_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(*_args: object, **_kwargs: object) -> None:
        raise BucketMoved("it is moving")

    with monkeypatch.context() as patch:
        patch.setattr(User, "save", moved)
        with pytest.raises(BucketMoved):
            register(ADDRESS, "first", "secret")
    assert register(ADDRESS, "second", "secret").name == "second"
    assert consistent()


def test_an_address_is_changed_and_the_old_one_is_free() -> None:
    user = register(ADDRESS, "Ada", "secret")
    change_email(user.id, "Lovelace@example.org")
    change_email(user.id, "lovelace@example.org")
    assert find("lovelace@example.org") == user
    assert register(ADDRESS, "another", "secret").id != user.id
    assert consistent()
    with pytest.raises(User.DoesNotExist):
        change_email(user.id + 1, "free@example.org")


def test_a_user_who_is_deleted_while_the_address_is_changed_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    user = register(ADDRESS, "Ada", "secret")
    get_or_create = QuerySet.get_or_create

    def reserve_and_sleep(entries: Any, **fields: Any) -> Any:
        made = get_or_create(entries, **fields)
        monkeypatch.undo()
        delete(user.id)
        return made

    monkeypatch.setattr(QuerySet, "get_or_create", reserve_and_sleep)
    with pytest.raises(User.DoesNotExist):
        change_email(user.id, "new@example.org")
    assert users() == []
    assert consistent()


@pytest.mark.parametrize("killed", [False, True])
def test_a_change_that_loses_its_address_to_another_user_leaves_the_user_the_old_one(
    killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = register(ADDRESS, "Ada", "secret")
    update = ShardedQuerySet.update

    def sleep_and_update(rows: Any, **fields: Any) -> int:
        monkeypatch.undo()
        later()
        register("new@example.org", "Eve", "secret")
        if killed:  # right after what it does next
            crash_at(monkeypatch, "shop.users.accounts._activate")
        return update(rows, **fields)

    monkeypatch.setattr(ShardedQuerySet, "update", sleep_and_update)
    with pytest.raises(EmailTaken):
        change_email(user.id, "new@example.org")
    monkeypatch.undo()
    assert find(ADDRESS) == user
    assert {one.email: one.name for one in users()} == {ADDRESS: "Ada", "new@example.org": "Eve"}
    assert consistent()


@pytest.mark.parametrize("killed", [False, True])
def test_two_changes_that_overtake_each_other_leave_one_address_that_finds_the_user(
    killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = register(ADDRESS, "Ada", "secret")
    activate = accounts._activate

    def be_overtaken(entry: EmailDirectory) -> bool:
        monkeypatch.undo()
        if killed:
            crashes(monkeypatch, "shop.users.accounts._activate", lambda: change_email(user.id, "third@example.org"))
        else:
            change_email(user.id, "third@example.org")
        return activate(entry)

    monkeypatch.setattr(accounts, "_activate", be_overtaken)
    change_email(user.id, "second@example.org")
    assert find("third@example.org") == user
    with pytest.raises(EmailTaken):
        register("third@example.org", "Eve", "secret")
    later()
    repair_directory()
    assert find("third@example.org") == user
    for address in (ADDRESS, "second@example.org"):
        assert find(address) is None
        assert register(address, "Eve", "secret").id != user.id
    assert consistent()


def test_an_entry_that_vanishes_during_a_take_over_raises_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    crashes(monkeypatch, "shop.users.models.User.save", lambda: register(ADDRESS, "first", "secret"))
    later()
    update = QuerySet.update

    def update_and_sleep(entries: Any, **fields: Any) -> int:
        changed = update(entries, **fields)
        directory.all().delete()
        return changed

    with monkeypatch.context() as patch:
        patch.setattr(QuerySet, "update", update_and_sleep)
        with pytest.raises(EmailReserved):
            register(ADDRESS, "second", "secret")
    assert register(ADDRESS, "third", "secret").name == "third"
    assert consistent()


def test_a_repeated_change_that_has_not_ended_raises_reserved_and_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user = register(ADDRESS, "Ada", "secret")
    crashes(monkeypatch, CHANGES["before the row"], lambda: change_email(user.id, "new@example.org"))
    with pytest.raises(EmailReserved):
        change_email(user.id, "new@example.org")
    later()
    change_email(user.id, "new@example.org")
    assert find("new@example.org") == user
    assert consistent()


def test_a_change_during_a_bucket_move_leaves_no_reservation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user = register(ADDRESS, "Ada", "secret")

    def moved(*_args: object, **_kwargs: object) -> None:
        raise BucketMoved("it is moving")

    with monkeypatch.context() as patch:
        patch.setattr(CHANGES["before the row"], moved)
        with pytest.raises(BucketMoved):
            change_email(user.id, "new@example.org")
    change_email(user.id, "new@example.org")
    assert find("new@example.org") == user
    assert consistent()


CHANGES = {
    "before the row": "scaleout.sharding.queryset.ShardedQuerySet.update",
    "before the activation": "shop.users.accounts._activate",
}


@pytest.mark.parametrize("step", CHANGES)
@pytest.mark.parametrize("by", ["the task", "another user"])
def test_after_a_crash_in_a_change_the_user_has_one_address(
    step: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = register(ADDRESS, "Ada", "secret")
    crashes(monkeypatch, CHANGES[step], lambda: change_email(user.id, "new@example.org"))
    later()
    changed = step == "before the activation"
    if by == "the task":
        repair_directory()
    elif changed:
        with pytest.raises(EmailTaken):
            register("new@example.org", "Eve", "secret")
    else:
        register("new@example.org", "Eve", "secret")
    assert [one.email for one in users() if one.id == user.id] == ["new@example.org" if changed else ADDRESS]
    assert find("new@example.org" if changed else ADDRESS) == user
    assert consistent()


@pytest.mark.parametrize("step", ["before the row", "before the entry"])
def test_after_a_crash_in_a_deletion_the_address_is_free_or_the_user_is_there(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = register(ADDRESS, "Ada", "secret")
    with monkeypatch.context() as patch:
        if step == "before the row":
            crash_at(patch, "scaleout.sharding.queryset.ShardedQuerySet.delete")
        else:
            patch.setattr(accounts, "_entries", _fails_second(accounts._entries))
        with pytest.raises(Crash):
            delete(user.id)
    assert bool(users()) == (step == "before the row")
    if users():
        assert find(ADDRESS) == user
        assert delete(user.id)
    again = register(ADDRESS, "another", "secret")
    assert again.id != user.id
    assert consistent()


def test_the_id_of_a_user_deleted_before_the_registration_settled_is_never_reused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crashes(monkeypatch, "shop.users.accounts._activate", lambda: register(ADDRESS, "first", "secret"))
    (user,) = users()
    with monkeypatch.context() as patch:
        patch.setattr(accounts, "_entries", _fails_second(accounts._entries))
        with pytest.raises(Crash):
            delete(user.id)
    later()
    assert users() == []
    assert register(ADDRESS, "second", "secret").id != user.id
    assert consistent()


def _fails_second(function: Callable[[], object]) -> Callable[[], object]:
    calls = iter([False, True])

    def call() -> object:
        if next(calls):
            raise Crash
        return function()

    return call


# ── one address, whichever way it is written ──────────────────────────────────────────────────────
LETTERS, IDNA = "bob@münchen.example", "bob@xn--mnchen-3ya.example"


def registered_by_an_earlier_release(email: str) -> User:
    """Create a user as earlier releases did, with the address as given."""
    user = register("placeholder@example.org", "Bob", "a long one")
    directory.filter(user_id=user.pk).update(email=email)
    User.objects.filter(pk=user.pk).update(email=email)
    return user


def test_an_address_in_letters_and_in_its_idna_form_is_one_users() -> None:
    made = register(LETTERS, "Bob", "a long one")
    assert made.email == IDNA
    assert find(LETTERS) == find(IDNA) == made
    for spelling in (LETTERS, IDNA, "BOB@MÜNCHEN.example"):
        with pytest.raises(EmailTaken):
            register(spelling, "Bob", "a long one")
    other = register("eve@example.org", "Eve", "a long one")
    with pytest.raises(EmailTaken):
        change_email(other.pk, LETTERS)


@pytest.mark.parametrize("email", [LETTERS, '"bob smith"@example.org', "bob@exa\u00admple.org", "bob@[127.0.0.1]"])
def test_an_address_of_an_earlier_release_is_found_as_it_was_given(email: str) -> None:
    user = registered_by_an_earlier_release(email)
    assert find(email) == user


def test_an_address_of_an_earlier_release_is_found_in_its_other_form_and_stays_unique() -> None:
    user = registered_by_an_earlier_release(LETTERS)
    assert find(IDNA) == user
    for other in (LETTERS, IDNA):
        with pytest.raises(EmailTaken):
            register(other, "Bob", "a long one")
    change_email(user.pk, IDNA)
    assert list(directory.values_list("email", "user_id")) == [(IDNA, user.pk)]


def test_two_users_who_have_one_address_in_two_forms_keep_what_each_was_given() -> None:
    in_letters = registered_by_an_earlier_release(LETTERS)
    in_idna = registered_by_an_earlier_release(IDNA)
    assert (find(LETTERS), find(IDNA)) == (in_letters, in_idna)


def test_the_command_brings_each_address_into_its_one_form_and_names_those_it_cannot(capsys: Any) -> None:
    user = registered_by_an_earlier_release(LETTERS)
    twin = [registered_by_an_earlier_release(email) for email in ("a@ä.example", "a@xn--4ca.example")]
    odd = registered_by_an_earlier_release('"q"@example.org')
    plain = register("ada@example.org", "Ada", "a long one")
    call_command("normalise_addresses")
    printed = capsys.readouterr()
    assert printed.out == "1 addresses changed\n"
    assert sorted(printed.err.splitlines()) == sorted([
        f"user {twin[0].pk}: another user has this address in its normalised form",
        f"user {odd.pk}: the address is invalid by today's rules; the login still works",
    ])  # fmt: skip
    assert find(LETTERS) == user
    assert User.objects.get(pk=user.pk).email == IDNA
    assert find("a@ä.example") == twin[0]
    assert find("ada@example.org") == plain


# ── one password, whichever way it is typed ───────────────────────────────────────────────────────
def test_a_password_is_the_same_in_each_form() -> None:
    typed = {"NFC": normalize("NFC", "übergrößenträger"), "NFD": normalize("NFD", "übergrößenträger")}
    for number, password in enumerate(typed.values()):
        user = register(f"{number}@example.org", "Ada", password)
        assert user.check_password(typed["NFC"])
        assert user.check_password(typed["NFD"])
        assert not user.check_password("ubergrossentrager")


def test_a_password_hash_of_an_earlier_release_still_works() -> None:
    user = register("ada@example.org", "Ada", "a long one")
    user.password = make_password(normalize("NFD", "übergrößenträger"))
    assert user.check_password(normalize("NFD", "übergrößenträger"))
