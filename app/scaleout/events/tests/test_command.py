"""`manage.py events`: what a person sees and does."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from scaleout.events.models import Outbox
from scaleout.events.outbox import failed, publish
from scaleout.events.relay import relay
from scaleout.events.statements import FAILURES
from scaleout.events.tests.broker import Broker
from scaleout.events.tests.conftest import HANDLE

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "shard0", "shard1", "shard2"])


def run(*arguments: Any) -> str:
    out = StringIO()
    call_command("events", *arguments, stdout=out)
    return out.getvalue()


def park(aggregate: str, using: str = "default") -> str:
    """Let an event fail until it is parked; return its id."""
    with transaction.atomic(using=using):
        made = publish("happened", aggregate=aggregate, using=using, label=aggregate)
    parked = [failed(using, made, HANDLE, "ValueError: no good", counts=True) for _ in range(FAILURES)]
    assert parked == [False] * (FAILURES - 1) + [True]
    return str(made)


def test_what_is_parked_is_shown_with_its_reason_and_what_waits_behind_it(broker: Broker) -> None:
    assert run("parked") == "parked: 0\n"
    first, second = park("one"), park("two", using="shard1")
    for label in ("b", "c"):
        with transaction.atomic():
            publish("happened", aggregate="one", label=label)
    said = run("parked")
    assert f"{first} happened of one for {HANDLE} in default" in said
    assert "2 wait behind it: ValueError: no good" in said
    assert f"{second} happened of two for {HANDLE} in shard1" in said
    assert said.endswith("parked: 2\n")
    assert first not in run("parked", second)


def test_what_is_resent_goes_again_and_what_is_discarded_lets_the_next_one_go(broker: Broker) -> None:
    first, second = park("one"), park("two", using="shard1")
    with transaction.atomic():
        publish("happened", aggregate="one", label="behind")
    broker.messages("celery")
    assert relay() == 0
    assert run("resend", second) == "resend: 1\n"
    assert run("discard", first) == "discard: 1\n"
    assert relay() == 1, "the one behind went when the first was discarded"
    assert {one["event"]["data"]["label"] for one in broker.messages("celery")} == {"behind", "two"}
    assert run("parked") == "parked: 0\n"
    assert Outbox.objects.using("shard1").get().failures == 0


def test_without_ids_all_are_resent_and_none_is_discarded(broker: Broker) -> None:
    park("one")
    park("two", using="shard1")
    with pytest.raises(CommandError, match="name the ids to discard"):
        run("discard")
    assert run("resend") == "resend: 2\n"
    with pytest.raises(CommandError, match="none of these ids is a parked event here"):
        run("resend", "017f22e2-79b0-7cc3-98c4-dc0c0c07398f")
