"""Which logins have ended: known to every process within seconds, and without Redis what was known
before.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django_redis import get_redis_connection
from pytest_django import Settings
from waiting import eventually

from scaleout.identity import revocation, tokens
from scaleout.identity.revocation import KEY, Revoked, publish


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "revoked", Revoked())
    get_redis_connection("default").delete(KEY)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask each time."""
    monkeypatch.setattr(revocation, "FRESH", 0.0)
    monkeypatch.setattr(revocation, "PAUSE", 0.0)


def test_what_one_process_publishes_it_knows_at_once_and_the_others_when_they_ask_next(eager: None) -> None:
    other = Revoked()
    assert "7" not in other
    publish(["7"])
    assert "7" in revocation.revoked
    assert "7" in other
    assert "8" not in other


def test_a_process_asks_once_in_five_seconds_however_many_tokens_it_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, now = Revoked(), [1000.0]
    asked: list[float] = []
    refresh = mine._refresh

    def counted(at: float) -> None:
        asked.append(at)
        refresh(at)

    monkeypatch.setattr("scaleout.identity.revocation.time.monotonic", lambda: now[0])
    monkeypatch.setattr(mine, "_refresh", counted)
    for now[0] in (1000.0, 1001.0, 1004.9, 1005.1, 1006.0, 1010.2):
        assert "7" not in mine
    assert asked == [1000.0, 1005.1, 1010.2]


def test_of_fifty_threads_that_begin_at_once_none_misses_what_has_ended(eager: None) -> None:
    publish([str(number) for number in range(50)])
    fresh = Revoked()
    with ThreadPoolExecutor(50) as pool:
        assert all(pool.map(lambda number: str(number) in fresh, range(50)))


def test_without_redis_known_logins_stay_refused_and_no_other_is(
    eager: None, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    other = Revoked()
    publish(["7"])
    assert "7" in other
    settings.CACHES = {**settings.CACHES, "nowhere": {**settings.CACHES["default"], "LOCATION": "unix:///nowhere.sock"}}
    settings.IDENTITY = settings.IDENTITY | {"CACHE": "nowhere"}
    assert "7" in other
    assert "8" not in other
    publish(["8"])
    assert "8" in revocation.revoked
    said = {record.message.split(":")[0] for record in caplog.records}
    assert said == {"revocation list not refreshed", "revocation not published"}
    caplog.clear()
    assert "8" not in other
    assert not caplog.records  # once, not at each token
    settings.IDENTITY = settings.IDENTITY | {"CACHE": "default"}
    assert "8" not in other


def test_an_emptied_redis_is_filled_again_and_no_process_forgets(eager: None) -> None:
    other = Revoked()
    publish(["7"])
    eventually(lambda: "7" in other, 5, "the login to be known")
    get_redis_connection("default").delete(KEY)
    assert "7" in other
    publish(["7", "8"])
    # On a busy machine Redis may not answer in time.
    eventually(lambda: "8" in other, 5, "the second one to be known")
    eventually(lambda: "7" in Revoked(), 5, "a new process to know the first one")


def test_what_is_published_again_and_again_still_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    redis = get_redis_connection("default")
    publish(["7"])
    redis.zadd(KEY, {"6": redis.time()[0] - revocation.KEPT - 1, "7": redis.time()[0] - 900})
    publish(["7", "8"])
    assert {
        one.decode(): int(redis.time()[0] - score) // 60 for one, score in redis.zrange(KEY, 0, -1, withscores=True)
    } == {
        "7": 15,
        "8": 0,
    }
    assert 0 < redis.ttl(KEY) <= revocation.KEPT


def test_the_list_is_bounded_and_the_newest_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    redis = get_redis_connection("default")
    now = redis.time()[0]
    for first in range(0, revocation.MOST, 2000):  # not in one go, which would outlast the client's time-out
        redis.zadd(KEY, {f"old{number}": now - 10 for number in range(first, first + 2000)})
    publish(["7", "8"])
    assert redis.zcard(KEY) == revocation.MOST
    assert redis.zscore(KEY, "8") is not None


def test_a_token_outlives_its_login_nowhere_and_one_without_a_login_is_asked_for_nothing(settings: Settings) -> None:
    token = tokens.for_user(7, is_staff=False, login="99")
    assert tokens.verify(token).login == "99"
    publish(["99"])
    with pytest.raises(tokens.BadToken):
        tokens.verify(token)
    settings.IDENTITY = settings.IDENTITY | {"CACHE": "no such alias"}
    assert tokens.verify(tokens.for_user(7, is_staff=False)).user_id == 7


def test_a_revocation_is_kept_for_longer_than_a_token_lives() -> None:
    assert revocation.KEPT > tokens.USER_SECONDS + tokens.LEEWAY + revocation.OVERLAP / 2
