"""The command behind `make staff`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from scaleout.identity import tokens

from shop.users import accounts
from shop.users.management.commands.staff import EMAIL
from shop.users.models import User

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"]),
    pytest.mark.usefixtures("shards"),
]


def staff() -> str:
    out = StringIO()
    call_command("staff", stdout=out)
    return out.getvalue()


def test_it_prints_a_token_and_nothing_else_and_makes_one_user() -> None:
    first, second = staff(), staff()
    assert len(first.split()) == 1
    assert tokens.verify(first.strip()) == tokens.verify(second.strip())
    assert tokens.verify(first.strip()).is_staff
    (user,) = User.objects.scatter(deadline=10.0)
    assert (user.email, user.is_staff) == (EMAIL, True)


def test_run_by_several_at_once_it_makes_one_user() -> None:
    refusals: list[str] = []

    def run(_number: int) -> int | None:
        try:
            return tokens.verify(staff().strip()).user_id
        except CommandError as error:  # in the moment between the address and the user
            refusals.append(str(error))
            return None
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(run, range(8))) - {None}
    assert len(ids) == 1
    assert not [refusal for refusal in refusals if "try again" not in refusal]
    assert len(User.objects.scatter(deadline=10.0).items) == 1


def test_a_user_who_registered_the_staff_address_does_not_become_staff() -> None:
    accounts.register(EMAIL, "Mallory", "known to me")
    with pytest.raises(CommandError, match="is not staff"):
        staff()
    (user,) = User.objects.scatter(deadline=10.0)
    assert not user.is_staff
