"""Sessions in database and cache that never go back in time, though the cache was away for a while.

Django's `cached_db` engine writes both and reads the cache. Where the cache could not be written
(Redis paused, or cut off from this replica) it still holds the session as it was before; once it
answers again, that old session is read and then saved over the newer row. Here the browser is told
so: from a failed write of the cache until a good one, a cookie sends its reads to the database.

Nor do two who save at once, or one who saves and one who ends the session, leave another thing in
the cache than in the database: the row is locked until the cache is written. An ended session
leaves its mark in the cache, so that no reader of the row from before puts it there again.

Neither the cache nor the table holds an id that could be used as a cookie: both know a session by
the hash of its id. What the cache holds is JSON, signed with SECRET_KEY for this session's name;
anything else there is as good as nothing. A row of a release before this one has the plain id until
its session is saved.

What is not noticed: a node of a Redis Cluster that dies after it has taken a write and before its
replica has it.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import pickle
import re
from collections.abc import Callable
from typing import Any, cast

from django.conf import settings
from django.contrib.sessions.backends import cached_db
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.core import signing
from django.core.cache import caches
from django.db import IntegrityError, router, transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django_redis import get_redis_connection
from prometheus_client import Counter
from redis.exceptions import RedisError

COOKIE = "session_source"
# Seconds that the cache may keep a session: the most that an entry is believed which could not be
# taken back (a session that was ended while the cache was away).
CACHE_SECONDS = 300
_ENDED = {"_ended": True}
_NAME = 40  # characters of a name: as many as the table takes, and more than a plain id has
_PLAIN = re.compile("[a-z0-9]{32}")
_OLD = "django.contrib.sessions.cached_db"

log = logging.getLogger(__name__)
unreadable = Counter("sessions_unreadable", "Sessions in the cache that web had not signed.")


def name_of(key: str) -> str:
    """Return by what cache and table know the session with this id."""
    return base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest()).decode()[:_NAME]


def names_of(key: str) -> list[str]:
    """Return by what the table may know it: also the id itself, of a release before this one.

    A name is no id: who has read it in the table, and sends it as a cookie, finds nothing.
    """
    return [name_of(key), key] if _PLAIN.fullmatch(key) else [name_of(key)]


class SessionStore(cached_db.SessionStore):
    """Django's `cached_db`, which notices a write that the cache has missed.

    With `settings.OLD_SESSIONS` it suits replicas of the release before: rows have plain ids, the
    cache also gets what those read, and is not read here, since they do not write what this release
    reads.
    """

    cache_key_prefix = "sessions:"
    cache_is_behind = False

    @property
    def cache_key(self) -> str:
        """The name in the cache, without the prefix of the alias."""
        return self.cache_key_prefix + name_of(self._get_or_create_session_key())  # type: ignore[attr-defined]

    def exists(self, session_key: str) -> bool:
        """Return whether there is a session with this id."""
        return bool(self.model.objects.filter(session_key__in=names_of(session_key)).exists())

    def load(self) -> dict[str, Any]:
        """Return the session from the cache, or from the database where the cache has none or is
        behind.
        """
        data = None if self.cache_is_behind or settings.OLD_SESSIONS else self._cached()
        if data == _ENDED:
            self._session_key = None  # as of an unknown one
            return {}
        if data is None:
            row = self._get_session_from_db()
            data = self.decode(row.session_data) if row else {}
            if row:
                self._offer(data, self.get_expiry_age(expiry=row.expire_date))
        return data

    def save(self, must_create: bool = False) -> None:
        """Save the session in the database, then in the cache. Raises UpdateError where it has
        ended.
        """
        if self.session_key is None:
            self.create()
            return
        data = self._get_session(no_load=must_create)  # type: ignore[attr-defined]  # not in the stubs
        with transaction.atomic(using=router.db_for_write(self.model)):
            self._write_row(self.session_key, data, must_create=must_create)
            self.cache_is_behind = not self._put(self.session_key, dict(data), self._cached_for(self.get_expiry_age()))

    def delete(self, session_key: str | None = None) -> None:
        """End the session, or that with this key."""
        key = session_key or self.session_key
        if key is not None:
            self.model.objects.using(router.db_for_write(self.model)).filter(session_key__in=names_of(key)).delete()
            self._put(key, _ENDED, CACHE_SECONDS)

    # ── the table ─────────────────────────────────────────────────────────────────────────────────
    def _get_session_from_db(self) -> Any:
        names = names_of(self.session_key or "")
        row = self.model.objects.filter(session_key__in=names, expire_date__gt=timezone.now()).first()
        if row is None:
            self._session_key = None
        return row

    def _write_row(self, key: str, data: dict[str, Any], *, must_create: bool) -> None:
        using = router.db_for_write(self.model)
        rows = self.model.objects.using(using)
        values: dict[str, Any] = {"session_data": self.encode(data), "expire_date": self.get_expiry_date()}
        name = {"session_key": key if settings.OLD_SESSIONS else name_of(key)}
        if must_create:
            try:
                with transaction.atomic(using=using):
                    rows.create(**name, **values)
            except IntegrityError:
                raise CreateError from None
        # While both releases serve, a row keeps the name by which it was found.
        elif not rows.filter(session_key__in=names_of(key)).update(**({} if settings.OLD_SESSIONS else name), **values):
            raise UpdateError

    # ── the cache ─────────────────────────────────────────────────────────────────────────────────
    def _cached(self) -> dict[str, Any] | None:
        """Return what the cache has; None if that is nothing, or nothing of ours."""
        name = self.cache_key
        found = _ask(lambda redis: redis.get(_full(name)))
        if not found:
            return None
        try:
            data = signing.loads(found.decode(), salt=name)
        except (signing.BadSignature, ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            unreadable.inc()
            log.warning("cached session refused: its signature is not of %s", name)
            return None
        return data

    def _put(self, key: str, data: dict[str, Any], seconds: int) -> bool:
        """Let the cache have it; return whether it has."""
        name = self.cache_key_prefix + name_of(key)
        given = [(name, signing.dumps(data, salt=name).encode())]
        if settings.OLD_SESSIONS:
            given.append((_OLD + key, pickle.dumps(data)))  # written for the release before; never read here
        lasts = max(1, int(seconds))
        return all(_ask(lambda redis: redis.set(_full(one), it, ex=lasts)) is True for one, it in given)  # noqa: B023

    def _offer(self, data: dict[str, Any], age: int) -> None:
        """Give the cache what was read, unless it has the session: a newer one may have been
        saved.
        """
        name, lasts = self.cache_key, max(1, int(self._cached_for(age)))
        text = signing.dumps(data, salt=name)
        added = _ask(lambda redis: redis.set(_full(name), text, nx=True, ex=lasts) or False)
        # What is there already says nothing new: a cache that was behind may still hold the old.
        if added is not False:
            self.cache_is_behind = added is not True

    def _cached_for(self, age: int) -> int:
        return min(age, CACHE_SECONDS)


def _full(name: str) -> str:
    """Return `name` as Redis knows it: with the prefix and the version of the alias."""
    return str(caches[settings.SESSION_CACHE_ALIAS].make_key(name))


def _ask(question: Callable[[Any], Any]) -> Any:
    """Return Redis's answer; None where there is none."""
    try:
        return question(get_redis_connection(settings.SESSION_CACHE_ALIAS))
    except (RedisError, OSError):
        return None


class SessionMiddleware(DjangoSessionMiddleware):
    """Django's middleware, which also keeps the cookie that says that the cache is behind."""

    def process_request(self, request: HttpRequest) -> None:
        """Open the request's session."""
        super().process_request(request)
        cast(SessionStore, request.session).cache_is_behind = bool(request.COOKIES.get(COOKIE))

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Save the session and say where its next reader finds it."""
        response = super().process_response(request, response)
        behind, told = cast(SessionStore, request.session).cache_is_behind, bool(request.COOKIES.get(COOKIE))
        if behind and not told:
            response.set_cookie(
                COOKIE,
                "database",
                max_age=settings.SESSION_COOKIE_AGE,
                secure=settings.SESSION_COOKIE_SECURE,
                httponly=True,
                samesite="Lax",
            )
        elif told and not behind:
            response.delete_cookie(COOKIE, samesite="Lax")
        return response
