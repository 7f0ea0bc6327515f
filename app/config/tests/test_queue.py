"""What a worker had taken when its connection broke."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from config import queue


@pytest.fixture(autouse=True)
def _nothing_taken() -> Iterator[None]:
    queue._taken.clear()
    yield
    queue._taken.clear()


def test_two_channels_at_once_put_back_each_message_once() -> None:
    both, put, failed = threading.Barrier(2, timeout=5), list[str](), list[BaseException]()
    queue._taken.extend((name, "", "celery") for name in ("one", "two"))

    def slowly(message: Any, _exchange: str, _routing_key: str) -> None:
        both.wait()  # as long as Redis takes to answer, the other is at it too
        put.append(message)

    def open_a_channel() -> None:
        try:
            queue.put_back(slowly)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=open_a_channel) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(10)
    assert not failed
    assert sorted(put) == ["one", "two"]
    assert not queue._taken


def test_a_message_that_could_not_be_put_back_is_kept() -> None:
    queue._taken.extend((name, "", "celery") for name in ("one", "two"))

    def refuse(*_: Any) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        queue.put_back(refuse)
    assert [one[0] for one in queue._taken] == ["one", "two"]
