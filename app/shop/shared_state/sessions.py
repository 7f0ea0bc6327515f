"""Sessions in database and cache. A cache outage never brings back an older session.

Django's `cached_db` engine writes both and reads the cache. If a write to the cache fails (Redis
paused or unreachable), the cache keeps the old session. Django would later read it and save it over
the newer row. Here a cookie sends the browser's reads to the database, from a failed write to the
cache until the next good one.

A save locks the row until the cache is written, so concurrent saves and logouts leave the same
session in both. An ended session leaves a tombstone in the cache, so that a slow reader of the old
row does not cache it again.

Neither cache nor table stores an id that works as a cookie: both store the hash of the id. A cached
session is JSON, signed with SECRET_KEY for its name; any other value is ignored. A row of an
earlier release has the plain id until its session is saved.

Not detected: a node of a Redis Cluster that fails after a write, before its replica has it.
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
# Lifetime of a cached session in seconds: the longest time that a session is accepted which was
# ended while the cache was down.
CACHE_SECONDS = 300
_ENDED = {"_ended": True}
_NAME = 40  # characters of a name: the column's length, and more than a plain id has
_PLAIN = re.compile("[a-z0-9]{32}")
_OLD = "django.contrib.sessions.cached_db"

log = logging.getLogger(__name__)
unreadable = Counter("sessions_unreadable", "Sessions in the cache that web had not signed.")


def name_of(key: str) -> str:
    """Return the name of the session with this id in cache and table."""
    return base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest()).decode()[:_NAME]


def names_of(key: str) -> list[str]:
    """Return the names of a session in the table: also the plain id, from an earlier release.

    A name does not work as an id: sent as a cookie it finds no session.
    """
    return [name_of(key), key] if _PLAIN.fullmatch(key) else [name_of(key)]


class SessionStore(cached_db.SessionStore):
    """Django's `cached_db`, which detects a failed write to the cache.

    `settings.OLD_SESSIONS` makes it compatible with replicas of the previous release. Rows have
    plain ids, and the cache also gets the previous release's entries. This release then reads the
    table only, since the previous one does not write its entries.
    """

    cache_key_prefix = "sessions:"
    cache_is_behind = False

    @property
    def cache_key(self) -> str:
        """The name in the cache, without the prefix of the alias."""
        return self.cache_key_prefix + name_of(self._get_or_create_session_key())  # type: ignore[attr-defined]

    def exists(self, session_key: str) -> bool:
        """Return whether a session with this id exists."""
        return bool(self.model.objects.filter(session_key__in=names_of(session_key)).exists())

    def load(self) -> dict[str, Any]:
        """Return the cached session; the database's if the cache has none or is stale."""
        data = None if self.cache_is_behind or settings.OLD_SESSIONS else self._cached()
        if data == _ENDED:
            self._session_key = None  # as for an unknown session
            return {}
        if data is None:
            row = self._get_session_from_db()
            data = self.decode(row.session_data) if row else {}
            if row:
                self._offer(data, self.get_expiry_age(expiry=row.expire_date))
        return data

    def save(self, must_create: bool = False) -> None:
        """Save the session in database, then cache. Raises UpdateError if it has ended."""
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
        """Return the cached session; None if it is missing or its signature is invalid."""
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
            log.warning("cached session rejected: invalid signature for %s", name)
            return None
        return data

    def _put(self, key: str, data: dict[str, Any], seconds: int) -> bool:
        """Write the session to the cache; return whether that succeeded."""
        name = self.cache_key_prefix + name_of(key)
        given = [(name, signing.dumps(data, salt=name).encode())]
        if settings.OLD_SESSIONS:
            given.append((_OLD + key, pickle.dumps(data)))  # for the previous release; never read here
        lasts = max(1, int(seconds))
        return all(_ask(lambda redis: redis.set(_full(one), it, ex=lasts)) is True for one, it in given)  # noqa: B023

    def _offer(self, data: dict[str, Any], age: int) -> None:
        """Cache the session that was read, unless the cache has one, which may be newer."""
        name, lasts = self.cache_key, max(1, int(self._cached_for(age)))
        text = signing.dumps(data, salt=name)
        added = _ask(lambda redis: redis.set(_full(name), text, nx=True, ex=lasts) or False)
        # An existing entry changes nothing: a stale cache may still have the old session.
        if added is not False:
            self.cache_is_behind = added is not True

    def _cached_for(self, age: int) -> int:
        return min(age, CACHE_SECONDS)


def _full(name: str) -> str:
    """Return the Redis key of `name`: with the prefix and the version of the alias."""
    return str(caches[settings.SESSION_CACHE_ALIAS].make_key(name))


def _ask(question: Callable[[Any], Any]) -> Any:
    """Return Redis's answer; None if Redis is unavailable."""
    try:
        return question(get_redis_connection(settings.SESSION_CACHE_ALIAS))
    except (RedisError, OSError):
        return None


class SessionMiddleware(DjangoSessionMiddleware):
    """Django's middleware, which also sets the cookie that marks a stale cache."""

    def process_request(self, request: HttpRequest) -> None:
        """Open the request's session."""
        super().process_request(request)
        cast(SessionStore, request.session).cache_is_behind = bool(request.COOKIES.get(COOKIE))

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Save the session, and set or delete the cookie that marks a stale cache."""
        response = super().process_response(request, response)
        behind, marked = cast(SessionStore, request.session).cache_is_behind, bool(request.COOKIES.get(COOKIE))
        if behind and not marked:
            response.set_cookie(
                COOKIE,
                "database",
                max_age=settings.SESSION_COOKIE_AGE,
                secure=settings.SESSION_COOKIE_SECURE,
                httponly=True,
                samesite="Lax",
            )
        elif marked and not behind:
            response.delete_cookie(COOKIE, samesite="Lax")
        return response
